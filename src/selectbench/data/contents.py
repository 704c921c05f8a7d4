"""What image files held when their data set was prepared, and which of them have changed since."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selectbench.errors import DataError, RecordError, spell
from selectbench.records.files import digest_file, digest_value, read_arrays, write_arrays

CONTENTS = "contents.npz"  # beside a split's list of paths
Known = tuple[tuple[int, int, int], bytes]  # size, times of content and status, and SHA-256 of a file


class Contents(NamedTuple):
    """Stamps (N, 3) of files, their sizes and the times of their last changes of content and of status, and the SHA-256 of each (N, 32)."""

    stamps: np.ndarray
    digests: np.ndarray


def read_contents(folder: Path) -> Contents | None:
    """Read what the files of a split held, or None if that was not written or cannot be read."""
    try:
        arrays = read_arrays(folder / CONTENTS)
        found = Contents(arrays["stamps"], arrays["digests"])
    except (RecordError, KeyError):
        return None
    num = len(found.stamps)
    fits = found.stamps.shape == (num, 3) and found.digests.shape == (num, 32) and found.digests.dtype == np.uint8
    return found if fits else None


def measure_contents(root: Path, paths: Sequence[str], known: Mapping[str, Known], check: Callable[[Path], object]) -> Contents:
    """Return what files hold now. A file of known size and times is not read again.

    Parameters
    ----------
    root : the folder that paths are relative to
    paths : of the files
    known : path → stamp and digest of files that were read before
    check : called with each file that is read

    Raises
    ------
    DataError
        A file is missing or cannot be read.
    """

    def measure(path: str) -> Known:
        try:
            status = (root / path).stat()
            stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if path in known and known[path][0] == stamp:
                return known[path]
            check(root / path)
            return stamp, bytes.fromhex(digest_file(root / path))
        except OSError as error:
            raise DataError(f"{spell(root / path)}: cannot be read ({error.strerror}); copy it again, or correct its permissions") from None

    with ThreadPoolExecutor() as threads:
        rows = list(threads.map(measure, paths))
    stamps = np.array([stamp for stamp, _ in rows], dtype=np.int64).reshape(-1, 3)
    return Contents(stamps, np.frombuffer(b"".join(digest for _, digest in rows), dtype=np.uint8).reshape(-1, 32))


def list_known(paths: Sequence[str], contents: Contents | None) -> dict[str, Known]:
    """Return path → stamp and digest."""
    if contents is None or len(contents.stamps) != len(paths):
        return {}
    rows = zip(map(tuple, contents.stamps.tolist()), map(bytes, contents.digests), strict=True)
    return dict(zip(paths, rows, strict=True))


def write_contents(folder: Path, contents: Contents) -> None:
    """Write what the files of a split hold."""
    write_arrays(folder / CONTENTS, contents._asdict())


def digest_contents(paths: Sequence[str], digests: np.ndarray) -> str:
    """Return the SHA-256 of the names and the contents of files."""
    return hashlib.sha256(digest_value(list(paths)).encode() + np.ascontiguousarray(digests).tobytes()).hexdigest()


def check_contents(
    folder: Path, root: Path, paths: Sequence[str], expected: str, remedy: str, full: bool, is_excused: Callable[[Path], bool] | None = None
) -> None:
    """Raise unless the files of a split hold what they held when it was prepared.

    Only files of another size or time are read; those with the same content are remembered with their new times.

    Parameters
    ----------
    folder : of the prepared split
    root : the folder that paths are relative to
    paths : of the files
    expected : digest of their names and contents
    remedy : what messages advise
    full : whether all files are read
    is_excused : tells, given a missing or changed file, whether it is left to whoever reads it

    Raises
    ------
    DataError
        A file is missing or changed; the message names the first and counts the others.
    """
    contents = read_contents(folder)
    if contents is None or len(contents.stamps) != len(paths) or digest_contents(paths, contents.digests) != expected:
        raise DataError(f"{folder / CONTENTS}: missing or altered; {remedy}")
    there = np.array([(root / path).is_file() for path in paths], dtype=bool)
    missing = {paths[place] for place in np.flatnonzero(~there).tolist() if not (is_excused and is_excused(root / paths[place]))}
    if missing:
        raise DataError(f"{spell(root / min(missing))}: missing{count_more(missing)}; copy it again, or {remedy}")
    kept = [path for path, is_there in zip(paths, there.tolist(), strict=True) if is_there]
    before = Contents(contents.stamps[there], contents.digests[there])
    now = measure_contents(root, kept, {} if full else list_known(kept, before), lambda path: None)
    differs = np.flatnonzero((now.digests != before.digests).any(axis=1)).tolist()
    changed = {kept[place] for place in differs if not (is_excused and is_excused(root / kept[place]))}
    if changed:
        raise DataError(f"{spell(root / min(changed))}: not what was prepared{count_more(changed)}; put it back, or {remedy}")
    if there.all() and not differs and not np.array_equal(now.stamps, contents.stamps):
        with suppress(OSError):  # only saves reading the files again
            write_contents(folder, now)


def check_names(root: Path, prepared: Sequence[str], found: Sequence[str], remedy: str) -> None:
    """Raise if folders hold other images than the prepared ones."""
    new, gone = set(found) - set(prepared), set(prepared) - set(found)
    if gone:
        raise DataError(f"{spell(root / min(gone))}: missing{count_more(gone)}{_hint_new(new)}; copy it again, or {remedy}")
    if new:
        raise DataError(f"{spell(root / min(new))}: added since the data set was prepared{count_more(new)}; remove it, or {remedy}")


def _hint_new(new: set[str]) -> str:
    return f"; new: {spell(min(new))}{count_more(new)}" if new else ""


def count_more(names: set[str]) -> str:
    """Return ``" (and 3 more)"`` for all names but the first, or an empty string."""
    return f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""

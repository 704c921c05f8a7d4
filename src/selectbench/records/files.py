"""Reading and writing files, so that a reader never sees a partly written one."""

import errno
import gzip
import hashlib
import io
import json
import os
import secrets
import shutil
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from selectbench.errors import RecordError, first_line

_ZIP = b"PK"  # begins every .npz file
MOST_UNPACKED, MOST_GROWTH = 1 << 30, 100
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHOWN = 40  # characters of a file's name that its temporary file begins with
DIGEST = "digest"  # the field of a sealed JSON object that holds the digest of all others
_UNREADABLE = (
    *(OSError, ValueError, EOFError, AttributeError, TypeError, KeyError, MemoryError, OverflowError, RecursionError),
    *(RuntimeError, zipfile.BadZipFile, zlib.error, SyntaxError, tokenize.TokenError),
)


def write_atomically(
    path: Path, write: Callable[[IO[bytes]], object], *, count: Callable[[], int | None] | None = None, durable: bool = True
) -> None:
    """Call ``write`` with a temporary file beside ``path``, and move it into place once it is complete.

    Parameters
    ----------
    path : of the file; its folder is made where it is missing
    write : writes to the file that it is given
    count : returns the size of the whole file, or None if it is not known; called if there is too little space. The default calls ``write``
        once more and counts
    durable : whether the file survives a power cut right afterwards, which takes time; not needed for what is made again anyway

    Raises
    ------
    OSError
        With the path: the disk is full, for example, and the error says how many bytes the file takes and how many are free. What
        ``write`` made of this error, as torch does, is not passed on.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:_SHOWN]}.{secrets.token_hex(6)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as stream:
            write(stream)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if refused := find_refusal(error):
            raise describe_refusal(refused, path, count or partial(count_bytes, write)) from None
        raise


def append_line(path: Path, line: str) -> None:
    """Append a line to a UTF-8 file, which survives a kill right afterwards; if there is too little space, the file stays as it was.

    Raises
    ------
    OSError
        With the path, as ``write_atomically`` raises it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = f"{line}\n".encode()
    with open(path, "ab", buffering=0) as stream:
        before = stream.tell()
        try:
            left = memoryview(content)
            while left:
                left = left[stream.write(left) :]
            os.fsync(stream.fileno())
        except OSError as error:
            stream.truncate(before)
            raise describe_refusal(error, path, lambda: len(content)) from None


def describe_refusal(refused: OSError, path: Path, count: Callable[[], int | None]) -> OSError:
    """Return an error of the system with the path of the file that was not written and, where space is missing, how much.

    Parameters
    ----------
    refused : the error of the system
    path : of the file
    count : returns the size of the whole file, or None if it is not known
    """
    number, reason = refused.errno or errno.ENOSPC, refused.strerror or "only part of it could be written"
    if number in _NO_SPACE:
        size = count()
        facts = [f"it takes {size:,} bytes"] if size is not None else []
        facts += [f"{shutil.disk_usage(path.parent).free:,} bytes are free"] if number == errno.ENOSPC else []
        reason = "; ".join([reason, ", ".join(facts)] if facts else [reason])
    return OSError(number, reason, str(path))


class ByteCounter(io.RawIOBase):
    """A file that keeps nothing of what is written to it, save the number of bytes."""

    def __init__(self) -> None:
        self.size = self._place = 0

    def writable(self) -> bool:
        """Tell that it may be written to."""
        return True

    def seekable(self) -> bool:
        """Tell that earlier bytes may be written again."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to another place and return it."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        return self._place

    def write(self, content: Any, /) -> int:
        """Count bytes, and return their number."""
        number = memoryview(content).nbytes
        self._place += number
        self.size = max(self.size, self._place)
        return number


def count_bytes(write: Callable[[IO[bytes]], object]) -> int:
    """Return the size of the file that ``write`` writes."""
    counter = ByteCounter()
    write(cast(IO[bytes], counter))
    return counter.size


def is_same_file(one: Path, other: Path) -> bool:
    """Tell whether two paths name one file, by whatever links and spellings."""
    return one.exists() and other.exists() and one.samefile(other)


def find_refusal(error: BaseException | None) -> OSError | None:
    """Return the error of the system that an error is, or was raised for; None if there is none.

    NumPy's has no number where it could write only part of an array, and torch's errors of writing are not of this kind.
    """
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or (error.__context__ if isinstance(error, RuntimeError) else None)
    return error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write bytes atomically."""
    write_atomically(path, lambda stream: stream.write(content), durable=durable)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, with sorted keys and without NaN."""
    write_text(path, _to_text(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    RecordError
        The file is missing, is not JSON, or does not hold an object.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file") from None
    except (ValueError, RecursionError, OSError) as error:
        raise RecordError(f"{path}: not valid JSON ({error}); delete it and run again") from None
    if not isinstance(value, dict):
        raise RecordError(f"{path}: holds a {type(value).__name__} instead of an object; delete it and run again")
    return value


def seal(value: Mapping[str, object]) -> dict[str, Any]:
    """Return a JSON object with the digest of all its other fields, which tells whether it was edited by accident."""
    plain: dict[str, Any] = json.loads(_to_text({name: part for name, part in value.items() if name != DIGEST}))
    return {**plain, DIGEST: digest_value(plain)}


def is_sealed(value: Mapping[str, object]) -> bool:
    """Tell whether an object carries the digest of its other fields."""
    try:
        return value.get(DIGEST) == digest_value({name: part for name, part in value.items() if name != DIGEST})
    except (ValueError, RecursionError):  # numbers that are not finite, or objects nested too deeply
        return False


def write_sealed(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object atomically, with its digest."""
    write_json(path, seal(value))


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a JSON object that carries its digest.

    Raises
    ------
    RecordError
        The file is missing or is not a JSON object, or its digest is not that of its other fields.
    """
    value = read_json(path)
    check_seal(path, value)
    return value


def check_seal(path: Path, value: Mapping[str, object]) -> None:
    """Raise a ``RecordError`` that names a file unless the JSON object read from it carries its digest."""
    if DIGEST not in value:
        raise RecordError(f"{path}: has no digest of itself: it is cut short or was not written by selectbench; delete it and run again")
    if not is_sealed(value):
        raise RecordError(f"{path}: edited or damaged: its digest is not that of its content; delete it and run again")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as ``.npy``, atomically; equal arrays give equal bytes."""
    write_atomically(path, lambda stream: np.save(stream, np.ascontiguousarray(array), allow_pickle=False))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed ``.npz``, atomically; equal arrays give equal bytes."""
    write_atomically(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]  # numpy takes allow_pickle for one of them


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an ``.npz`` file; nothing is ever unpickled.

    Raises
    ------
    RecordError
        The file is missing, truncated, not an ``.npz``, holds pickled objects, or would fill the memory.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            if stream.read(len(_ZIP)) != _ZIP:
                raise ValueError("it has another format; `np.savez(file, labels=…)` writes an .npz")
        with np.load(path, allow_pickle=False) as archive:
            refuse_bomb(path.stat().st_size, sum(member.file_size for member in archive.zip.infolist()))
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        raise RecordError(f"{path}: not a readable .npz of plain arrays ({first_line(error)})") from None


def refuse_bomb(packed: int, unpacked: int) -> None:
    """Raise if compressed data would fill the memory once unpacked.

    Parameters
    ----------
    packed, unpacked : size in bytes before and after unpacking

    Raises
    ------
    ValueError
        It would take more than 1 GiB and more than a hundred times its packed size.
    """
    if unpacked > max(MOST_UNPACKED, MOST_GROWTH * packed):
        raise ValueError(f"{packed:,} bytes would become more than {max(MOST_UNPACKED, MOST_GROWTH * packed):,}")


def expand_gzip(compressed: bytes) -> bytes:
    """Return the content of a gzip file; one that would fill the memory is refused in time."""
    most = max(MOST_UNPACKED, MOST_GROWTH * len(compressed))
    with gzip.GzipFile(fileobj=io.BytesIO(compressed)) as stream:
        content = stream.read(most + 1)
    refuse_bomb(len(compressed), len(content))
    return content


def digest_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def digest_value(value: object) -> str:
    """Return the SHA-256 of a JSON value; the order of its keys does not matter."""
    return hashlib.sha256(_to_text(value).encode()).hexdigest()


def digest_array(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's dtype, shape and values."""
    array = np.ascontiguousarray(array)
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def _to_text(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, sort_keys=True, allow_nan=False)

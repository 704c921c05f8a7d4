"""Reading prepared data: labels in memory, images on demand."""

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

import numpy as np

from selectbench.data.images import CROP, load_image
from selectbench.data.messages import first_line
from selectbench.errors import DataError, suggest
from selectbench.records.files import digest_array, write_text

GREY = 128  # pixel value that replaces an unreadable image
_BATCHES_AHEAD = 3
SEVERITIES = 5  # of each corruption in a corrupted test set
QUOTE = '"'  # begins a line of a list of paths that is a JSON string
NOISY = "noisy.npy"  # in the pool's folder: ids of its noisy samples, (M,) int64, which selection never reads

_log = logging.getLogger(__name__)


class Split(ABC):
    """A pool or a test set in its canonical order: sample id = position.

    Attributes
    ----------
    labels : (N,) int64, or (N, K) padded with −1 where several classes count as correct
    unreadable : position → problem, for images that could not be read when last loaded; these are uniformly grey
    """

    labels: np.ndarray
    unreadable: Mapping[int, str] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def load(self, positions: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Return the images (B, C, H, W) uint8 at these positions.

        Parameters
        ----------
        positions : (B,) int
        draws : (B, 5) uniforms in [0, 1), optional
            Random numbers for the augmentation that is part of decoding, if there is one.
        """

    def expect(self, batches: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> None:  # noqa: B027  (arrays need no preparation)
        """Announce which (positions, draws) will be loaded next, in this order; earlier announcements are dropped."""

    def find_unreadable(self, positions: np.ndarray) -> list[int]:
        """Return, in ascending order, those of the distinct positions whose images could not be read when last loaded.

        Raises
        ------
        DataError
            There are too many of them (see ``refuse_damage``).
        """
        asked = set(positions.tolist()) if self.unreadable else set()
        found = {position: problem for position, problem in self.unreadable.items() if position in asked}
        refuse_damage(found, len(positions))
        return sorted(found)


class ArraySplit(Split):
    """Images of one size in a memory-mapped array; the trainer augments them.

    Parameters
    ----------
    folder : Path
        Holds ``images.npy`` (N, C, H, W) uint8 and ``labels.npy`` (N,) int64.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.labels = read_array(self.folder / "labels.npy")
        self.images = read_array(self.folder / "images.npy", mmap_mode="r")

    def load(self, positions: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Return the images (B, C, H, W) uint8 at these positions, unchanged; there are no draws."""
        if draws is not None:
            raise DataError(f"{self.folder}: images of one size take no draws; augment them after loading")
        return np.array(self.images[positions])


class FolderSplit(Split):
    """Image files of any size, decoded by threads to 224×224 pixels on demand, or in advance once batches are announced.

    Parameters
    ----------
    folder : Path
        Holds ``paths.txt``, one path per line, and ``labels.npy`` (N,) or (N, K) int64.
    root : Path
        The folder that the paths are relative to.
    num_threads : int, optional
        Default: the number of processors. With 0, the caller decodes, never in advance.
    """

    input_shape = (3, CROP, CROP)

    def __init__(self, folder: Path, root: Path, num_threads: int | None = None) -> None:
        self.root = Path(root)
        self.labels = read_array(Path(folder) / "labels.npy")
        self.paths = read_paths(Path(folder) / "paths.txt")
        self.num_threads = (os.cpu_count() or 1) if num_threads is None else num_threads
        self._threads = ThreadPoolExecutor(self.num_threads, thread_name_prefix="decode") if self.num_threads else None
        self._ahead: dict[tuple[int, bytes | None], Future[np.ndarray | str]] = {}
        self._coming: Iterator[tuple[np.ndarray, np.ndarray | None]] = iter(())
        self._most_ahead = 0
        self.unreadable: dict[int, str] = {}

    def expect(self, batches: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> None:
        """Begin to decode these (positions, draws) a few batches in advance; the images are the same as without."""
        self._forget()
        if self._threads is None:
            return
        self._coming = iter(batches)
        first = next(self._coming, None)
        if first is not None:
            self._most_ahead = _BATCHES_AHEAD * len(first[0])
            self._submit(*first)
            self._decode_ahead()

    def _decode_ahead(self) -> None:
        while len(self._ahead) < self._most_ahead and (batch := next(self._coming, None)) is not None:
            self._submit(*batch)

    def _submit(self, positions: np.ndarray, draws: np.ndarray | None) -> None:
        if self._threads is None:
            return
        for place, (position, key) in enumerate(zip(positions.tolist(), name_samples(positions, draws), strict=True)):
            if key not in self._ahead:
                self._ahead[key] = self._threads.submit(self._read_image, position, None if draws is None else draws[place])

    def _forget(self) -> None:
        for future in self._ahead.values():
            future.cancel()
        self._ahead, self._coming = {}, iter(())

    def load(self, positions: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Return the images (B, 3, 224, 224) uint8 at these positions.

        Without draws: shorter side to 256, centre crop. With draws (B, 5): random resized crop and flip, a function of the draws
        alone (see ``crop_randomly``). An image that is missing or cannot be decoded becomes grey, is logged and listed in
        ``unreadable``.

        Raises
        ------
        DataError
            Too many images of the split could not be read (see ``refuse_damage``).
        """
        images = self._read_images(positions, draws)
        for position, image in zip(positions.tolist(), images, strict=True):
            if isinstance(image, np.ndarray):
                self.unreadable.pop(position, None)
            elif position not in self.unreadable:
                self.unreadable[position] = image
                _log.warning(image)
                refuse_damage(self.unreadable, len(self))
        whole = [image if isinstance(image, np.ndarray) else np.full(self.input_shape, GREY, dtype=np.uint8) for image in images]
        return np.stack(whole) if whole else np.empty((0, *self.input_shape), dtype=np.uint8)

    def _read_images(self, positions: np.ndarray, draws: np.ndarray | None) -> list[np.ndarray | str]:
        """Return the result of ``_read_image`` for each, decoded in advance or now; an error drops all announced batches."""
        if self._threads is None:
            return list(map(self._read_image, positions, repeat(None) if draws is None else draws))
        keys = name_samples(positions, draws)
        try:
            self._submit(positions, draws)
            images = [self._ahead[key].result() for key in keys]
        except BaseException:
            self._forget()
            raise
        for key in keys:
            self._ahead.pop(key, None)
        self._decode_ahead()
        return images

    def _read_image(self, position: int, draws: np.ndarray | None) -> np.ndarray | str:
        """Return an image, or the problem with its file."""
        try:
            return load_image(self.root / self.paths[position], draws)
        except DataError as error:
            return str(error)


def name_samples(positions: np.ndarray, draws: np.ndarray | None) -> list[tuple[int, bytes | None]]:
    """Return what determines the pixels of each sample: its position and its draws."""
    named = repeat(None) if draws is None else [row.tobytes() for row in draws]
    return list(zip(positions.tolist(), named, strict=False))


def write_paths(path: Path, paths: Sequence[str]) -> None:
    """Write the list of a split's image files, one per line; a name with other characters than printable ones is a JSON string."""
    lines = [name if name.isprintable() and not name.startswith(QUOTE) else json.dumps(name) for name in paths]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_paths(path: Path) -> list[str]:
    """Read the list of a split's image files.

    Raises
    ------
    DataError
        It cannot be read, or a path leads outside the folder of its data set.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            lines = stream.read().split("\n")
        paths = [json.loads(line) if line.startswith(QUOTE) else line for line in lines if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable list of images ({first_line(error)}); prepare the data set again") from None
    for name in paths:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{path}: {name!r} lies outside the folder of its data set; prepare the data set again")
    return paths


def refuse_damage(unreadable: Mapping[int, str], num: int) -> None:
    """Raise if more than 1 % of ``num`` images are unreadable (more than one of a small set, or all of them).

    So many point to a damaged data set rather than to single damaged files.

    Raises
    ------
    DataError
        The message names the first of them.
    """
    if len(unreadable) > max(0, min(max(1, num // 100), num - 1)):
        raise DataError(f"{next(iter(unreadable.values()))}; {len(unreadable):,} of {num:,} images cannot be read, too many to go on")


def open_split(prepared: Path, split: str, num_threads: int | None = None) -> Split:
    """Open the pool or a test set of a prepared data set.

    Parameters
    ----------
    prepared : Path
        ``resources/<name>/prepared``, as ``prepare_dataset`` wrote it.
    split : str
        ``pool`` or the id of a test set.
    num_threads : int, optional
        Number of threads that decode image files; default: the number of processors.

    Raises
    ------
    DataError
        There is no such split; the message names the closest one.
    """
    prepared = Path(prepared)
    folder = prepared / split
    if not (folder / "labels.npy").is_file():
        found = [labels.parent.name for labels in prepared.glob("*/labels.npy")]
        help_ = suggest(split, found) if found else f"; run `selectbench data prepare {prepared.parent.name}`"
        raise DataError(f"{folder}: no such split{help_}")
    if (folder / "paths.txt").is_file():
        return FolderSplit(folder, prepared.parent, num_threads)
    return ArraySplit(folder)


def read_array(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Read a ``.npy`` file; nothing is ever unpickled."""
    try:
        array: np.ndarray = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: missing; prepare the data set again") from None
    except (OSError, ValueError, EOFError, MemoryError, OverflowError, SyntaxError, TypeError) as error:
        raise DataError(f"{path}: not a readable array ({first_line(error)}); prepare the data set again") from None
    return array


def check_noisy(path: Path, digest: str | None, remedy: str) -> None:
    """Raise unless the ids of a pool's noisy samples are those that were prepared.

    Parameters
    ----------
    path : of the ids
    digest : SHA-256 of the array; None for a pool without noise
    remedy : what the message advises

    Raises
    ------
    DataError
        They are missing or altered.
    """
    if digest is not None and not path.exists():
        raise DataError(f"{path}: missing; {remedy}")
    if digest is not None and digest_array(read_array(path)) != digest:
        raise DataError(f"{path}: wrong checksum: it is not what was prepared; {remedy}")

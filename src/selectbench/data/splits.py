"""Reading prepared data: labels in memory, images on demand."""

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np

from selectbench.data.class_folders import FOLDERS
from selectbench.data.images import CROP, load_image
from selectbench.data.messages import first_line
from selectbench.errors import DataError, suggest


class Split(ABC):
    """A pool or a test set in its canonical order: sample id = position.

    Attributes
    ----------
    labels : (N,) int64
    """

    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def load(self, positions: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Return the images (B, C, H, W) uint8 at these positions.

        Parameters
        ----------
        positions : (B,) int
        draws : (B, 5) uniforms in [0, 1), optional
            Random numbers of the augmentation that is part of decoding, if there is one.
        """


class ArraySplit(Split):
    """Images of one size in a memory-mapped array; augmentation is the trainer's.

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
    """Image files of any size, decoded on demand by threads to 224×224 pixels.

    Parameters
    ----------
    folder : Path
        Holds ``paths.txt``, one path a line, and ``labels.npy`` (N,) int64.
    root : Path
        The folder the paths are relative to.
    num_threads : int, optional
        Default: the number of processors.
    """

    input_shape = (3, CROP, CROP)

    def __init__(self, folder: Path, root: Path, num_threads: int | None = None) -> None:
        self.root = Path(root)
        self.labels = read_array(Path(folder) / "labels.npy")
        self.paths = (Path(folder) / "paths.txt").read_text(encoding="utf-8").splitlines()
        self.num_threads = num_threads or os.cpu_count() or 1

    def load(self, positions: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Return the images (B, 3, 224, 224) uint8 at these positions.

        Without draws: shorter side to 256, central crop. With draws (B, 5): random resized crop and flip, a function of the draws
        alone (see ``crop_randomly``).

        Raises
        ------
        DataError
            An image is missing or unreadable.
        """
        files = [self.root / self.paths[position] for position in positions]
        with ThreadPoolExecutor(self.num_threads) as threads:
            images = list(threads.map(load_image, files, repeat(None) if draws is None else draws))
        return np.stack(images) if images else np.empty((0, *self.input_shape), dtype=np.uint8)


def open_split(prepared: Path, split: str) -> Split:
    """Open the pool or a test set of a prepared data set.

    Parameters
    ----------
    prepared : Path
        ``resources/<name>/prepared``, as ``prepare_dataset`` wrote it.
    split : str
        ``pool`` or the id of a test set.

    Raises
    ------
    DataError
        There is no such split; the closest one is named.
    """
    prepared = Path(prepared)
    folder = prepared / split
    if not (folder / "labels.npy").is_file():
        found = [labels.parent.name for labels in prepared.glob("*/labels.npy")]
        help_ = suggest(split, found) if found else f"; run `selectbench data prepare {prepared.parent.name}`"
        raise DataError(f"{folder}: no such split{help_}")
    if (folder / "paths.txt").is_file():
        return FolderSplit(folder, prepared.parent / "raw" / FOLDERS[split])
    return ArraySplit(folder)


def read_array(path: Path, mmap_mode: str | None = None) -> np.ndarray:
    """Read a ``.npy`` file without ever unpickling."""
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: missing; prepare the data set again") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a readable array ({first_line(error)}); prepare the data set again") from None

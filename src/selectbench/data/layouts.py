"""Decoding published files to arrays: one function per layout in which a data set is published.

Each takes name → content of the files and the entry of the data set, and returns ``{split: (images (N, C, H, W) uint8, labels (N,)
int64)}`` in the publisher's order.
"""

import io
import json
import pickle
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from selectbench.data.images import UNREADABLE
from selectbench.data.messages import first_line
from selectbench.errors import DataError
from selectbench.records.files import expand_gzip

if TYPE_CHECKING:
    from selectbench.data.entries import DatasetEntry

Arrays = tuple[np.ndarray, np.ndarray]


def find_file(files: Mapping[str, bytes], ending: str) -> bytes:
    """Return the content of the only file whose path ends with these components."""
    wanted = PurePosixPath(ending).parts
    found = [name for name in files if PurePosixPath(name).parts[-len(wanted) :] == wanted]
    if len(found) != 1:
        raise DataError(f"holds {len(found)} files {ending!r} instead of one")
    return files[found[0]]


def decode_digits(files: Mapping[str, bytes], entry: "DatasetEntry") -> dict[str, Arrays]:
    """Decode scikit-learn's digits and, as a shifted test set, MNIST shrunk to the same format.

    The first ``pool_size`` samples are the pool; the rest, by other writers, are the test set. Their values 0…16 become
    ``round(v · 255 / 16)``, half to even. MNIST loses a border of 2 pixels, and each 3×3 block becomes its rounded mean.
    """
    images, labels = split_table(find_file(files, "digits.csv.gz"))
    images = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    shifted, shifted_labels = split_table(find_file(files, "mnist_5k.csv.gz"))
    blocks = shifted.reshape(-1, 28, 28)[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3)
    shifted = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)[:, None]
    pool = entry["pool_size"]
    return {
        "pool": (images[:pool], labels[:pool]),
        "test": (images[pool:], labels[pool:]),
        "mnist_shift": (shifted, shifted_labels),
    }


def split_table(compressed: bytes) -> Arrays:
    """Return pixels (N, P) float64 and labels from a gzipped comma-separated table with the label in the last column."""
    table = np.loadtxt(io.StringIO(expand_gzip(compressed).decode("ascii")), delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)


def decode_cifar10_png(files: Mapping[str, bytes], entry: "DatasetEntry") -> dict[str, Arrays]:
    """Decode CIFAR-10 as PNG sheets with one image of 32×32 RGB pixels per row, and JSON lists of labels."""
    pool = np.concatenate([decode_sheet(find_file(files, f"data_batch_{batch}.png")) for batch in range(1, 6)])
    return {
        "pool": (pool, np.array(json.loads(find_file(files, "train_lables.json")), dtype=np.int64)),
        "test": (
            decode_sheet(find_file(files, "test_batch.png")),
            np.array(json.loads(find_file(files, "test_lables.json")), dtype=np.int64),
        ),
    }


def decode_sheet(sheet: bytes) -> np.ndarray:
    """Return the images (N, 3, 32, 32) of a sheet with one image per row."""
    with Image.open(io.BytesIO(sheet)) as image:
        if image.width != 32 * 32:
            raise ValueError(f"a sheet of {image.width}×{image.height} pixels instead of one 32×32 image per row")
        pixels = np.asarray(image.convert("RGB"))
    return pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)


def decode_cifar10_pickles(files: Mapping[str, bytes], entry: "DatasetEntry") -> dict[str, Arrays]:
    """Decode CIFAR-10's Python version: five pickled training batches and one test batch. Call it only on verified files."""
    batches = [decode_pickle(find_file(files, f"data_batch_{batch}"), "labels") for batch in range(1, 6)]
    images, labels = zip(*batches, strict=True)
    return {
        "pool": (np.concatenate(images), np.concatenate(labels)),
        "test": decode_pickle(find_file(files, "test_batch"), "labels"),
    }


def decode_cifar100_pickles(files: Mapping[str, bytes], entry: "DatasetEntry") -> dict[str, Arrays]:
    """Decode CIFAR-100's Python version, with its 100 fine labels. Call it only on verified files."""
    return {
        "pool": decode_pickle(find_file(files, "train"), "fine_labels"),
        "test": decode_pickle(find_file(files, "test"), "fine_labels"),
    }


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and refuses every other name, since unpickling calls what a pickle names."""

    ALLOWED = frozenset(
        {
            *(("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")),
            *(("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")),
        }
    )

    def find_class(self, module: str, name: str) -> object:
        """Return the class or function that a pickle names."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")
        return super().find_class(module, name)


def decode_pickle(batch: bytes, label_key: str) -> Arrays:
    """Return the images and labels of one pickled batch, which may contain only plain values and arrays."""
    content = ArrayUnpickler(io.BytesIO(batch), encoding="latin1").load()
    return content["data"].reshape(-1, 3, 32, 32), np.array(content[label_key], dtype=np.int64)


def decode_idx(files: Mapping[str, bytes], entry: "DatasetEntry") -> dict[str, Arrays]:
    """Decode the four gzipped IDX files of MNIST or Fashion-MNIST."""
    splits = {}
    for split, prefix in (("pool", "train"), ("test", "t10k")):
        images = decode_idx_array(find_file(files, f"{prefix}-images-idx3-ubyte.gz"))
        splits[split] = (images[:, None], decode_idx_array(find_file(files, f"{prefix}-labels-idx1-ubyte.gz")).astype(np.int64))
    return splits


def decode_idx_array(compressed: bytes) -> np.ndarray:
    """Return the byte array of a gzipped IDX file: magic number 0, 0, 8, ndim, then big-endian sizes, then the values."""
    content = expand_gzip(compressed)
    if content[:3] != b"\0\0\x08":
        raise ValueError("not an IDX file of bytes")
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape.astype(int))


def decode_tiny_imagenet(files: Mapping[str, bytes], entry: "DatasetEntry") -> dict[str, Arrays]:
    """Decode Tiny-ImageNet: its training images become the pool, its validation images the test set.

    Labels are positions in the sorted list of class ids. Samples are sorted by label, then by file name. Grey images become RGB.
    """
    classes = sorted(find_file(files, "wnids.txt").decode("ascii").split())
    label_of = {name: label for label, name in enumerate(classes)}
    annotations = find_file(files, "val/val_annotations.txt").decode("ascii").splitlines()
    class_of_image = dict(line.split("\t")[:2] for line in annotations)
    pool: list[tuple[int, str, str]] = []
    test: list[tuple[int, str, str]] = []
    for path in files:
        folders, name = PurePosixPath(path).parts[:-1], PurePosixPath(path).name
        if not name.endswith(".JPEG"):
            continue
        if folders[-3:-2] == ("train",):
            pool.append((label_of[folders[-2]], name, path))
        elif folders[-2:] == ("val", "images"):
            test.append((label_of[class_of_image[name]], name, path))
    return {"pool": decode_images(files, pool, entry), "test": decode_images(files, test, entry)}


def decode_images(files: Mapping[str, bytes], members: list[tuple[int, str, str]], entry: "DatasetEntry") -> Arrays:
    """Decode image files, given as (label, name, path), to RGB arrays of one size, in sorted order."""
    members = sorted(members)
    images = np.empty((len(members), *entry["input_shape"]), dtype=np.uint8)

    def decode(position: int) -> None:
        path = members[position][2]
        try:
            with Image.open(io.BytesIO(files[path])) as image:
                if (image.height, image.width) != tuple(entry["input_shape"][1:]):
                    raise ValueError(f"{image.width}×{image.height} pixels")
                images[position] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        except UNREADABLE as error:
            raise DataError(f"member {path!r} is not a readable image ({first_line(error)})") from None

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(decode, range(len(members))):
            pass
    return images, np.array([label for label, _, _ in members], dtype=np.int64)


LAYOUTS = {
    "digits_csv": decode_digits,
    "cifar10_png": decode_cifar10_png,
    "cifar10_pickles": decode_cifar10_pickles,
    "cifar100_pickles": decode_cifar100_pickles,
    "idx": decode_idx,
    "tiny_imagenet": decode_tiny_imagenet,
}
PICKLED = frozenset({"cifar10_pickles", "cifar100_pickles"})  # layouts whose files are opened only if their checksums are pinned

"""From the published files of a data set to its canonical arrays."""

import pickle
import zlib
from pathlib import Path

import numpy as np

from selectbench.data.archives import read_archive
from selectbench.data.class_folders import FOLDERS, index_folder, read_class_list
from selectbench.data.layouts import LAYOUTS, Arrays
from selectbench.data.messages import first_line
from selectbench.data.sources import choose_source, get_raw_folder, locate_file
from selectbench.errors import DataError
from selectbench.files import digest_array, digest_value, write_atomically, write_text

ARCHIVES = (".tgz", ".tar.gz", ".zip", ".deb")
UNDECODABLE = (
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    EOFError,
    OSError,
    ImportError,
    AttributeError,
    pickle.UnpicklingError,
    zlib.error,
)


def prepare_dataset(name: str, entry: dict, resources: Path) -> dict:
    """Write the canonical arrays of a data set to ``resources/<name>/prepared/<split>``.

    Every split holds ``labels.npy`` (N,) int64, and ``images.npy`` (N, C, H, W) uint8 or, where images stay in the user's
    folders, ``paths.txt``. Nothing is written before the checksums of the files, and of the arrays if they are pinned, are right.

    Parameters
    ----------
    name : str
        Id of the data set.
    entry : dict
        Its entry in ``config/datasets.yaml``.
    resources : Path
        The folder of all data sets.

    Returns
    -------
    manifest : dict
        ``name``, ``source``, ``splits: {split: {num, images_sha256, labels_sha256, class_counts}}``, and ``mean`` and ``std`` of the
        pool's channels, on the scale 0…1. For images in folders, ``images_sha256`` is that of the list of paths, and
        ``mean`` and ``std`` are the customary ones of the entry.

    Raises
    ------
    DataError
        A file is missing or wrong, or what it holds is not what the entry says.
    """
    source = choose_source(name, entry, resources, full=True)
    prepared = Path(resources) / name / "prepared"
    if source["layout"] == "class_folders":
        splits, mean, std = prepare_folders(name, entry, source, resources, prepared), entry["mean"], entry["std"]
    else:
        splits, mean, std = prepare_arrays(name, entry, source, resources, prepared)
    return {"name": name, "source": source["name"], "splits": splits, "mean": mean, "std": std}


def prepare_arrays(name: str, entry: dict, source: dict, resources: Path, prepared: Path) -> tuple[dict, list[float], list[float]]:
    """Decode, check and write the arrays of all splits; return their manifests and the pool's mean and standard deviation."""
    paths = [locate_file(name, source, file, resources) for file in source["files"]]
    decoded = decode_files(paths, source["layout"], entry)
    splits = {split: decoded[split] for split in list_sizes(entry)}
    manifests = {split: check_arrays(paths[0], split, arrays, entry) for split, arrays in splits.items()}
    for split, (images, labels) in splits.items():
        write_array(prepared / split / "images.npy", images)
        write_array(prepared / split / "labels.npy", labels)
    mean, std = measure_channels(splits["pool"][0])
    return manifests, mean, std


def prepare_folders(name: str, entry: dict, source: dict, resources: Path, prepared: Path) -> dict:
    """Index the image files of all splits; return their manifests."""
    class_names = read_class_list(source["class_list"], entry["classes"])
    raw = get_raw_folder(name, resources)
    sizes = list_sizes(entry)
    indices = {split: index_folder(raw / folder, class_names, sizes[split]) for split, folder in FOLDERS.items()}
    for split, (paths, labels) in indices.items():
        write_text(prepared / split / "paths.txt", "".join(f"{path}\n" for path in paths))
        write_array(prepared / split / "labels.npy", labels)
    return {split: describe_split(digest_value(paths), labels, entry["classes"]) for split, (paths, labels) in indices.items()}


def list_sizes(entry: dict) -> dict[str, int]:
    """Return the number of samples of the pool and of each test set."""
    return {"pool": entry["pool_size"], **{test_set: settings["size"] for test_set, settings in entry["test_sets"].items()}}


def decode_files(paths: list[Path], layout: str, entry: dict) -> dict[str, Arrays]:
    """Return the arrays of all splits in these verified files."""
    files = {}
    for path in paths:
        files |= read_archive(path) if path.name.endswith(ARCHIVES) else {path.name: path.read_bytes()}
    try:
        return LAYOUTS[layout](files, entry)
    except DataError as error:
        raise DataError(f"{paths[0]}: {error}; delete it and fetch it again") from None
    except UNDECODABLE as error:
        raise DataError(f"{paths[0]}: cannot be decoded as {layout} ({first_line(error)}); delete it and fetch it again") from None


def check_arrays(path: Path, split: str, arrays: Arrays, entry: dict) -> dict:
    """Return the manifest of a split after comparing its arrays with the entry."""
    images, labels = arrays
    expected = (list_sizes(entry)[split], *entry["input_shape"])
    if images.dtype != np.uint8 or images.shape != expected or labels.shape != expected[:1]:
        found = f"images {images.shape} {images.dtype} and labels {labels.shape}"
        raise DataError(f"{path}: split {split!r} has {found} instead of images {expected} uint8; fetch it again")
    if len(labels) and not 0 <= labels.min() <= labels.max() < entry["classes"]:
        found = f"{labels.min()}…{labels.max()}"
        raise DataError(f"{path}: split {split!r} has labels {found} instead of 0…{entry['classes'] - 1}; fetch it again")
    manifest = describe_split(digest_array(images), labels, entry["classes"])
    for key, pinned in entry.get("arrays", {}).get(split, {}).items():
        if manifest[key] != pinned:
            raise DataError(f"{path}: split {split!r} decodes to other arrays: its {key} is {manifest[key]}, not {pinned}; fetch it again")
    return manifest


def describe_split(images_sha256: str, labels: np.ndarray, classes: int) -> dict:
    """Return the manifest of one split."""
    return {
        "num": len(labels),
        "images_sha256": images_sha256,
        "labels_sha256": digest_array(labels),
        "class_counts": np.bincount(labels, minlength=classes).tolist(),
    }


def measure_channels(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of each channel of (N, C, H, W) uint8 images on the scale 0…1, from exact counts."""
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = sum(np.bincount(chunk.reshape(-1), minlength=256) for chunk in split_chunks(images[:, channel]))
        shares = counts / counts.sum()
        mean = float(shares @ values)
        means.append(mean)
        deviations.append(float(np.sqrt(shares @ (values - mean) ** 2)))
    return means, deviations


def split_chunks(images: np.ndarray, size: int = 4096) -> list[np.ndarray]:
    """Return views of at most ``size`` images, so that counting needs little memory."""
    return [images[start : start + size] for start in range(0, len(images), size)]


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as ``.npy``, atomically; equal arrays give equal bytes."""
    write_atomically(path, lambda stream: np.save(stream, np.ascontiguousarray(array), allow_pickle=False))

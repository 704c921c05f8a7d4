"""Preparing the canonical arrays of a data set from its published files."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selectbench.data.archives import read_archive
from selectbench.data.class_folders import FOLDERS, index_folder, read_class_list
from selectbench.data.contents import digest_contents, list_known, measure_contents, read_contents, write_contents
from selectbench.data.corruptions import corrupt_images
from selectbench.data.images import UNREADABLE, check_header
from selectbench.data.label_lists import NO_LABEL
from selectbench.data.layouts import LAYOUTS, PICKLED, Arrays
from selectbench.data.messages import first_line
from selectbench.data.noise import add_noise, read_human_labels
from selectbench.data.placed import check_placed, index_placed, list_placed, pick_test_sets
from selectbench.data.sources import REINSTALL, check_digest, choose_source, get_base, get_raw_folder, locate_file, locate_installed
from selectbench.data.splits import NOISY, SEVERITIES, read_paths, write_paths
from selectbench.errors import DataError
from selectbench.records.files import digest_array, digest_value, write_array
from selectbench.seeds import derive_seed

if TYPE_CHECKING:
    from selectbench.data.entries import DatasetEntry, DatasetManifest, SourceEntry, SplitManifest

ARCHIVES = (".tgz", ".tar.gz", ".zip", ".deb")
UNDECODABLE = (*UNREADABLE, ImportError, RecursionError, pickle.UnpicklingError)


def prepare_dataset(name: str, entry: "DatasetEntry", resources: Path, test_sets: Sequence[str]) -> "DatasetManifest":
    """Write the canonical arrays of a data set to ``resources/<name>/prepared/<split>``.

    Every split holds ``labels.npy`` (N,) int64, and either ``images.npy`` (N, C, H, W) uint8 or, where images stay separate files,
    ``paths.txt``, relative to ``resources/<name>``. Where several classes count as correct, labels are (N, K), padded with −1.
    Nothing is written before the checksums of the files, and of the arrays if they are pinned, have been verified.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/datasets.yaml``
    resources : the folder of all data sets
    test_sets : the test sets to prepare besides the pool

    Returns
    -------
    The manifest. For images in folders, ``mean`` and ``std`` are the customary ones of the entry.

    Raises
    ------
    DataError
        A file is missing or wrong, or its content does not match the entry.
    """
    entry = pick_test_sets(name, entry, test_sets)
    source = choose_source(get_base(name, entry), entry, resources, full=True)
    for test_set in list_placed(entry):
        check_placed(name, entry, test_set, resources)
    prepared = Path(resources) / name / "prepared"
    if source["layout"] == "class_folders":
        splits, mean, std = prepare_folders(name, entry, source, resources, prepared), entry["mean"], entry["std"]
    else:
        splits, mean, std = prepare_arrays(name, entry, source, resources, prepared)
    splits |= {test_set: prepare_placed(name, entry, test_set, resources, prepared) for test_set in list_placed(entry)}
    return {"name": name, "source": source["name"], "splits": splits, "mean": mean, "std": std}


def prepare_arrays(
    name: str, entry: "DatasetEntry", source: "SourceEntry", resources: Path, prepared: Path
) -> tuple[dict[str, "SplitManifest"], list[float], list[float]]:
    """Decode, check and write the arrays of all splits; return their manifests and the pool's mean and standard deviation."""
    refuse_unpinned(name, source)
    paths = [locate_file(get_base(name, entry), source, file, resources) for file in source["files"]]
    whole: DatasetEntry = {**entry, **entry["whole"]} if "whole" in entry else entry
    decoded = decode_files(paths, source["layout"], whole)
    splits = {split: decoded[split] for split in list_sizes(whole)}
    manifests = {split: check_arrays(paths[0], split, arrays, whole) for split, arrays in splits.items()}
    if "per_class" in entry:
        splits = {split: take_first(name, split, arrays, entry["per_class"][split], entry["classes"]) for split, arrays in splits.items()}
        manifests = {split: describe_arrays(arrays, entry) for split, arrays in splits.items()}
    (prepared / "pool" / NOISY).unlink(missing_ok=True)
    if "noise" in entry:
        splits["pool"], noisy = make_noisy(name, entry, splits["pool"])
        manifests["pool"] = describe_arrays(splits["pool"], entry) | {
            "noise": entry["noise"],
            "num_noisy": len(noisy),
            "noisy_sha256": digest_array(noisy),
        }
        write_array(prepared / "pool" / NOISY, noisy)
    for test_set, settings in entry["test_sets"].items():
        if settings["kind"] == "corrupted":
            seed = derive_seed("corrupted", get_base(name, entry), test_set)
            splits[test_set] = corrupt_test_set(splits[settings["of"]], settings["corruptions"], seed)
            manifests[test_set] = describe_arrays(splits[test_set], entry) | {"corruptions": settings["corruptions"]}
    for split, (images, labels) in splits.items():
        write_array(prepared / split / "images.npy", images)
        write_array(prepared / split / "labels.npy", labels)
    mean, std = measure_channels(splits["pool"][0])
    return manifests, mean, std


def refuse_unpinned(name: str, source: "SourceEntry") -> None:
    """Raise for a source of pickles with a file whose checksum is not pinned: unpickling an unknown file may execute anything."""
    for file in source["files"] if source["layout"] in PICKLED else ():
        if not {"sha256", "md5"} & file.keys():
            raise DataError(f"config/datasets.yaml: {name}.sources: {file['path']} holds pickles, which are opened only with a `sha256`")


def prepare_folders(name: str, entry: "DatasetEntry", source: "SourceEntry", resources: Path, prepared: Path) -> dict[str, "SplitManifest"]:
    """Index the image files of the splits in the source's class folders; return their manifests."""
    label_of = {class_id: label for label, class_id in enumerate(read_class_list(source["class_list"], entry["classes"]))}
    raw = get_raw_folder(name, resources)
    manifests: dict[str, SplitManifest] = {}
    for split, size in list_sizes(entry).items():
        files, labels = index_folder(raw / FOLDERS[split], label_of, size)
        paths = [f"{raw.name}/{FOLDERS[split]}/{file}" for file in files]
        manifests[split] = describe_split(digest_value(paths), labels, entry["classes"]) | write_index(prepared / split, paths, labels)
    return manifests


def prepare_placed(name: str, entry: "DatasetEntry", test_set: str, resources: Path, prepared: Path) -> "SplitManifest":
    """Index a test set that the user has placed; return its manifest."""
    paths, labels, images_sha256, classes = index_placed(name, entry, test_set, resources, prepared)
    described = describe_split(images_sha256, labels, entry["classes"])
    return described | {"classes": classes} | write_index(prepared / test_set, paths, labels)


def write_index(folder: Path, paths: list[str], labels: np.ndarray) -> "SplitManifest":
    """Write the paths and labels of a split whose images are separate files, and what these hold; return its part of the manifest.

    Raises
    ------
    DataError
        A file cannot be read, or is not one picture of 8 or 16 bits.
    """
    root = folder.parents[1]
    known = list_known(read_paths(folder / "paths.txt"), read_contents(folder)) if (folder / "paths.txt").is_file() else {}
    contents = measure_contents(root, paths, known, check_header)
    write_contents(folder, contents)
    write_paths(folder / "paths.txt", paths)
    write_array(folder / "labels.npy", labels)
    return {"contents_sha256": digest_contents(paths, contents.digests)}  # type: ignore[typeddict-item]  # joined with the other keys


def list_sizes(entry: "DatasetEntry") -> dict[str, int]:
    """Return the number of samples of the pool and of each test set published with it."""
    published = {test_set: settings for test_set, settings in entry["test_sets"].items() if not {"of", "folder"} & settings.keys()}
    return {"pool": entry["pool_size"], **{test_set: settings["size"] for test_set, settings in published.items()}}


def take_first(name: str, split: str, arrays: Arrays, per_class: int, classes: int) -> Arrays:
    """Return the first ``per_class`` samples of every class, in canonical order."""
    images, labels = arrays
    of_class = [np.flatnonzero(labels == label)[:per_class] for label in range(classes)]
    fewest = min(map(len, of_class))
    if fewest < per_class:
        raise DataError(f"config/datasets.yaml: {name}.per_class.{split}: is {per_class}, but a class has only {fewest}")
    ids = np.sort(np.concatenate(of_class))
    return images[ids], labels[ids]


def make_noisy(name: str, entry: "DatasetEntry", pool: Arrays) -> tuple[Arrays, np.ndarray]:
    """Return the pool with the noise of its entry, and the ids of the noisy samples."""
    noise, human = entry["noise"], None
    if noise["kind"] == "human":
        file = noise["file"]
        path = locate_installed(name, file["distribution"], file["path"])
        problem = check_digest(path, file)
        if problem:
            raise DataError(f"{path}: {problem}; {REINSTALL}")
        human = read_human_labels(path, file["member"], noise["labels"], pool[1])
    return add_noise(pool, noise, entry["classes"], derive_seed("noise", name), human)


def corrupt_test_set(test: Arrays, corruptions: list[str], seed: int) -> Arrays:
    """Return a test set's images with every corruption at every severity, in the order (corruption, severity, image)."""
    images, labels = test
    ids = np.arange(len(labels))
    levels = [(name, severity) for name in corruptions for severity in range(1, SEVERITIES + 1)]
    return np.concatenate([corrupt_images(images, ids, name, severity, seed) for name, severity in levels]), np.tile(labels, len(levels))


def decode_files(paths: list[Path], layout: str, entry: "DatasetEntry") -> dict[str, Arrays]:
    """Return the arrays of all splits in these verified files."""
    files: dict[str, bytes] = {}
    for path in paths:
        files |= read_archive(path) if path.name.endswith(ARCHIVES) else {path.name: path.read_bytes()}
    try:
        return LAYOUTS[layout](files, entry)
    except DataError as error:
        raise DataError(f"{paths[0]}: {error}; delete it and fetch it again") from None
    except UNDECODABLE as error:
        raise DataError(f"{paths[0]}: cannot be decoded as {layout} ({first_line(error)}); delete it and fetch it again") from None


def check_arrays(path: Path, split: str, arrays: Arrays, entry: "DatasetEntry") -> "SplitManifest":
    """Compare the arrays of a split with the entry and return its manifest."""
    images, labels = arrays
    expected = (list_sizes(entry)[split], *entry["input_shape"])
    if images.dtype != np.uint8 or images.shape != expected or labels.shape != expected[:1]:
        found = f"images {images.shape} {images.dtype} and labels {labels.shape}"
        raise DataError(f"{path}: split {split!r} has {found} instead of images {expected} uint8; fetch it again")
    if len(labels) and not 0 <= labels.min() <= labels.max() < entry["classes"]:
        found = f"{labels.min()}…{labels.max()}"
        raise DataError(f"{path}: split {split!r} has labels {found} instead of 0…{entry['classes'] - 1}; fetch it again")
    manifest = describe_arrays(arrays, entry)
    checksums: Mapping[str, object] = manifest
    for key, pinned in entry.get("arrays", {}).get(split, {}).items():
        if checksums[key] != pinned:
            raise DataError(f"{path}: split {split!r} decodes to other arrays: its {key} is {checksums[key]}, not {pinned}; fetch it again")
    return manifest


def describe_arrays(arrays: Arrays, entry: "DatasetEntry") -> "SplitManifest":
    """Return the manifest of a split that is stored as arrays."""
    images, labels = arrays
    return describe_split(digest_array(images), labels, entry["classes"])


def describe_split(images_sha256: str, labels: np.ndarray, classes: int) -> "SplitManifest":
    """Return the manifest of one split."""
    return {
        "num": len(labels),
        "images_sha256": images_sha256,
        "labels_sha256": digest_array(labels),
        "class_counts": np.bincount(labels[labels != NO_LABEL], minlength=classes).tolist(),
        "classes": None,
    }


def measure_channels(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of images (N, C, H, W) uint8 on the scale 0…1, from exact counts."""
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for chunk in split_chunks(images[:, channel]):
            counts += np.bincount(chunk.reshape(-1), minlength=256)
        shares = counts / counts.sum()
        mean = float(shares @ values)
        means.append(mean)
        deviations.append(float(np.sqrt(shares @ (values - mean) ** 2)))
    return means, deviations


def split_chunks(images: np.ndarray, size: int = 4096) -> list[np.ndarray]:
    """Return views of at most ``size`` images, so that counting needs little memory."""
    return [images[start : start + size] for start in range(0, len(images), size)]

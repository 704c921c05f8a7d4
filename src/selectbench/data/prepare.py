"""From the published files of a data set to its canonical arrays."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selectbench.data.archives import read_archive
from selectbench.data.class_folders import FOLDERS, index_folder, read_class_list
from selectbench.data.corruptions import corrupt_images
from selectbench.data.images import UNREADABLE
from selectbench.data.label_lists import NO_LABEL
from selectbench.data.layouts import LAYOUTS, PICKLED, Arrays
from selectbench.data.messages import first_line
from selectbench.data.noise import add_noise, read_human_labels
from selectbench.data.placed import check_placed, index_placed, list_placed, pick_test_sets
from selectbench.data.sources import check_digest, choose_source, describe_help, get_base, get_raw_folder, locate_file
from selectbench.data.splits import NOISY, SEVERITIES
from selectbench.errors import DataError
from selectbench.records.files import digest_array, digest_value, write_array, write_text
from selectbench.seeds import derive_seed

ARCHIVES = (".tgz", ".tar.gz", ".zip", ".deb")
UNDECODABLE = (*UNREADABLE, ImportError, RecursionError, pickle.UnpicklingError)


def prepare_dataset(name: str, entry: dict, resources: Path, test_sets: Sequence[str]) -> dict:
    """Write the canonical arrays of a data set to ``resources/<name>/prepared/<split>``.

    Every split holds ``labels.npy`` (N,) int64, and ``images.npy`` (N, C, H, W) uint8 or, where images stay files of their own,
    ``paths.txt``, relative to ``resources/<name>``. Where several classes count as right, labels are (N, K), filled up with −1.
    Nothing is written before the checksums of the files, and of the arrays if they are pinned, are right.

    Parameters
    ----------
    name : str
        Id of the data set.
    entry : dict
        Its entry in ``config/datasets.yaml``.
    resources : Path
        The folder of all data sets.
    test_sets : sequence of str
        The test sets to prepare beside the pool.

    Returns
    -------
    manifest : dict
        ``name``, ``source``, ``splits: {split: {num, images_sha256, labels_sha256, class_counts, classes}}``, and ``mean`` and
        ``std`` of the pool's channels, on the scale 0…1. For images in folders, ``images_sha256`` is that of the list of paths, and
        ``mean`` and ``std`` are the customary ones of the entry. ``classes`` are those that logits are restricted to, or null.

    Raises
    ------
    DataError
        A file is missing or wrong, or what it holds is not what the entry says.
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


def prepare_arrays(name: str, entry: dict, source: dict, resources: Path, prepared: Path) -> tuple[dict, list[float], list[float]]:
    """Decode, check and write the arrays of all splits; return their manifests and the pool's mean and standard deviation."""
    refuse_unpinned(name, source)
    paths = [locate_file(get_base(name, entry), source, file, resources) for file in source["files"]]
    whole = entry | entry.get("whole", {})
    decoded = decode_files(paths, source["layout"], whole)
    splits = {split: decoded[split] for split in list_sizes(whole)}
    manifests = {split: check_arrays(paths[0], split, arrays, whole) for split, arrays in splits.items()}
    if "per_class" in entry:
        splits = {split: take_first(name, split, arrays, entry["per_class"][split], entry["classes"]) for split, arrays in splits.items()}
        manifests = {split: describe_arrays(arrays, entry) for split, arrays in splits.items()}
    (prepared / "pool" / NOISY).unlink(missing_ok=True)
    if "noise" in entry:
        splits["pool"], noisy = make_noisy(name, entry, splits["pool"])
        manifests["pool"] = describe_arrays(splits["pool"], entry) | {"noise": entry["noise"], "num_noisy": len(noisy)}
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


def refuse_unpinned(name: str, source: dict) -> None:
    """Raise for a source of pickles with a file whose checksum is not pinned: unpickling an unknown file may do anything."""
    for file in source["files"] if source["layout"] in PICKLED else ():
        if not {"sha256", "md5"} & file.keys():
            raise DataError(f"config/datasets.yaml: {name}.sources: {file['path']} holds pickles, which are opened only with a `sha256`")


def prepare_folders(name: str, entry: dict, source: dict, resources: Path, prepared: Path) -> dict:
    """Index the image files of the splits in the source's class folders; return their manifests."""
    label_of = {class_id: label for label, class_id in enumerate(read_class_list(source["class_list"], entry["classes"]))}
    raw, manifests = get_raw_folder(name, resources), {}
    for split, size in list_sizes(entry).items():
        files, labels = index_folder(raw / FOLDERS[split], label_of, size)
        paths = [f"{raw.name}/{FOLDERS[split]}/{file}" for file in files]
        write_index(prepared / split, paths, labels)
        manifests[split] = describe_split(digest_value(paths), labels, entry["classes"])
    return manifests


def prepare_placed(name: str, entry: dict, test_set: str, resources: Path, prepared: Path) -> dict:
    """Index a test set that the user has placed; return its manifest."""
    paths, labels, images_sha256, classes = index_placed(name, entry, test_set, resources, prepared)
    write_index(prepared / test_set, paths, labels)
    return describe_split(images_sha256, labels, entry["classes"]) | {"classes": classes}


def write_index(folder: Path, paths: list[str], labels: np.ndarray) -> None:
    """Write the paths and labels of a split whose images are files of their own."""
    write_text(folder / "paths.txt", "".join(f"{path}\n" for path in paths))
    write_array(folder / "labels.npy", labels)


def list_sizes(entry: dict) -> dict[str, int]:
    """Return the number of samples of the pool and of each test set that is published with it."""
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


def make_noisy(name: str, entry: dict, pool: Arrays) -> tuple[Arrays, np.ndarray]:
    """Return the pool with the noise of its entry, and the ids of the noisy samples."""
    noise, human = entry["noise"], None
    if noise["kind"] == "human":
        source = {"fetch": "package"}
        path = locate_file(name, source, noise["file"], Path())
        problem = check_digest(path, noise["file"])
        if problem:
            raise DataError(f"{path}: {problem}; {describe_help(name, source)}")
        human = read_human_labels(path, noise["file"]["member"], noise["labels"], pool[1])
    return add_noise(pool, noise, entry["classes"], derive_seed("noise", name), human)


def corrupt_test_set(test: Arrays, corruptions: list[str], seed: int) -> Arrays:
    """Return a test set's images under every corruption at every severity, in the order (corruption, severity, image)."""
    images, labels = test
    ids = np.arange(len(labels))
    levels = [(name, severity) for name in corruptions for severity in range(1, SEVERITIES + 1)]
    return np.concatenate([corrupt_images(images, ids, name, severity, seed) for name, severity in levels]), np.tile(labels, len(levels))


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
    manifest = describe_arrays(arrays, entry)
    for key, pinned in entry.get("arrays", {}).get(split, {}).items():
        if manifest[key] != pinned:
            raise DataError(f"{path}: split {split!r} decodes to other arrays: its {key} is {manifest[key]}, not {pinned}; fetch it again")
    return manifest


def describe_arrays(arrays: Arrays, entry: dict) -> dict:
    """Return the manifest of a split that is held as arrays."""
    images, labels = arrays
    return describe_split(digest_array(images), labels, entry["classes"])


def describe_split(images_sha256: str, labels: np.ndarray, classes: int) -> dict:
    """Return the manifest of one split."""
    return {
        "num": len(labels),
        "images_sha256": images_sha256,
        "labels_sha256": digest_array(labels),
        "class_counts": np.bincount(labels[labels != NO_LABEL], minlength=classes).tolist(),
        "classes": None,
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

"""Test sets that a user places next to a data set, each in its own folder, when a table needs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selectbench.data.class_folders import FOLDERS, check_class_folders, index_folder, read_class_list, read_class_subset
from selectbench.data.label_lists import count_rows, unpack_rows
from selectbench.data.sources import get_raw_folder
from selectbench.errors import DataError, suggest
from selectbench.records.files import digest_value

if TYPE_CHECKING:
    from selectbench.data.entries import DatasetEntry, Entry, TestSetEntry


def pick_test_sets(name: str, entry: "DatasetEntry", test_sets: Sequence[str]) -> "DatasetEntry":
    """Return an entry with only these test sets and those they are made from."""
    settings = entry["test_sets"]
    for test_set in test_sets:
        if test_set not in settings:
            raise DataError(f"config/datasets.yaml: {name}.test_sets: unknown {test_set!r}{suggest(test_set, settings)}")
    wanted = {*test_sets, *(settings[test_set]["of"] for test_set in test_sets if "of" in settings[test_set])}
    return {**entry, "test_sets": {test_set: value for test_set, value in settings.items() if test_set in wanted}}


def list_placed(entry: "Entry") -> list[str]:
    """Return the test sets that the user has to place."""
    return [test_set for test_set, settings in entry["test_sets"].items() if "folder" in settings]


def list_available(name: str, entry: "Entry", resources: Path) -> list[str]:
    """Return the test sets that need not be placed, and those whose folders exist, complete or not."""
    placed = list_placed(entry)
    return [test_set for test_set in entry["test_sets"] if test_set not in placed or find_folder(name, entry, test_set, resources).exists()]


def find_folder(name: str, entry: "Entry", test_set: str, resources: Path) -> Path:
    """Return where the user places a test set."""
    return get_raw_folder(name, resources) / entry["test_sets"][test_set]["folder"]


def check_placed(name: str, entry: "DatasetEntry", test_set: str, resources: Path) -> None:
    """Check that a placed test set is complete, without opening its images.

    Raises
    ------
    DataError
        Its folder is missing, a class folder is missing, misnamed or empty, a parquet file cannot be read, or the number of images
        differs from the published one; the message names the path.
    """
    settings, folder = entry["test_sets"][test_set], find_folder(name, entry, test_set, resources)
    check_folders(name, entry, test_set, resources)
    if settings["layout"] == "class_folders":
        index_folder(folder, list_classes(entry, test_set), settings["size"])
        return
    try:
        found = count_rows(folder)
    except DataError as error:
        raise DataError(f"{error}; {describe_placing(settings)}") from None
    if found != settings["size"]:
        raise DataError(f"{folder / 'data'}: has {found:,} of {settings['size']:,} images; {describe_placing(settings)}")


def check_folders(name: str, entry: "DatasetEntry", test_set: str, resources: Path) -> None:
    """Check that the folder of a placed test set exists, together with any class folders."""
    settings, folder = entry["test_sets"][test_set], find_folder(name, entry, test_set, resources)
    if settings["layout"] == "class_folders":
        problem = check_class_folders(folder, list_classes(entry, test_set).keys())
    else:
        problem = None if folder.is_dir() else f"{folder}: missing"
    if problem:
        raise DataError(f"{problem}; {describe_placing(settings)}")


def describe_placing(settings: "TestSetEntry") -> str:
    """Return what a user has to do to provide a test set."""
    return f"place or link it there yourself: {settings['note']}"


def list_classes(entry: "DatasetEntry", test_set: str) -> dict[str, int]:
    """Return class id → label for the classes of a test set in class folders, in the order of their labels."""
    class_list = next((source["class_list"] for source in entry["sources"] if "class_list" in source), None)
    if class_list is None:
        raise DataError(f"config/datasets.yaml: test_sets: {test_set}.layout: class_folders need a source with a `class_list`")
    return read_class_subset(entry["test_sets"][test_set]["class_list"], read_class_list(class_list, entry["classes"]))


def list_folders(name: str, entry: "DatasetEntry", split: str, resources: Path) -> tuple[Path, dict[str, int]] | None:
    """Return the folder that holds the class folders of a split, and class id → label; None for a split that has none."""
    if split in list_placed(entry):
        is_listed = entry["test_sets"][split]["layout"] == "class_folders"
        return (find_folder(name, entry, split, resources), list_classes(entry, split)) if is_listed else None
    source = next((source for source in entry["sources"] if source["layout"] == "class_folders"), None)
    if source is None or split not in FOLDERS:
        return None
    labels = {class_id: label for label, class_id in enumerate(read_class_list(source["class_list"], entry["classes"]))}
    return get_raw_folder(name, resources) / FOLDERS[split], labels


def index_placed(
    name: str, entry: "DatasetEntry", test_set: str, resources: Path, prepared: Path
) -> tuple[list[str], np.ndarray, str, list[int] | None]:
    """List the images and labels of a placed test set that was checked; images in parquet files are unpacked.

    Parameters
    ----------
    name, entry, test_set : the data set, its entry and one of its test sets
    resources : the folder of all data sets
    prepared : the folder of prepared splits; images are unpacked to ``<test set>/images`` in it

    Returns
    -------
    paths : list of str
        Relative to the folder of the data set.
    labels : (N,) or (N, K) int64
        With several columns, all classes that count as correct, padded with −1.
    images_sha256 : str
        Of the list of paths, or of the unpacked images.
    classes : list of int or None
        The classes that logits are restricted to.
    """
    settings, folder = entry["test_sets"][test_set], find_folder(name, entry, test_set, resources)
    root = Path(resources) / name
    if settings["layout"] == "class_folders":
        label_of = list_classes(entry, test_set)
        files, labels = index_folder(folder, label_of, settings["size"])
        paths = [f"{folder.relative_to(root).as_posix()}/{file}" for file in files]
        return paths, labels, digest_value(paths), list(label_of.values())
    images = prepared / test_set / "images"
    files, labels, images_sha256 = unpack_rows(folder, images, entry["classes"])
    return [f"{images.relative_to(root).as_posix()}/{file}" for file in files], labels, images_sha256, None

"""Test sets that a user places beside a data set, each in a folder of its own, when a table asks for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selectbench.data.class_folders import check_class_folders, index_folder, read_class_list, read_class_subset
from selectbench.data.label_lists import count_rows, unpack_rows
from selectbench.data.sources import get_raw_folder
from selectbench.errors import DataError, suggest
from selectbench.records.files import digest_value


def pick_test_sets(name: str, entry: dict, test_sets: Sequence[str]) -> dict:
    """Return an entry of ``config/datasets.yaml`` with only these test sets and those that they are made of."""
    settings = entry["test_sets"]
    for test_set in test_sets:
        if test_set not in settings:
            raise DataError(f"config/datasets.yaml: {name}.test_sets: unknown {test_set!r}{suggest(test_set, settings)}")
    wanted = {*test_sets, *(settings[test_set]["of"] for test_set in test_sets if "of" in settings[test_set])}
    return {**entry, "test_sets": {test_set: value for test_set, value in settings.items() if test_set in wanted}}


def list_placed(entry: dict) -> list[str]:
    """Return the test sets that the user places."""
    return [test_set for test_set, settings in entry["test_sets"].items() if "folder" in settings]


def list_available(name: str, entry: dict, resources: Path) -> list[str]:
    """Return the test sets that need no placing and those whose folders are there, whole or not."""
    placed = list_placed(entry)
    return [test_set for test_set in entry["test_sets"] if test_set not in placed or find_folder(name, entry, test_set, resources).exists()]


def find_folder(name: str, entry: dict, test_set: str, resources: Path) -> Path:
    """Return where the user places a test set."""
    return get_raw_folder(name, resources) / entry["test_sets"][test_set]["folder"]


def check_placed(name: str, entry: dict, test_set: str, resources: Path) -> None:
    """Check that a placed test set is whole, without opening its images.

    Raises
    ------
    DataError
        Its folder is missing, a class folder is missing, wrongly named or empty, a parquet file cannot be read, or there are not
        as many images as published; the line names the path.
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


def check_folders(name: str, entry: dict, test_set: str, resources: Path) -> None:
    """Check that the folder of a placed test set is there, with its class folders if it has any."""
    settings, folder = entry["test_sets"][test_set], find_folder(name, entry, test_set, resources)
    if settings["layout"] == "class_folders":
        problem = check_class_folders(folder, list_classes(entry, test_set).keys())
    else:
        problem = None if folder.is_dir() else f"{folder}: missing"
    if problem:
        raise DataError(f"{problem}; {describe_placing(settings)}")


def describe_placing(settings: dict) -> str:
    """Return what a user does to bring a test set."""
    return f"place or link it there yourself: {settings['note']}"


def list_classes(entry: dict, test_set: str) -> dict[str, int]:
    """Return class id → label of the classes that a test set in class folders has, in the order of their labels."""
    class_list = next((source["class_list"] for source in entry["sources"] if "class_list" in source), None)
    if class_list is None:
        raise DataError(f"config/datasets.yaml: test_sets: {test_set}.layout: class_folders need a source with a `class_list`")
    return read_class_subset(entry["test_sets"][test_set]["class_list"], read_class_list(class_list, entry["classes"]))


def index_placed(
    name: str, entry: dict, test_set: str, resources: Path, prepared: Path
) -> tuple[list[str], np.ndarray, str, list[int] | None]:
    """List the images and labels of a placed and checked test set, unpacking images that are not files yet.

    Parameters
    ----------
    name, entry, test_set : data set, its entry, and which of its test sets
    resources : the folder of all data sets
    prepared : where unpacked images go, to ``<test set>/images``

    Returns
    -------
    paths : list of str
        Relative to the folder of the data set.
    labels : (N,) or (N, K) int64
        With several columns, all classes that count as right, filled up with −1.
    images_sha256 : str
        Of the list of paths, or of unpacked images.
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

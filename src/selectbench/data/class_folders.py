"""Images that stay where the user put them: one folder a class."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from selectbench.errors import DataError

FOLDERS = {"pool": "train", "test": "val"}
SUFFIXES = (".jpeg", ".jpg", ".png")


def read_class_list(class_list: str, classes: int) -> list[str]:
    """Return the class ids in sorted order: position in this list is the label.

    Parameters
    ----------
    class_list : str
        A text file with one class id a line, relative to this module's folder.
    classes : int
        How many there must be.
    """
    path = Path(__file__).parent / class_list
    names = sorted(path.read_text(encoding="utf-8").split())
    if len(set(names)) != classes:
        raise DataError(f"{path}: lists {len(set(names)):,} different classes instead of {classes:,}; correct `class_list` or `classes`")
    return names


def check_classes(raw: Path, class_list: str, classes: int) -> Iterator[str]:
    """Yield one line for each split whose class folders are not exactly the listed ones."""
    expected = set(read_class_list(class_list, classes))
    for folder in (raw / name for name in FOLDERS.values()):
        if not folder.is_dir():
            yield f"{folder}: missing"
            continue
        with os.scandir(folder) as items:
            found = {item.name for item in items if item.is_dir()}
        wrong = [
            f"{label} class folder {name_some(names)}"
            for label, names in (("no", expected - found), ("unknown", found - expected))
            if names
        ]
        if wrong:
            yield f"{folder}: {', '.join(wrong)}"


def name_some(names: set[str], most: int = 3) -> str:
    """Return the first few names in sorted order and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more


def index_folder(folder: Path, class_names: list[str], expected: int) -> tuple[list[str], np.ndarray]:
    """List the images of one split in canonical order: sorted class id, then sorted file name.

    Returns
    -------
    paths : list of str
        ``<class id>/<file name>``, relative to the folder.
    labels : (N,) int64

    Raises
    ------
    DataError
        A class has no images, or there are not as many images as expected.
    """
    paths, labels = [], []
    for label, name in enumerate(class_names):
        images = sorted(file for file in os.listdir(folder / name) if file.lower().endswith(SUFFIXES))
        if not images:
            raise DataError(f"{folder / name}: holds no image; a class folder must hold its {', '.join(SUFFIXES)} files")
        paths += [f"{name}/{file}" for file in images]
        labels += [label] * len(images)
    if len(paths) != expected:
        raise DataError(f"{folder}: has {len(paths):,} of {expected:,} images; copy the missing ones or remove the extra ones")
    return paths, np.array(labels, dtype=np.int64)

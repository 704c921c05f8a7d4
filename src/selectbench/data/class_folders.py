"""Images that stay where the user placed them: one folder per class."""

import os
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import numpy as np

from selectbench.data.messages import first_line
from selectbench.errors import DataError, find_closest, spell

FOLDERS = {"pool": "train", "test": "val"}
SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_class_list(class_list: str, classes: int) -> list[str]:
    """Return the class ids in sorted order; a class's label is its position in this list.

    Parameters
    ----------
    class_list : str
        A text file with one class id per line, relative to this module's folder.
    classes : int
        Expected number of classes.
    """
    path = Path(__file__).parent / class_list
    names = sorted(read_names(path))
    if len(set(names)) != classes:
        raise DataError(f"{path}: lists {len(set(names)):,} different classes instead of {classes:,}; correct `class_list` or `classes`")
    return names


def read_names(path: Path) -> list[str]:
    """Return the lines of a text file without the spaces around them; names may hold spaces, and empty lines are left out.

    Raises
    ------
    DataError
        The file is missing or is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable list of classes ({first_line(error)}); write one class per line, in UTF-8") from None
    return [line.strip() for line in lines if line.strip()]


def read_class_subset(class_list: str, class_names: list[str]) -> dict[str, int]:
    """Return class id → label for a test set that has only some of the classes, in sorted order.

    Parameters
    ----------
    class_list : str
        A text file with one class id per line, relative to this module's folder.
    class_names : list of str
        All classes of the data set, in the order of their labels.
    """
    path = Path(__file__).parent / class_list
    labels = {name: label for label, name in enumerate(class_names)}
    names = sorted(set(read_names(path)))
    for name in names:
        if name not in labels:
            raise DataError(f"{path}: {name!r} is not a class of the data set{hint_closest(name, labels)}")
    return {name: labels[name] for name in names}


def check_classes(raw: Path, class_list: str, classes: int) -> Iterator[str]:
    """Yield one line for each split whose class folders differ from the listed classes."""
    expected = set(read_class_list(class_list, classes))
    for folder in FOLDERS.values():
        problem = check_class_folders(raw / folder, expected)
        if problem:
            yield problem


def check_class_folders(folder: Path, expected: Set[str]) -> str | None:
    """Return one line that names missing and unknown class folders, or None."""
    if not folder.is_dir():
        return f"{folder}: missing"
    with os.scandir(folder) as items:
        found = {item.name for item in items if item.is_dir() and not item.name.startswith(".")}
    missing, unknown = expected - found, found - expected
    wrong = [f"no class folder {name_some(missing)}"] if missing else []
    if unknown:
        wrong.append(f"unknown class folder {name_some(unknown)}{hint_closest(min(unknown), missing or expected)}")
    return f"{folder}: {', '.join(wrong)}" if wrong else None


def hint_closest(name: str, valid: Set[str] | Mapping[str, object]) -> str:
    """Return ``" (did you mean 'x'?)"``, or an empty string if no valid name is close."""
    closest = find_closest(name, valid)
    return f" (did you mean {closest!r}?)" if closest else ""


def name_some(names: Set[str], most: int = 3) -> str:
    """Return the first few names in sorted order, and the number of others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(spell, sorted(names)[:most])) + more


def index_folder(folder: Path, label_of: Mapping[str, int], expected: int) -> tuple[list[str], np.ndarray]:
    """List the images of one split in canonical order: by class, then by file name. Hidden files, such as macOS's ``._…``, are none.

    Parameters
    ----------
    folder : Path
        Holds one folder per class.
    label_of : dict
        Class id → label, in canonical order.
    expected : int
        Expected number of images.

    Returns
    -------
    paths : list of str
        ``<class id>/<file name>``, relative to the folder.
    labels : (N,) int64

    Raises
    ------
    DataError
        A class has no images, or the number of images differs from the expected one.
    """
    paths, labels, others = list_images(folder, folder, label_of)
    if len(paths) != expected:
        ignored = f" (ignored: {name_some(others)})" if others else ""
        raise DataError(f"{folder}: has {len(paths):,} of {expected:,} images{ignored}; copy the missing ones or remove the extra ones")
    return paths, np.array(labels, dtype=np.int64)


def list_images(root: Path, folder: Path, label_of: Mapping[str, int]) -> tuple[list[str], list[int], set[str]]:
    """Return the images of class folders in canonical order, relative to ``root``, their labels, and what else the folders hold.

    Raises
    ------
    DataError
        A class has no images.
    """
    where = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    paths: list[str] = []
    labels: list[int] = []
    others: set[str] = set()
    for name, label in label_of.items():
        files = {file for file in os.listdir(folder / name) if not file.startswith(".")}
        images = sorted(file for file in files if file.lower().endswith(SUFFIXES))
        others |= {f"{name}/{file}" for file in files.difference(images)}
        if not images:
            raise DataError(f"{folder / name}: holds no image; a class folder must hold its {', '.join(SUFFIXES)} files")
        paths += [f"{where}{name}/{file}" for file in images]
        labels += [label] * len(images)
    return paths, labels, others

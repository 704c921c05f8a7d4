"""Checks, before any job starts, that data sets are usable."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selectbench.data.placed import check_folders, check_placed, list_placed, pick_test_sets
from selectbench.data.sources import check_raw, get_base
from selectbench.data.splits import NOISY, ArraySplit, FolderSplit, check_noisy, open_split
from selectbench.errors import DataError
from selectbench.records.files import digest_array, read_sealed

if TYPE_CHECKING:
    from selectbench.data.entries import DatasetEntry, SplitManifest

_HASHED_BYTES = 1 << 26  # only the size of larger arrays is checked: hashing them would delay every start


def check_dataset(name: str, entry: "DatasetEntry", resources: Path, test_sets: Sequence[str]) -> None:
    """Check the prepared splits of a data set, the published files of those not yet prepared, and the folders of images that stay there.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/datasets.yaml``
    resources : the folder of all data sets
    test_sets : those needed besides the pool

    Raises
    ------
    DataError
        Something is missing, truncated or altered; the message names the file and the remedy.
    """
    entry = pick_test_sets(name, entry, test_sets)
    manifest = Path(resources) / name / "prepared" / "manifest.json"
    prepared: dict[str, SplitManifest] = read_sealed(manifest)["splits"] if manifest.exists() else {}
    placed = list_placed(entry)
    needed = ["pool", *entry["test_sets"]]
    stay = any(source["layout"] == "class_folders" for source in entry["sources"])
    if stay or any(split not in prepared for split in needed if split not in placed):
        check_raw(get_base(name, entry), entry, resources)
    for test_set in placed:
        if test_set not in prepared:
            check_placed(name, entry, test_set, resources)
        elif entry["test_sets"][test_set]["layout"] == "class_folders":
            check_folders(name, entry, test_set, resources)
    for split in needed:
        if split in prepared:
            _check_split(manifest, split, prepared[split])


def _check_split(manifest: Path, split: str, expected: "SplitManifest") -> None:
    remedy, labels = f"delete {manifest} and run again", manifest.parent / split / "labels.npy"
    if not labels.exists():
        raise DataError(f"{labels}: missing; {remedy}")
    try:
        opened = open_split(manifest.parent, split)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from None
    arrays = {"labels": (opened.labels, expected["labels_sha256"])}
    if isinstance(opened, ArraySplit):
        arrays["images"] = (opened.images, expected["images_sha256"])
    if isinstance(opened, FolderSplit):
        _check_paths(opened, manifest.parent / split / "paths.txt", expected["num"], remedy)
    for part, (array, digest) in arrays.items():
        path = manifest.parent / split / f"{part}.npy"
        if len(array) != expected["num"]:
            raise DataError(f"{path}: holds {len(array):,} of {expected['num']:,} samples; {remedy}")
        if array.nbytes <= _HASHED_BYTES and digest_array(array) != digest:
            raise DataError(f"{path}: wrong checksum: it is not what was prepared; {remedy}")
    check_noisy(manifest.parent / split / NOISY, expected.get("noisy_sha256"), remedy)


def _check_paths(split: FolderSplit, path: Path, num: int, remedy: str) -> None:
    if len(split.paths) != num:
        raise DataError(f"{path}: lists {len(split.paths):,} of {num:,} images; {remedy}")
    folder = (split.root / split.paths[0]).parent
    if not folder.is_dir():
        raise DataError(f"{folder}: missing; {remedy}")

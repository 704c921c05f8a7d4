"""Is a data set usable right now? Asked before any job starts."""

from collections.abc import Sequence
from pathlib import Path

from selectbench.data.placed import check_folders, check_placed, list_placed, pick_test_sets
from selectbench.data.sources import check_raw, get_base
from selectbench.data.splits import ArraySplit, FolderSplit, open_split
from selectbench.errors import DataError
from selectbench.records.files import digest_array, read_json

_HASHED_BYTES = 1 << 26  # larger arrays are checked for their size only: hashing them would hold every start up


def check_dataset(name: str, entry: dict, resources: Path, test_sets: Sequence[str]) -> None:
    """Check the prepared splits of a data set, the files from which those not yet prepared would be, and folders that images stay in.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/datasets.yaml``
    resources : the folder of all data sets
    test_sets : those that are needed beside the pool

    Raises
    ------
    DataError
        Something is missing, truncated or altered; the line names the file and what helps.
    """
    entry = pick_test_sets(name, entry, test_sets)
    manifest = Path(resources) / name / "prepared" / "manifest.json"
    prepared, placed = read_json(manifest)["splits"] if manifest.exists() else {}, list_placed(entry)
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


def _check_split(manifest: Path, split: str, expected: dict) -> None:
    remedy = f"delete {manifest} and run again"
    try:
        opened = open_split(manifest.parent, split)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from None
    arrays = {"labels": opened.labels}
    if isinstance(opened, ArraySplit):
        arrays["images"] = opened.images
    if isinstance(opened, FolderSplit):
        _check_paths(opened, manifest.parent / split / "paths.txt", expected["num"], remedy)
    for part, array in arrays.items():
        path = manifest.parent / split / f"{part}.npy"
        if len(array) != expected["num"]:
            raise DataError(f"{path}: holds {len(array):,} of {expected['num']:,} samples; {remedy}")
        if array.nbytes <= _HASHED_BYTES and digest_array(array) != expected[f"{part}_sha256"]:
            raise DataError(f"{path}: wrong checksum: it is not what was prepared; {remedy}")


def _check_paths(split: FolderSplit, path: Path, num: int, remedy: str) -> None:
    if len(split.paths) != num:
        raise DataError(f"{path}: lists {len(split.paths):,} of {num:,} images; {remedy}")
    folder = (split.root / split.paths[0]).parent
    if not folder.is_dir():
        raise DataError(f"{folder}: missing; {remedy}")

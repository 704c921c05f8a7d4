"""Is a data set usable right now? Asked before any job starts."""

from pathlib import Path

from selectbench.data.sources import check_raw
from selectbench.data.splits import ArraySplit, open_split
from selectbench.errors import DataError
from selectbench.files import digest_array, read_json

_HASHED_BYTES = 1 << 26  # larger arrays are checked for their size only: hashing them would hold every start up


def check_dataset(name: str, entry: dict, resources: Path) -> None:
    """Check the prepared arrays of a data set if there are any, or else the files they would be prepared from.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/datasets.yaml``
    resources : the folder of all data sets

    Raises
    ------
    DataError
        Something is missing, truncated or altered; the line names the file and what helps.
    """
    manifest = Path(resources) / name / "prepared" / "manifest.json"
    if not manifest.exists():
        check_raw(name, entry, resources)
        return
    for split, expected in read_json(manifest)["splits"].items():
        _check_split(manifest, split, expected)


def _check_split(manifest: Path, split: str, expected: dict) -> None:
    remedy = f"delete {manifest} and run again"
    try:
        opened = open_split(manifest.parent, split)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from None
    arrays = {"labels": opened.labels}
    if isinstance(opened, ArraySplit):
        arrays["images"] = opened.images
    for part, array in arrays.items():
        path = manifest.parent / split / f"{part}.npy"
        if len(array) != expected["num"]:
            raise DataError(f"{path}: holds {len(array):,} of {expected['num']:,} samples; {remedy}")
        if array.nbytes <= _HASHED_BYTES and digest_array(array) != expected[f"{part}_sha256"]:
            raise DataError(f"{path}: wrong checksum: it is not what was prepared; {remedy}")

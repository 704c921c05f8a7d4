"""Checks, before any job starts, that data sets are usable."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selectbench.data.class_folders import index_folder, list_images
from selectbench.data.contents import check_contents, check_names
from selectbench.data.images import check_header, is_readable
from selectbench.data.placed import check_folders, check_placed, list_folders, list_placed, pick_test_sets
from selectbench.data.sources import check_raw, get_base, has_raw_files
from selectbench.data.splits import NOISY, ArraySplit, FolderSplit, Split, check_noisy, open_split
from selectbench.errors import DataError
from selectbench.records.files import digest_array, read_sealed

if TYPE_CHECKING:
    from selectbench.data.entries import DatasetEntry, SplitManifest

_HASHED_BYTES = 1 << 26  # only the size of larger arrays is checked: hashing them would delay every start


def check_dataset(name: str, entry: "DatasetEntry", resources: Path, test_sets: Sequence[str], full: bool = False) -> None:
    """Check the prepared splits of a data set, the published files of those not yet prepared, and the folders of images that stay there.

    Image files of another size or time than when they were prepared are read and compared.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/datasets.yaml``
    resources : the folder of all data sets
    test_sets : those needed besides the pool
    full : whether every file is read, whatever its size and time

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
    is_unprepared = any(split not in prepared for split in needed if split not in placed)
    if stay or is_unprepared or (full and has_raw_files(get_base(name, entry), entry, resources)):
        check_raw(get_base(name, entry), entry, resources, full)
    for test_set in placed:
        if test_set not in prepared:
            check_placed(name, entry, test_set, resources)
        elif entry["test_sets"][test_set]["layout"] == "class_folders":
            check_folders(name, entry, test_set, resources)
    for split in needed:
        if split in prepared:
            _check_split(manifest, split, prepared[split], list_folders(name, entry, split, resources), full)
        elif split not in placed and all(source["layout"] == "class_folders" for source in entry["sources"]):
            _check_unprepared(name, entry, split, resources, full)


def _check_unprepared(name: str, entry: "DatasetEntry", split: str, resources: Path, full: bool) -> None:
    """Check the number of images of a split in class folders, and with ``full`` that each is one picture, before they are prepared."""
    class_folders = list_folders(name, entry, split, resources)
    if class_folders is None:
        return
    paths, _ = index_folder(*class_folders, entry["pool_size"] if split == "pool" else entry["test_sets"][split]["size"])
    for path in paths if full else ():
        check_header(class_folders[0] / path)


def list_images_in_place(name: str, entry: "DatasetEntry", resources: Path, test_sets: Sequence[str]) -> Iterator[Path]:
    """Yield all files of the class folders of a data set, whose images stay where the user placed them.

    Parameters
    ----------
    name, entry, resources, test_sets : as in ``check_dataset``
    """
    for split in ("pool", *pick_test_sets(name, entry, test_sets)["test_sets"]):
        folders = list_folders(name, entry, split, resources)
        for class_id in folders[1] if folders else ():
            if folders and (folders[0] / class_id).is_dir():
                yield from (path for path in (folders[0] / class_id).iterdir() if path.is_file())


def open_unchanged(manifest: Path, split: str, described: "SplitManifest", num_threads: int | None = None) -> Split:
    """Open the pool or a test set of a prepared data set, unless its image files hold other images than they did.

    Files that are missing or cannot be read any more are left to ``Split.load``, which counts them.

    Parameters
    ----------
    manifest : of the data set
    split : ``pool`` or the id of a test set
    described : its part of the manifest
    num_threads : see ``open_split``

    Raises
    ------
    DataError
        The message names the file and the remedy.
    """
    opened = open_split(manifest.parent, split, num_threads)
    if isinstance(opened, FolderSplit):
        remedy = f"delete {manifest} and run again"
        folder, expected = manifest.parent / split, described["contents_sha256"]
        check_contents(folder, opened.root, opened.paths, expected, remedy, full=False, is_excused=lambda path: not is_readable(path))
    return opened


def _check_split(
    manifest: Path, split: str, expected: "SplitManifest", class_folders: tuple[Path, Mapping[str, int]] | None, full: bool
) -> None:
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
        _check_paths(opened, manifest.parent / split, expected, remedy)
        if class_folders:
            check_names(opened.root, opened.paths, list_images(opened.root, *class_folders)[0], remedy)
        check_contents(manifest.parent / split, opened.root, opened.paths, expected["contents_sha256"], remedy, full)
    for part, (array, digest) in arrays.items():
        path = manifest.parent / split / f"{part}.npy"
        if len(array) != expected["num"]:
            raise DataError(f"{path}: holds {len(array):,} of {expected['num']:,} samples; {remedy}")
        if (full or array.nbytes <= _HASHED_BYTES) and digest_array(array) != digest:
            raise DataError(f"{path}: wrong checksum: it is not what was prepared; {remedy}")
    check_noisy(manifest.parent / split / NOISY, expected.get("noisy_sha256"), remedy)


def _check_paths(split: FolderSplit, folder: Path, expected: "SplitManifest", remedy: str) -> None:
    if len(split.paths) != expected["num"]:
        raise DataError(f"{folder / 'paths.txt'}: lists {len(split.paths):,} of {expected['num']:,} images; {remedy}")
    first = (split.root / split.paths[0]).parent
    if not first.is_dir():
        raise DataError(f"{first}: missing; {remedy}")
    if "contents_sha256" not in expected:
        raise DataError(f"{folder}: prepared without the contents of its images; {remedy}")

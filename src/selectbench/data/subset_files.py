"""Subsets that other code has chosen: one file per method, with the ids of every data set, keep fraction and seed."""

import io
import zipfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selectbench.data.text_layouts import read_csv_table
from selectbench.errors import DataError, SelectbenchError, first_line, shorten, spell_count, suggest
from selectbench.policy import count_kept, parse_keep

COLUMNS = ("dataset", "keep", "seed", "id")


class Place(NamedTuple):
    """What a subset was chosen for.

    Parameters
    ----------
    dataset : id of the data set
    keep : the fraction
    seed : of the run
    """

    dataset: str
    keep: Fraction
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}, keep {float(self.keep):g}, seed {self.seed}"


SubsetFile = Mapping[Place, np.ndarray]  # ids (k,) int64, in the order of the file


def read_subset_file(path: Path, name: str) -> SubsetFile:
    """Read the columns dataset, keep, seed and id, with one line per sample, from a .csv, or from equally long arrays of an .npz.

    Parameters
    ----------
    path : of the file
    name : of the file, for messages

    Raises
    ------
    DataError
        It is missing or has another ending, cannot be read, lacks a column, or a value is not of its column's kind.
    """
    readers: Mapping[str, Callable[[str, bytes], dict[str, np.ndarray]]] = {".csv": read_csv_columns, ".npz": read_arrays}
    if path.suffix not in readers:
        raise DataError(f"{name}: cannot be read as subsets; give a {' or '.join(readers)} file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}") from None
    columns = readers[path.suffix](name, content)
    for column in COLUMNS:
        if column not in columns:
            raise DataError(f"{name}: the column {column!r} is missing{suggest(column, columns)}")
    lengths = [len(columns[column]) for column in COLUMNS]
    if len(set(lengths)) > 1 or not lengths[0]:
        raise DataError(f"{name}: {', '.join(COLUMNS)} should be equally long and not empty, not of {', '.join(map(str, lengths))}")
    ids = read_counts(name, "id", columns["id"])
    places, which = group_places(name, columns)
    order = np.argsort(which, kind="stable")
    groups = np.split(ids[order], np.cumsum(np.bincount(which, minlength=len(places)))[:-1])
    return dict(zip(places, groups, strict=True))


def group_places(name: str, columns: Mapping[str, np.ndarray]) -> tuple[list[Place], np.ndarray]:
    """Return the places that a file names, and for each line (N,) the index of its place."""
    import pandas as pd

    coded = [pd.factorize(columns[column]) for column in ("dataset", "keep", "seed")]
    datasets, keeps, seeds = (uniques for _, uniques in coded)
    read = (map(str, datasets), (read_keep(name, str(keep)) for keep in keeps), read_counts(name, "seed", seeds).tolist())
    named = [list(values) for values in read]
    lines, which = np.unique(np.stack([codes for codes, _ in coded]), axis=1, return_inverse=True)
    places = [Place(*(values[code] for values, code in zip(named, codes, strict=True))) for codes in lines.T]
    distinct = {place: number for number, place in enumerate(dict.fromkeys(places))}  # 0.5 and 0.50 are one keep fraction
    return list(distinct), np.array([distinct[place] for place in places])[which]


def read_csv_columns(name: str, content: bytes) -> dict[str, np.ndarray]:
    """Return column → texts, of a CSV file with a header."""
    table = read_csv_table(name, content)
    return {str(column): table[column].to_numpy(dtype=object) for column in table}


def read_arrays(name: str, content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz, each of one axis."""
    try:
        with np.load(io.BytesIO(content)) as archive:
            arrays = {key: np.atleast_1d(archive[key]) for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{name}: not an .npz of arrays ({first_line(error)})") from None
    for key, array in arrays.items():
        if key in COLUMNS and array.ndim != 1:
            raise DataError(f"{name}: {key} has the shape {array.shape}; give one value per sample")
    return arrays


def read_counts(name: str, column: str, values: np.ndarray) -> np.ndarray:
    """Return whole numbers from 0 (N,) int64, given numbers or texts."""
    texts = np.asarray(values).astype(str)
    right = np.char.isdecimal(texts) & np.char.isalnum(texts) & (np.char.str_len(texts) < 19)
    if not right.all():
        place = int(np.argmin(right))
        raise DataError(f"{name}: {column}: {shorten(repr(str(texts[place])))} is not a whole number from 0")
    return texts.astype(np.int64)


def read_keep(name: str, keep: str) -> Fraction:
    """Return a keep fraction exactly as written."""
    try:
        return parse_keep(keep)
    except SelectbenchError as error:
        raise DataError(f"{name}: {error}") from None


def check_subset(name: str, place: Place, ids: np.ndarray, num_pool: int) -> None:
    """Raise unless a subset holds exactly k different ids of a pool.

    Raises
    ------
    DataError
        An id is outside the pool or there twice, or there are more or fewer than the keep fraction asks for.
    """
    where = f"{name}: {place}"
    if ids.max() >= num_pool:
        raise DataError(f"{where}: there is no sample {ids.max()}; the pool has {num_pool:,}, from 0 to {num_pool - 1}")
    unique, counts = np.unique(ids, return_counts=True)
    if counts.max() > 1:
        raise DataError(f"{where}: sample {unique[counts.argmax()]} is there {counts.max()} times")
    wanted = count_kept(str(place.keep), num_pool)
    if len(ids) != wanted:
        raise DataError(f"{where}: holds {spell_count(len(ids), 'sample')} instead of {wanted}")

"""Test sets published as parquet files, each row of which holds an image and all classes that count as correct for it."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from selectbench.data.class_folders import SUFFIXES
from selectbench.data.messages import first_line
from selectbench.errors import DataError, suggest
from selectbench.records.files import write_bytes

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

NO_LABEL = -1  # pads the rows of images with fewer labels than others
_ROWS = 64  # read at a time, to save memory


class ImageCell(TypedDict):
    """An image in a parquet file.

    Parameters
    ----------
    bytes : the file's content
    path : the file's name
    """

    bytes: bytes | None
    path: str | None


class LabelledImage(TypedDict):
    """A row of a parquet file.

    Parameters
    ----------
    image : the image
    label : all classes that count as correct
    """

    image: ImageCell | None
    label: list[int] | None


def list_files(folder: Path) -> list[Path]:
    """Return the ``data/*.parquet`` files of a folder in sorted order, which is the canonical order of their rows."""
    files = sorted(path for path in (folder / "data").glob("*.parquet") if not path.name.startswith("."))
    if not files:
        raise DataError(f"{folder / 'data'}: holds no .parquet file")
    return files


def count_rows(folder: Path) -> int:
    """Return the number of rows of a folder's files, as their footers say, after checking their columns."""
    return sum(int(open_file(path).metadata.num_rows) for path in list_files(folder))


def open_file(path: Path) -> "ParquetFile":
    """Open a parquet file that has the columns image (a struct with bytes and path) and label (a list of integers)."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({first_line(error)}); copy it again from the published data set") from None
    schema = file.schema_arrow
    for column in ("image", "label"):
        if column not in schema.names:
            raise DataError(f"{path}: has no column {column!r}{suggest(column, schema.names)}")
    image, label = schema.field("image").type, schema.field("label").type
    if not pa.types.is_struct(image) or not {"bytes", "path"} <= {field.name for field in image}:
        raise DataError(f"{path}: column 'image' holds {image} instead of a struct with bytes and path")
    if not (pa.types.is_list(label) or pa.types.is_large_list(label)) or not pa.types.is_integer(label.value_type):
        raise DataError(f"{path}: column 'label' holds {label} instead of lists of integers")
    return file


def read_rows(path: Path) -> Iterator[LabelledImage]:
    """Yield the rows of a file, with only a few of them in memory at a time."""
    import pyarrow as pa

    file = open_file(path)
    try:
        for batch in file.iter_batches(batch_size=_ROWS, columns=["image", "label"]):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read to its end ({first_line(error)}); copy it again from the published data set") from None


def unpack_rows(folder: Path, target: Path, classes: int) -> tuple[list[str], np.ndarray, str]:
    """Write the images of a folder's parquet files unchanged, each to a file named by its number.

    Parameters
    ----------
    folder : holds ``data/*.parquet``
    target : the folder for the images; it is emptied first
    classes : labels are 0 to classes − 1

    Returns
    -------
    names : list of str
        File names in canonical order.
    labels : (N, K) int64
        All labels of each image, in ascending order, padded with −1.
    images_sha256 : str
        SHA-256 of the images' bytes, each preceded by its length.

    Raises
    ------
    DataError
        A file is unreadable, or a row has no image, no label or a label out of range.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    digest = hashlib.sha256()
    names: list[str] = []
    lists: list[list[int]] = []
    for path in list_files(folder):
        for number, row in enumerate(read_rows(path)):
            image, labels = row["image"], sorted(set(row["label"] or ()))
            if image is None or not image["bytes"]:
                raise DataError(f"{path}: row {number} holds no image")
            content = image["bytes"]
            if not labels or not 0 <= labels[0] <= labels[-1] < classes:
                raise DataError(f"{path}: row {number} has the labels {labels}, not some of 0…{classes - 1}")
            suffix = Path(image["path"] or "").suffix.lower()
            names.append(f"{len(names):06d}{suffix if suffix in SUFFIXES else ''}")
            write_bytes(target / names[-1], content, durable=False)
            digest.update(len(content).to_bytes(8, "little") + content)
            lists.append(labels)
    return names, pad_labels(lists), digest.hexdigest()


def pad_labels(lists: list[list[int]]) -> np.ndarray:
    """Return lists of labels as one array (N, K) int64, padded with −1 to the length K of the longest."""
    padded = np.full((len(lists), max(map(len, lists), default=1)), NO_LABEL, dtype=np.int64)
    for row, labels in zip(padded, lists, strict=True):
        row[: len(labels)] = labels
    return padded

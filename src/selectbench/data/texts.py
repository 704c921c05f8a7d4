"""Text data sets: preparing canonical splits from published files, and reading them."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selectbench.data.archives import BROKEN, read_tar_members
from selectbench.data.label_lists import NO_LABEL
from selectbench.data.messages import first_line
from selectbench.data.sources import choose_source, has_raw_files, locate_file
from selectbench.data.splits import NOISY, check_noisy, read_array
from selectbench.data.text_layouts import TEXT_LAYOUTS, Files, Layout, Row, read_label
from selectbench.errors import DataError, suggest
from selectbench.records.files import digest_array, digest_value, read_sealed, write_array, write_text

if TYPE_CHECKING:
    from selectbench.data.entries import CorpusEntry, CorpusManifest, SourceEntry, SplitManifest

POOL, VALIDATION = "pool", "validation"
_UNDECODABLE = (*BROKEN, KeyError, IndexError, TypeError, AttributeError, csv.Error)


@dataclass(frozen=True)
class TextSplit:
    """The pool, the validation texts or a test set in canonical order: sample id = position.

    Parameters
    ----------
    labels : (N,) int64, the class or the number of the correct option
    texts : N texts, or questions
    options : N lists of options, or None for classification
    """

    labels: np.ndarray
    texts: list[str]
    options: list[list[str]] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def prompts(self) -> list[str]:
        """Return what an encoder reads: each text followed by its options, if any, one per line."""
        if self.options is None:
            return self.texts
        return ["\n".join([text, *options]) for text, options in zip(self.texts, self.options, strict=True)]

    def find_unreadable(self, positions: np.ndarray) -> list[int]:
        """Return an empty list: texts that cannot be read are found when they are prepared."""
        return []


def prepare_texts(name: str, entry: "CorpusEntry", resources: Path, test_sets: Sequence[str]) -> "CorpusManifest":
    """Write the splits of a text data set to ``resources/<name>/prepared/<split>``.

    Every split holds ``texts.jsonl``, one object per line with ``text`` and, for questions, ``options``, and ``labels.npy`` (N,) int64.
    The pool also has ``noisy.npy``, the ids of doubtful labels, if the entry says below which agreement a label is doubtful.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/corpora.yaml``
    resources : the folder of all data sets
    test_sets : those to prepare besides the pool and the validation texts

    Returns
    -------
    The manifest.

    Raises
    ------
    DataError
        A file is missing or wrong, or its content does not match the entry.
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
    prepared = Path(resources) / name / "prepared"
    manifests: dict[str, SplitManifest] = {}
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
        manifests[POOL] |= {"num_noisy": len(noisy), "noisy_sha256": digest_array(noisy)}
    return {
        "name": name,
        "source": source["name"],
        "task": entry["task"],
        "class_names": entry.get("class_names"),
        "dropped": dropped,
        "splits": manifests,
    }


def decode_rows(paths: list[Path], source: "SourceEntry", entry: "CorpusEntry") -> list[Row]:
    """Return the rows of verified files; of archives, only the members that the source names are read."""
    rows: list[Row] = []
    for path, file in zip(paths, source["files"], strict=True):
        if "members" in file:
            files = {f"{path}: {member}": content for member, content in read_tar_members(path, file["members"]).items()}
        else:
            files = {str(path): path.read_bytes()}
        decoded = decode_file(path, files, source, entry, TEXT_LAYOUTS[source["layout"]])
        if "label" in file:
            label = read_label(f"config/corpora.yaml: {file['path']}", file["label"], entry)
            decoded = [replace(row, label=label) for row in decoded]
        if "split" in file:
            decoded = [replace(row, split=file["split"]) for row in decoded]
        rows += decoded
    return rows


def decode_file(path: Path, files: Files, source: "SourceEntry", entry: "CorpusEntry", layout: Layout) -> list[Row]:
    """Return the rows of one file.

    Parameters
    ----------
    path : of the file
    files : its content, or that of its members
    source, entry : that name the file
    layout : how rows are read

    Raises
    ------
    DataError
        The file cannot be decoded.
    """
    try:
        rows = list(layout(files, entry))
        "\n".join(part for row in rows for part in (row.text, *(row.options or ()))).encode()  # fails on half a surrogate pair
    except _UNDECODABLE as error:
        remedy = "" if source["fetch"] == "file" else "; fetch it again"
        raise DataError(f"{path}: cannot be decoded as {source['layout']} ({first_line(error)}){remedy}") from None
    return rows


def check_published(name: str, rows: Sequence[Row], entry: "CorpusEntry") -> None:
    """Raise for a published split whose number of rows differs from the entry."""
    sizes = {POOL: entry["pool_size"], VALIDATION: entry["validation_size"]}
    sizes |= {test_set: settings["size"] for test_set, settings in entry["test_sets"].items()}
    found = Counter(row.split for row in rows if row.split is not None)
    for split in sizes if POOL in found else found:
        if found[split] != sizes[split]:
            raise DataError(f"{name}: split {split!r} has {found[split]:,} of {sizes[split]:,} published texts; fetch it again")


def drop_unusable(rows: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """Return the rows that have a text and a label, and the number of the others by reason."""
    usable = [row for row in rows if row.text.strip() and row.label != NO_LABEL]
    empty = sum(not row.text.strip() for row in rows)
    return usable, {"empty": empty, "unlabelled": len(rows) - len(usable) - empty}


def split_rows(rows: Sequence[Row], entry: "CorpusEntry", name: str) -> dict[str, list[Row]]:
    """Return split → rows in published order, as published or else drawn by the hashes of texts; equal texts share a split.

    Drawn test and validation sets hold distinct texts; duplicates of the remaining texts stay in the pool. Questions count as equal
    only if their options are equal too.

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
    by_text = group_equal(rows)
    drawn = draw_splits(by_text, wanted, name)
    drawn[POOL] = drawn[POOL][: entry["pool_size"]]
    for split, size in (*wanted.items(), (POOL, entry["pool_size"])):
        if len(drawn[split]) < size:
            raise DataError(f"{name}: {len(by_text):,} distinct texts are too few for a split {split!r} of {size:,}")
    return fixed | {split: [rows[index] for index in sorted(indices)] for split, indices in drawn.items()}


def group_equal(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return text with options → the positions of rows that belong to no published split."""
    by_text: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.split is None:
            by_text.setdefault("\n".join([row.text, *(row.options or ())]), []).append(index)
    return by_text


def draw_splits(by_text: Mapping[str, Sequence[int]], sizes: Mapping[str, int], name: str) -> dict[str, list[int]]:
    """Return split → positions: distinct texts for the splits of these sizes, and all rows of the remaining texts for the pool."""
    order = iter(sorted(by_text, key=lambda text: hashlib.sha256(f"{name}\0{text}".encode()).digest()))
    drawn = {split: [by_text[text][0] for text in islice(order, size)] for split, size in sizes.items()}
    drawn[POOL] = [index for text in order for index in by_text[text]]
    return drawn


def check_split(name: str, split: str, rows: Sequence[Row], entry: "CorpusEntry") -> "SplitManifest":
    """Compare a split with the entry and return its manifest."""
    labels = np.array([row.label for row in rows], dtype=np.int64)
    if not 0 <= labels.min(initial=0) <= labels.max(initial=0) < entry["classes"]:
        raise DataError(f"{name}: split {split!r} has labels {labels.min()}…{labels.max()} instead of 0…{entry['classes'] - 1}")
    for row in rows:
        if row.options is not None and not row.label < len(row.options) <= entry["classes"]:
            options = f"{len(row.options)} options, of which number {row.label} should be correct"
            raise DataError(f"{name}: split {split!r}: {row.text!r} has {options}; at most {entry['classes']} are expected")
    manifest: SplitManifest = {
        "num": len(rows),
        "texts_sha256": digest_value([[row.text, row.options] for row in rows]),
        "labels_sha256": digest_array(labels),
        "class_counts": np.bincount(labels, minlength=entry["classes"]).tolist(),
        "classes": None,
    }
    checksums: Mapping[str, object] = manifest
    for key, pinned in entry.get("arrays", {}).get(split, {}).items():
        if checksums[key] != pinned:
            raise DataError(f"{name}: split {split!r} decodes to other texts: its {key} is {checksums[key]}, not {pinned}; fetch it again")
    return manifest


def write_split(folder: Path, rows: Sequence[Row]) -> None:
    """Write the texts and labels of a split."""
    lines = [{"text": row.text} | ({} if row.options is None else {"options": list(row.options)}) for row in rows]
    write_text(folder / "texts.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    write_array(folder / "labels.npy", np.array([row.label for row in rows], dtype=np.int64))


def open_texts(prepared: Path, split: str) -> TextSplit:
    """Open a split of a prepared text data set.

    Raises
    ------
    DataError
        There is no such split (the message names the closest one), or it cannot be read.
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


def check_corpus(name: str, entry: "CorpusEntry", resources: Path, test_sets: Sequence[str], full: bool = False) -> None:
    """Check the prepared splits of a text data set, and the published files of those not yet prepared.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/corpora.yaml``
    resources : the folder of all data sets
    test_sets : those needed besides the pool and the validation texts
    full : whether every file is read, the published ones of prepared splits too as far as they are there

    Raises
    ------
    DataError
        Something is missing, truncated or altered; the message names the file and the remedy.
    """
    manifest = Path(resources) / name / "prepared" / "manifest.json"
    splits: dict[str, SplitManifest] = read_sealed(manifest)["splits"] if manifest.exists() else {}
    needed = [POOL, VALIDATION, *test_sets]
    if any(split not in splits for split in needed) or (full and has_raw_files(name, entry, resources)):
        choose_source(name, entry, resources, full)
    for split in needed:
        if split in splits:
            opened = open_texts(manifest.parent, split)
            found = digest_value([[text, opened.options[row] if opened.options else None] for row, text in enumerate(opened.texts)])
            if found != splits[split]["texts_sha256"] or digest_array(opened.labels) != splits[split]["labels_sha256"]:
                raise DataError(f"{manifest.parent / split}: wrong checksum: it is not what was prepared; delete {manifest} and run again")
            check_noisy(manifest.parent / split / NOISY, splits[split].get("noisy_sha256"), f"delete {manifest} and run again")

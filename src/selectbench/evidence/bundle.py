"""Bundles: runs as one zip file, with the subsets that they were trained on; equal runs give equal bytes."""

import io
import json
import lzma
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from selectbench import __version__
from selectbench.errors import RecordError, SelectbenchError, first_line, shorten
from selectbench.evidence.damage import check_axes
from selectbench.records.checks import check_row
from selectbench.records.files import digest_array, digest_file, is_sealed, refuse_bomb, seal, write_atomically
from selectbench.records.records import (
    COLLECTION,
    EVALUATE,
    TRAIN,
    check_layout,
    check_run,
    merge_records,
    parse_records,
    read_records,
    spell_collection,
    split_row,
)
from selectbench.stages._origins import identify_subset

if TYPE_CHECKING:
    from selectbench.records.rows import Row

ROWS = "records.jsonl"  # of a bundle
CONTENTS = "bundle.json"  # names every other file of a bundle, with its SHA-256
KIND = "selectbench records"
MOST_MEMBERS = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)*\.(npz|json)", flags=re.ASCII)
_UNREADABLE = (
    *(OSError, ValueError, LookupError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


@dataclass(frozen=True)
class Choice:
    """The files of a selection: subsets, their record, and what else the selection wrote.

    Parameters
    ----------
    record : name of the record among the files
    files : name, relative to the results folder → content
    asked : digest of the specifications of the selection and of all that it reads from
    """

    record: str
    files: Mapping[str, bytes]
    asked: str

    @property
    def described(self) -> dict[str, Any]:
        """The content of the record."""
        value: dict[str, Any] = json.loads(self.files[self.record])
        return value


@dataclass(frozen=True)
class Bundle:
    """Runs made somewhere.

    Parameters
    ----------
    scale : of these runs, or None if that is not known
    rows : run → row
    choices : name of the record of a selection → its files
    file : path of the file that was read, if one was
    digest : SHA-256 of that file
    """

    scale: str | None
    rows: "Mapping[str, Row]"
    choices: Mapping[str, Choice] = field(default_factory=dict)
    file: str = ""
    digest: str = ""


def write_bundle(bundle: Bundle, output: Path) -> None:
    """Write a bundle as a zip file, which is complete or absent.

    Raises
    ------
    SelectbenchError
        Something is there already, or the file cannot be written.
    """
    if os.path.lexists(output):
        raise SelectbenchError(f"{output}: already exists; name another file, or delete it first")
    members = {ROWS: spell_collection(bundle.rows[run] for run in sorted(bundle.rows)).encode()}
    members |= {name: content for choice in bundle.choices.values() for name, content in choice.files.items()}
    contents = {
        "kind": KIND,
        "scale": bundle.scale,
        "version": __version__,
        "runs": len(bundle.rows),
        "sha256": {name: sha256(content).hexdigest() for name, content in sorted(members.items())},
        "choices": {record: {"asked": choice.asked, "files": sorted(choice.files)} for record, choice in sorted(bundle.choices.items())},
    }
    members[CONTENTS] = (json.dumps(seal(contents), indent=1, sort_keys=True) + "\n").encode()

    def write(stream: IO[bytes]) -> None:
        with zipfile.ZipFile(stream, "w") as archive:
            for name in sorted(members, key=lambda name: (name != CONTENTS, name)):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
                archive.writestr(entry, members[name])

    try:
        write_atomically(output, write)
    except OSError as error:
        raise SelectbenchError(f"{output}: cannot be written ({error.strerror})") from None


def read_bundle(path: Path) -> Bundle:
    """Read a bundle, or a file of collected records, and check all that can be checked without a plan.

    Raises
    ------
    RecordError
        The file cannot be read, or a record in it was edited or is not what it says; in one line that names file and field.
    """
    try:
        if path.is_dir():
            raise RecordError(f"{path}: a folder; name a zip file of `selectbench records export` or a {COLLECTION}")
        if path.suffix == ".zip" or (path.is_file() and zipfile.is_zipfile(path)):
            bundle = _read_zip(path)
        else:
            bundle = Bundle(None, read_records(path))
        if not bundle.rows:
            raise RecordError(f"{path}: holds no record")
        for run, row in bundle.rows.items():
            check_whole(f"{path}: {run}", row)
    except RecordError as error:
        raise RecordError(_spell_line(str(error).partition("; delete")[0])) from None
    return Bundle(bundle.scale, bundle.rows, bundle.choices, str(path), digest_file(path))


def check_whole(name: str, row: "Row") -> None:
    """Raise unless a row has the values of a row, and is merged from records that say what they were made from.

    Parameters
    ----------
    name : of the row, for the message
    row : the row
    """
    try:
        check_row(name, row)
        check_axes(Path(name), row["run"])
        train, evaluate = split_row(row)
        check_run(name, train, row["run"]["id"], TRAIN)
        if evaluate is not None:
            check_run(f"{name}: evaluation", evaluate, row["run"]["id"], EVALUATE)
        elif row["status"] == "ok":
            raise RecordError(f"{name}: evaluation: missing, though the run has finished")
        for part, record in (("", train), ("evaluation.", evaluate)):
            if record is None:
                continue
            origin = record["made_from"]
            if record["status"] == "failed" and record["failure"] is None:
                raise RecordError(f"{name}: {part}failure: null, though the status is 'failed'")
            if origin is None:
                raise RecordError(f"{name}: {part}made_from: null, so that nothing tells what the record was made from")
            if origin["run"] != row["run"]["id"]:
                raise RecordError(f"{name}: {part}made_from.run: {shorten(repr(origin['run']))}: another run")
        if merge_records(train, evaluate, row.get("imported"))["digest"] != row["digest"]:
            raise RecordError(f"{name}: status: not that of its training and evaluation")
    except RecordError as error:
        text = str(error).partition("; delete")[0]
        raise RecordError(text if text.startswith(name) else f"{name}: {text.removeprefix(row['run']['id'] + ': ')}") from None


def _spell_line(text: str) -> str:
    """Return a text on one line, as names and values from files may hold line breaks and control characters."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _read_zip(path: Path) -> Bundle:
    """Read a zip file of ``write_bundle``."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _read_members(path, archive)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        raise RecordError(f"{path}: not a readable zip file ({first_line(error)})") from None
    contents = _read_contents(path, members.pop(CONTENTS, None), members)
    try:
        text = members[ROWS].decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: {ROWS}: not UTF-8 text ({error})") from None
    rows = parse_records(f"{path}: {ROWS}", text)
    choices = {
        record: Choice(record, {name: members[name] for name in choice["files"]}, choice["asked"])
        for record, choice in contents["choices"].items()
    }
    for choice in choices.values():
        _check_choice(path, choice)
    return Bundle(contents["scale"], rows, choices)


def _read_members(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Return name → content of a zip file, if all names are those of files that a bundle can hold and nothing would fill the memory."""
    entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise ValueError(f"it has {len(entries):,} members")
    refuse_bomb(path.stat().st_size, sum(entry.file_size for entry in entries))
    members: dict[str, bytes] = {}
    for entry in entries:
        if entry.filename != ROWS and not _NAME.fullmatch(entry.filename):
            raise RecordError(f"{path}: {shorten(repr(entry.filename))}: not a file of a bundle")
        if entry.filename in members:
            raise RecordError(f"{path}: {entry.filename}: twice in this zip file")
        members[entry.filename] = archive.read(entry)
    return members


def _read_contents(path: Path, content: bytes | None, members: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the table of contents of a bundle, if it names the other members, and them alone, with their digests."""
    if content is None:
        raise RecordError(f"{path}: has no {CONTENTS}: not a bundle of `selectbench records export`")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: {CONTENTS}: not valid JSON ({first_line(error)})") from None
    if not isinstance(found, dict) or not is_sealed(found) or found.get("kind") != KIND:
        raise RecordError(f"{path}: {CONTENTS}: digest: edited, or not a bundle of `selectbench records export`")
    digests, choices = found.get("sha256"), found.get("choices")
    if not isinstance(digests, dict) or ROWS not in digests or not isinstance(found.get("scale"), str | None):
        raise RecordError(f"{path}: {CONTENTS}: sha256: should name {ROWS} and all other files")
    for name in sorted({*digests, *members}, key=str):
        if name not in members or name not in digests:
            raise RecordError(f"{path}: {shorten(name)}: {'missing from the zip file' if name in digests else f'not named by {CONTENTS}'}")
        if digests[name] != sha256(members[name]).hexdigest():
            raise RecordError(f"{path}: {name}: edited or damaged: its SHA-256 is not the one in {CONTENTS}")
    if not isinstance(choices, dict) or not all(_is_choice(record, choice, members) for record, choice in choices.items()):
        raise RecordError(f"{path}: {CONTENTS}: choices: should name the files of each selection")
    return found


def _is_choice(record: str, choice: object, members: Mapping[str, bytes]) -> bool:
    if not isinstance(choice, dict) or not isinstance(choice.get("asked"), str) or not isinstance(choice.get("files"), list):
        return False
    return record in choice["files"] and all(isinstance(name, str) and name in members for name in choice["files"])


def _check_choice(path: Path, choice: Choice) -> None:
    """Raise unless the files of a selection are those that its record describes."""
    name = f"{path}: {choice.record}"
    try:
        described = choice.described
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{name}: not valid JSON ({first_line(error)})") from None
    if not isinstance(described, dict) or not is_sealed(described):
        raise RecordError(f"{name}: digest: edited or damaged")
    check_layout(name, described.get("schema"))
    try:
        digests, subsets = described["sha256"], {keep: part["sha256"] for keep, part in described["subsets"].items()}
        for part in described["subsets"].values():
            identify_subset(part)
        datetime.fromisoformat(described["provenance"]["finished"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RecordError(f"{name}: not the record of a selection ({type(error).__name__}: {first_line(error)})") from None
    for file, content in choice.files.items():
        if file != choice.record and digests.get(Path(file).name) != sha256(content).hexdigest():
            raise RecordError(f"{path}: {file}: its SHA-256 is not the one in {choice.record}")
    file = f"{choice.record.removesuffix('.json')}.npz"
    if file not in choice.files or _digest_arrays(f"{path}: {file}", choice.files[file]) != {
        k: v for k, v in subsets.items() if v is not None
    }:
        raise RecordError(f"{path}: {file}: does not hold the subsets that {choice.record} describes")


def _digest_arrays(name: str, content: bytes) -> dict[str, str]:
    """Return array → digest of an ``.npz`` file."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            refuse_bomb(len(content), sum(member.file_size for member in archive.zip.infolist()))
            return {array: digest_array(archive[array]) for array in archive.files}
    except (*_UNREADABLE, SyntaxError, tokenize.TokenError) as error:
        raise RecordError(f"{name}: not a readable .npz of plain arrays ({first_line(error)})") from None

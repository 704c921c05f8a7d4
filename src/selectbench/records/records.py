"""Records: one JSON file per run and stage, written last; a failed run has a record too. Each carries a digest of itself."""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selectbench.errors import RecordError, shorten, spell
from selectbench.records.files import (
    DIGEST,
    check_seal,
    digest_file,
    digest_value,
    expand_gzip,
    is_sealed,
    read_json,
    read_sealed,
    seal,
    write_bytes,
    write_sealed,
)

if TYPE_CHECKING:
    from selectbench.records.rows import Import, Row, Trajectory

SCHEMA = 2
TRAIN, EVALUATE = "train", "evaluate"
IMPORTED = "imported"  # beside the records of an imported run: where they come from
WEIGHTS = "model.pt"  # beside the record of a training
COLLECTION = "records.jsonl.gz"  # in the folder of each paper: all its runs
_FIELDS = {  # of the records of runs; those that a failed run did not reach are None
    TRAIN: (
        *("num_pool", "num_kept", "training", "selection", "best_epoch", "noise", "tokens", "warm_start", "model", "recipe", "seeds"),
        "sha256",
    ),
    EVALUATE: ("test", "wall_s"),
}
_EVALUATION = ("status", "failure", "key", "made_from", "provenance", "wall_s")  # what a row holds of the record of its evaluation


def record_path(folder: Path, run_id: str, stage: str) -> Path:
    """Return the path of a run's record of one stage."""
    return Path(folder) / "runs" / run_id / f"{stage}.json"


def write_record(path: Path, record: Mapping[str, object]) -> None:
    """Write a record atomically, with its layout version and its digest."""
    write_sealed(path, {"schema": SCHEMA, **record})


def write_run(folder: Path, stage: str, run: Mapping[str, object], record: Mapping[str, object]) -> None:
    """Write the record of one stage of a run.

    Parameters
    ----------
    folder : the scale's results folder
    stage : ``train`` or ``evaluate``
    run : the run's axes, with its id
    record : status, failure, key, made_from, provenance, and what the stage found; missing fields become None
    """
    write_record(record_path(folder, str(run["id"]), stage), {**dict.fromkeys(_FIELDS[stage]), "run": run, **record})


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises
    ------
    RecordError
        It is missing, corrupt or edited, or this version does not know its layout.
    """
    record = read_json(path)
    check_layout(path, record.get("schema"))
    check_seal(path, record)
    if record.get("status") not in ("ok", "failed"):
        raise RecordError(f"{path}: not a record: its status is neither 'ok' nor 'failed'; delete it and run again")
    return record


def read_run(folder: Path, run_id: str, stage: str) -> dict[str, Any]:
    """Read the record of one stage of a run.

    Raises
    ------
    RecordError
        It cannot be read, or is the record of another run or of another stage.
    """
    path = record_path(folder, run_id, stage)
    record = read_record(path)
    check_run(path, record, run_id, stage)
    return record


def check_run(name: object, record: Mapping[str, Any], run_id: str, stage: str) -> None:
    """Raise unless a record is that of one stage of a run, with the key of what it says it was made from.

    Parameters
    ----------
    name : of the record, for the message
    record : the record
    run_id, stage : of which it should be

    Raises
    ------
    RecordError
        It is not.
    """
    axes, origin = record.get("run"), record.get("made_from")
    if not isinstance(axes, dict) or axes.get("id") != run_id:
        found = axes.get("id") if isinstance(axes, dict) else axes
        raise RecordError(f"{name}: run.id is {shorten(repr(found))} and should be {run_id!r}, as its path says; delete it and run again")
    is_whole = all(field in record for field in (*_FIELDS[stage], "key", "failure", "provenance", "made_from"))
    if not is_whole or not isinstance(record.get("sha256") or {}, dict):
        raise RecordError(f"{name}: not the record of {'a training' if stage == TRAIN else 'an evaluation'}; delete it and run again")
    if origin is not None and (not isinstance(origin, dict) or record["key"] != digest_value(origin)):
        raise RecordError(f"{name}: key is not the digest of made_from; delete it and run again")
    if origin is not None and origin.get("run") != run_id:
        raise RecordError(f"{name}: made_from is that of another run; delete it and run again")


def check_layout(name: object, layout: object) -> None:
    """Raise unless this version reads records of this layout.

    Parameters
    ----------
    name : of the record, for the message
    layout : the version of its layout

    Raises
    ------
    RecordError
        The layout differs; if it is newer, the message advises an update.
    """
    if type(layout) is int and layout > SCHEMA:
        raise RecordError(f"{name}: record layout {layout} is of a newer version; update selectbench, or delete it and run again")
    if type(layout) is not int or layout != SCHEMA:
        raise RecordError(f"{name}: record layout {shorten(repr(layout))} is not {SCHEMA}; delete it and run again")


def find_maker(path: Path) -> Path:
    """Return the path of the record of arrays or weights: beside them, named by the part of their name before the first dot."""
    return path.with_name(f"{path.name.partition('.')[0]}.json")


def check_made(path: Path, digest: str | None = None) -> None:
    """Raise unless a file is byte for byte that described by the record beside it; files without such a record are not checked.

    A cache shared by workflows finds files by what they were made from and does not verify their content.

    Parameters
    ----------
    path : of arrays, weights or a drawing
    digest : SHA-256 of its content, if it is known already

    Raises
    ------
    RecordError
        It was altered, or only partly written.
    """
    record = find_maker(path)
    if path.suffix not in (".npz", ".pt", ".svg") or not record.exists():
        return
    described = read_sealed(record).get("sha256")
    if described is not None and described.get(path.name) != (digest or digest_file(path)):
        files = sorted({str(name) for file in (path, record) for name in (file, file.resolve() if file.is_symlink() else file)})
        raise RecordError(f"{path}: does not match the SHA-256 in {record.name}; delete {', '.join(files)} and run again")


def read_finished(folder: Path, run_id: str, stage: str, key: str) -> dict[str, Any] | None:
    """Return a run's record if it exists, succeeded and has exactly this key; a corrupt one is an error."""
    if not record_path(folder, run_id, stage).exists():
        return None
    record = read_run(folder, run_id, stage)
    return record if record["status"] == "ok" and record["key"] == key else None


def merge_record(folder: Path, run_id: str) -> "Row":
    """Return a run's training and evaluation as one row, as artefacts read it.

    Raises
    ------
    RecordError
        A record is missing or corrupt, or the evaluation is not that of this training and of these weights.
    """
    train = read_run(folder, run_id, TRAIN)
    evaluate = read_run(folder, run_id, EVALUATE) if train["status"] == "ok" else None
    return merge_records(train, evaluate, read_import(folder, run_id, train))


def write_import(folder: Path, run_id: str, train: Mapping[str, Any], imported: "Import") -> None:
    """Write beside a run's records where they were imported from.

    Parameters
    ----------
    folder : the scale's results folder
    run_id : of the run
    train : the record of its training, whose digest tells later whether the run was trained again
    imported : where the records come from
    """
    write_sealed(record_path(folder, run_id, IMPORTED), {**imported, "train": train[DIGEST]})


def read_import(folder: Path, run_id: str, train: Mapping[str, Any]) -> "Import | None":
    """Return where the record of a run's training was imported from; None if it was made here."""
    path = record_path(folder, run_id, IMPORTED)
    if not path.exists():
        return None
    written = read_sealed(path)
    if written.get("train") != train[DIGEST]:  # trained again since
        return None
    return cast("Import", {name: value for name, value in written.items() if name not in ("train", DIGEST)})


def merge_records(train: Mapping[str, Any], evaluate: Mapping[str, Any] | None, imported: "Import | None" = None) -> "Row":
    """Return the records of a run's training and evaluation as one row, which names their digests.

    Parameters
    ----------
    train : record of the training
    evaluate : record of the evaluation; None if the training failed
    imported : where the records were imported from; None if they were made here

    Raises
    ------
    RecordError
        The evaluation is not that of this training and of these weights.
    """
    named: dict[str, str | None] = {TRAIN: train[DIGEST], EVALUATE: None}
    row = {**train, "test": None, "evaluation": None, "records": named, **({IMPORTED: imported} if imported else {})}
    if evaluate is not None:
        check_weights(train, evaluate)
        named[EVALUATE] = evaluate[DIGEST]
        row |= {"test": evaluate["test"], "evaluation": {name: evaluate[name] for name in _EVALUATION}}
        row |= {"status": evaluate["status"], "failure": evaluate["failure"]}
    return cast("Row", seal(row))


def check_weights(train: Mapping[str, Any], evaluate: Mapping[str, Any]) -> None:
    """Raise a ``RecordError`` unless an evaluation is that of the run, the key and the weights of the training."""
    origin = evaluate["made_from"]
    if origin and origin.get("training") != train["key"]:
        raise RecordError(f"{train['run']['id']}: the evaluation is that of another training; delete its evaluate.json and run again")
    if origin and origin.get("weights") != (train["sha256"] or {}).get(WEIGHTS):
        raise RecordError(
            f"{train['run']['id']}: the evaluation is not that of the trained weights; delete its evaluate.json and run again"
        )
    if train["run"] != evaluate["run"]:
        raise RecordError(f"{train['run']['id']}: the evaluation is that of another run; delete its evaluate.json and run again")


def split_row(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the records of training and evaluation that a row was merged from; the latter is None if the training failed.

    Raises
    ------
    RecordError
        The row is not that of the records that it names.
    """
    shared = {name: value for name, value in row.items() if name not in ("test", "evaluation", "records", IMPORTED, DIGEST)}
    evaluation = row["evaluation"]
    evaluate = None
    if evaluation is not None:
        shared |= {"status": "ok", "failure": None}
        evaluate = seal({"schema": row["schema"], "run": row["run"], "test": row["test"], **evaluation})
    train = seal(shared)
    parts: list[Mapping[str, Any]] = [row, merge_records(train, evaluate)]
    own, merged = ({name: value for name, value in part.items() if name not in ("imported", DIGEST)} for part in parts)
    if own != merged:
        raise RecordError(f"{spell(row['run']['id'])}: the row is not that of the records that it names")
    return train, evaluate


def read_records(path: Path) -> "dict[str, Row]":
    """Read a collection, compressed if its name ends in ``.gz``: run id → record.

    Raises
    ------
    RecordError
        The file is missing, a line is not a record or was edited, or a run has two; the message names the line.
    """
    try:
        content = Path(path).read_bytes()
        text = (expand_gzip(content) if Path(path).suffix == ".gz" else content).decode()
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RecordError(f"{path}: not readable UTF-8 text ({error}); delete it and run again") from None
    return parse_records(path, text)


def parse_records(path: object, text: str) -> "dict[str, Row]":
    """Return run id → record of the text of a collection.

    Parameters
    ----------
    path : where the text is from, for messages
    text : one record per line

    Raises
    ------
    RecordError
        A line is not a record or was edited, or a run has two; the message names the line.
    """
    records: dict[str, Row] = {}
    for number, line in enumerate(filter(None, text.split("\n")), start=1):
        try:
            record = json.loads(line)
            run = record["run"]["id"]
            check_layout(f"{path}: line {number}", record.get("schema"))
            is_whole = isinstance(run, str) and is_sealed(record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RecordError(f"{path}: line {number} is not a record ({type(error).__name__}: {error}); delete it and run again") from None
        if not is_whole:
            raise RecordError(f"{path}: line {number} ({spell(run)}): edited or damaged; delete the file and run again")
        if run in records:
            raise RecordError(f"{path}: line {number} is a second record of {spell(run)}; delete the file and run again")
        records[run] = record
    return records


def write_collection(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as JSON lines, in the given order, each with its digest; compressed if the file's name ends in ``.gz``."""
    content = spell_collection(rows).encode()
    content = gzip.compress(content, mtime=0) if path.suffix == ".gz" else content
    write_bytes(path, content)


def spell_collection(rows: Iterable[Mapping[str, object]]) -> str:
    """Return the text of a collection: one row per line, in the given order, each with its digest."""
    return "".join(json.dumps(seal({"schema": SCHEMA, **row}), sort_keys=True, allow_nan=False) + "\n" for row in rows)


def tabulate(trajectory: Sequence[Mapping[str, Any]], chosen_epoch: int | None) -> "Trajectory":
    """Return a trajectory column by column, rounded to six digits, for a record."""
    names: Iterable[str] = trajectory[0] if trajectory else ()
    columns = {name: [_round(row[name]) for row in trajectory] for name in names}
    return cast("Trajectory", {**columns, "chosen_epoch": chosen_epoch})


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")

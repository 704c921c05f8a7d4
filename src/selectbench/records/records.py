"""Records: one JSON file per run and stage, written last; a failed run has a record too."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selectbench.errors import RecordError, shorten
from selectbench.records.files import digest_file, read_json, write_json, write_text

if TYPE_CHECKING:
    from selectbench.records.rows import Row, Trajectory

SCHEMA = 1
TRAIN, EVALUATE = "train", "evaluate"
COLLECTION = "records.jsonl"  # in the folder of each paper: all its runs
_TRAIN_FIELDS = (
    *("run", "status", "failure", "num_pool", "num_kept", "training", "selection", "best_epoch", "noise", "tokens", "warm_start"),
    *("model", "recipe", "seeds", "key", "provenance"),
)


def record_path(folder: Path, run_id: str, stage: str) -> Path:
    """Return the path of a run's record of one stage."""
    return Path(folder) / "runs" / run_id / f"{stage}.json"


def write_record(path: Path, record: Mapping[str, object]) -> None:
    """Write a record atomically, together with its layout version."""
    write_json(path, {"schema": SCHEMA, **record})


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises
    ------
    RecordError
        It is missing or corrupt, or this version does not know its layout.
    """
    record = read_json(path)
    check_layout(path, record.get("schema"))
    if record.get("status") not in ("ok", "failed"):
        raise RecordError(f"{path}: not a record: its status is neither 'ok' nor 'failed'; delete it and run again")
    return record


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


def check_made(path: Path) -> None:
    """Raise unless arrays or weights are byte for byte those described by the record beside them; other files are not checked.

    A cache shared by workflows finds files by what they were made from and does not verify their content.

    Raises
    ------
    RecordError
        They were altered, or only partly written.
    """
    record = find_maker(path)
    if path.suffix not in (".npz", ".pt") or not record.exists():
        return
    described = read_record(record).get("sha256")
    if described is not None and described.get(path.name) != digest_file(path):
        files = sorted({str(name) for file in (path, record) for name in (file, file.resolve() if file.is_symlink() else file)})
        raise RecordError(f"{path}: does not match the SHA-256 in {record.name}; delete {', '.join(files)} and run again")


def read_finished(path: Path, key: str) -> dict[str, Any] | None:
    """Return the record if it exists, succeeded and has exactly this key; a corrupt one is an error."""
    if not path.exists():
        return None
    record = read_record(path)
    return record if record["status"] == "ok" and record["key"] == key else None


def merge_record(folder: Path, run_id: str) -> "Row":
    """Return a run's training and evaluation as one row, as artefacts read it."""
    train = read_record(record_path(folder, run_id, TRAIN))
    row = {"schema": SCHEMA, **{name: train.get(name) for name in _TRAIN_FIELDS}, "test": None, "evaluation": None}
    if train["status"] == "ok":
        evaluation = read_record(record_path(folder, run_id, EVALUATE))
        if evaluation["status"] == "ok":
            about = {"wall_s": evaluation["wall_s"], "provenance": evaluation["provenance"]}
            row |= {"test": evaluation["test"], "evaluation": about}
        else:
            row |= {"status": "failed", "failure": evaluation["failure"]}
    return cast("Row", row)


def read_records(path: Path) -> "dict[str, Row]":
    """Read ``records.jsonl``: run id → record.

    Raises
    ------
    RecordError
        The file is missing, a line is not a record, or a run has two; the message names the line.
    """
    records: dict[str, Row] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: not UTF-8 text ({error}); delete it and run again") from None
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            run = record["run"]["id"]
            check_layout(f"{path}: line {number}", record.get("schema", SCHEMA))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RecordError(f"{path}: line {number} is not a record ({type(error).__name__}: {error}); delete it and run again") from None
        if run in records:
            raise RecordError(f"{path}: line {number} is a second record of {run}; delete the file and run again")
        records[run] = record
    return records


def write_collection(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as JSON lines, in the given order."""
    write_text(path, "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows))


def find_damage(folder: Path, manifests: Iterable[str]) -> None:
    """Raise for the first record of a finished batch that is missing or cannot be read.

    Parameters
    ----------
    folder : the scale's results folder
    manifests : paths of the batches' manifests; a batch without one is not finished and is skipped
    """
    for name in map(Path, manifests):
        if not name.exists():
            continue
        manifest = read_json(name)
        if manifest.get("stage") not in (TRAIN, EVALUATE) or not isinstance(manifest.get("runs"), dict):
            raise RecordError(f"{name}: not the manifest of a batch; delete it and run again")
        for run_id in manifest["runs"]:
            path = record_path(folder, run_id, manifest["stage"])
            if not path.exists():
                raise RecordError(f"{path}: missing, though {name} says it is done; delete {name} and run again: only this run is repeated")
            try:
                read_record(path)
            except RecordError as error:
                raise RecordError(f"{error} after deleting {name} too: only this run is repeated") from None


def tabulate(trajectory: Sequence[Mapping[str, Any]], chosen_epoch: int | None) -> "Trajectory":
    """Return a trajectory column by column, rounded to six digits, for a record."""
    names: Iterable[str] = trajectory[0] if trajectory else ()
    columns = {name: [_round(row[name]) for row in trajectory] for name in names}
    return cast("Trajectory", {**columns, "chosen_epoch": chosen_epoch})


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")

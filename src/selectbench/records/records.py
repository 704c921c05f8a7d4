"""Records: one JSON file a run and stage, written last; failures are records too."""

import json
from collections.abc import Iterable
from pathlib import Path

from selectbench.errors import RecordError, shorten
from selectbench.records.files import digest_file, read_json, write_json, write_text

SCHEMA = 1
TRAIN, EVALUATE = "train", "evaluate"
_TRAIN_FIELDS = (
    *("run", "status", "failure", "num_pool", "num_kept", "training", "selection", "best_epoch", "noise", "tokens", "warm_start"),
    *("model", "recipe", "seeds", "key", "provenance"),
)


def record_path(folder: Path, run_id: str, stage: str) -> Path:
    """Return where the record of a run's stage lies."""
    return Path(folder) / "runs" / run_id / f"{stage}.json"


def write_record(path: Path, record: dict) -> None:
    """Write a record atomically, with the version of its layout."""
    write_json(path, {"schema": SCHEMA, **record})


def read_record(path: Path) -> dict:
    """Read a record.

    Raises
    ------
    RecordError
        Missing, corrupt, or of a layout this version does not know.
    """
    record = read_json(path)
    check_layout(path, record.get("schema"))
    if record.get("status") not in ("ok", "failed"):
        raise RecordError(f"{path}: no record: it does not say whether it is ok or failed; delete it and run again")
    return record


def check_layout(name: object, layout: object) -> None:
    """Raise unless a layout is the one that this version reads; ``name`` is what the line names.

    Raises
    ------
    RecordError
        It is another one; a newer one is not to be deleted but to be read by a newer version.
    """
    if type(layout) is int and layout > SCHEMA:
        raise RecordError(f"{name}: record layout {layout} is of a newer version; update selectbench, or delete it and run again")
    if type(layout) is not int or layout != SCHEMA:
        raise RecordError(f"{name}: record layout {shorten(repr(layout))} is not {SCHEMA}; delete it and run again")


def find_maker(path: Path) -> Path:
    """Return where the record of arrays or weights lies: beside them, by the part of their name before its first dot."""
    return path.with_name(f"{path.name.partition('.')[0]}.json")


def check_made(path: Path) -> None:
    """Raise unless arrays or weights are, byte for byte, those that the record beside them describes; other files pass.

    A cache shared by workflows hands files out by what they should be made of, and looks at none of them.

    Raises
    ------
    RecordError
        They were altered, or written in part.
    """
    record = find_maker(path)
    if path.suffix not in (".npz", ".pt") or not record.exists():
        return
    described = read_record(record).get("sha256")
    if described is not None and described.get(path.name) != digest_file(path):
        files = sorted({str(name) for file in (path, record) for name in (file, file.resolve() if file.is_symlink() else file)})
        raise RecordError(f"{path}: not the file that {record.name} says was made; delete {', '.join(files)} and run again")


def read_finished(path: Path, key: str) -> dict | None:
    """Return the record if it is there, succeeded and was made by exactly this key; a corrupt one is an error."""
    if not path.exists():
        return None
    record = read_record(path)
    return record if record["status"] == "ok" and record["key"] == key else None


def merge_record(folder: Path, run_id: str) -> dict:
    """Return what artefacts read: a run's training and evaluation as one row."""
    train = read_record(record_path(folder, run_id, TRAIN))
    row = {"schema": SCHEMA, **{name: train.get(name) for name in _TRAIN_FIELDS}}
    if train["status"] != "ok":
        return {**row, "test": None, "evaluation": None}
    evaluation = read_record(record_path(folder, run_id, EVALUATE))
    if evaluation["status"] != "ok":
        return {**row, "status": "failed", "failure": evaluation["failure"], "test": None, "evaluation": None}
    return {**row, "test": evaluation["test"], "evaluation": {"wall_s": evaluation["wall_s"], "provenance": evaluation["provenance"]}}


def read_records(path: Path) -> dict[str, dict]:
    """Read ``records.jsonl``: run id → record.

    Raises
    ------
    RecordError
        No such file, a line that is no record, or two records of one run; the line is named.
    """
    records: dict[str, dict] = {}
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


def write_collection(path: Path, rows: Iterable[dict]) -> None:
    """Write rows as JSON lines, in the order given."""
    write_text(path, "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows))


def find_damage(folder: Path, manifests: Iterable[str]) -> None:
    """Raise for the first record that a finished batch promised and that is missing or cannot be read.

    Parameters
    ----------
    folder : the scale's results folder
    manifests : files that say which batches are done; those that do not exist are skipped
    """
    for name in map(Path, manifests):
        if not name.exists():
            continue
        manifest = read_json(name)
        if manifest.get("stage") not in (TRAIN, EVALUATE) or not isinstance(manifest.get("runs"), dict):
            raise RecordError(f"{name}: not the list of a batch's runs; delete it and run again")
        for run_id in manifest["runs"]:
            path = record_path(folder, run_id, manifest["stage"])
            if not path.exists():
                raise RecordError(f"{path}: missing, though {name} says it is done; delete {name} and run again: only this run is repeated")
            try:
                read_record(path)
            except RecordError as error:
                raise RecordError(f"{error} after deleting {name} too: only this run is repeated") from None


def tabulate(trajectory: list[dict], chosen_epoch: int | None) -> dict:
    """Return a trajectory by columns, rounded to six digits, for a record."""
    names = trajectory[0] if trajectory else ()
    columns = {name: [_round(row[name]) for row in trajectory] for name in names}
    return {**columns, "chosen_epoch": chosen_epoch}


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")

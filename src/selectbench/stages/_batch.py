"""Batches: several runs in one process, each with its own record, resumable one by one."""

import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from selectbench.errors import DataError, RecordError, RunFailedError
from selectbench.records.files import digest_value
from selectbench.records.leases import hold_lock
from selectbench.records.progress import report_run
from selectbench.records.provenance import Device, describe_provenance
from selectbench.records.records import read_finished, write_run
from selectbench.stages._origins import write_manifest
from selectbench.stages._specs import Asked, BatchSpec
from selectbench.training.parallel import find_crew

# in messages of torch and its libraries, for errors without a class of their own
_NO_MEMORY = ("can't allocate memory", "ALLOC_FAILED", "CUDA error: out of memory")


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error means that the device or this machine ran out of memory."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in str(error) for words in _NO_MEMORY)


def is_result(error: Exception) -> bool:
    """Tell whether an error is a result of the run: it failed (diverged, for example), memory ran out, or its data cannot be read."""
    return isinstance(error, (RunFailedError, DataError, RecordError)) or is_out_of_memory(error)


def run_batch(
    stage: str,
    spec: BatchSpec[Asked],
    manifest: Path,
    made_from: Mapping[str, list[str]],
    device: Device,
    make_origin: Callable[[Asked], Mapping[str, object]],
    work: Callable[[Asked], tuple[dict[str, Any], str]],
    forget: Callable[[Asked], object] = lambda run: None,
) -> None:
    """Do the runs of a batch that have no finished record with the same key, then write the batch's manifest.

    In a crew, every process does the runs, but only the first one holds the lock, reports and writes.

    Parameters
    ----------
    stage : name of the records, ``train`` or ``evaluate``
    spec : the batch's specification, with ``runs``, ``folder`` and ``code``
    manifest : path of the manifest, which is written last
    made_from : input → SHA-256 of its files, for the manifest
    device : name of the device, for the records
    make_origin : run → everything that may influence its result; the digest is the key of its record
    work : run → (fields of its record, one line for the log); an error that is a result of the run becomes a failed record
    forget : run → deletes what was kept to resume it; called once the record of its success is written
    """
    folder, is_first = Path(spec["folder"]), find_crew().rank == 0
    keys: dict[str, str] = {}
    waiting = f"waiting: another process is working on {manifest}"
    with hold_lock(manifest.with_name(f".{manifest.name}.lock"), waiting) if is_first else nullcontext():
        for run in spec["runs"]:
            origin = make_origin(run)
            keys[run["id"]] = key = digest_value(origin)
            if read_finished(folder, run["id"], stage, key):
                if is_first:
                    forget(run)
                    report_run(folder, stage, manifest, f"{run['id']}: already done")
                continue
            started = datetime.now(UTC)
            outcome, line = _do_run(run, work)
            if not is_first:
                continue
            axes = {name: value for name, value in run.items() if name not in ("subset", "sampler", "test_sets")}
            provenance = describe_provenance(spec["code"], device, started)
            write_run(folder, stage, axes, {"key": key, "made_from": origin, "provenance": provenance, **outcome})
            if outcome["status"] == "ok":
                forget(run)
            report_run(folder, stage, manifest, f"{run['id']}: {line}")
        if is_first:
            write_manifest(manifest, stage, keys, made_from)


def _do_run(run: Asked, work: Callable[[Asked], tuple[dict[str, Any], str]]) -> tuple[dict[str, Any], str]:
    """Return a run's outcome for its record, success or failure, and a line for the log."""
    try:
        fields, line = work(run)
    except Exception as error:
        if not is_result(error):
            raise
        fields = dict(error.fields) if isinstance(error, RunFailedError) else {}
        reason, tail = str(error) or type(error).__name__, "".join(traceback.format_exception(error)[-3:])
        return {"status": "failed", "failure": {"reason": reason, "log_tail": tail}, **fields}, f"failed: {reason}"
    return {"status": "ok", "failure": None, **fields}, line

"""Batches: several runs in one process, each with its own record, resumable one by one."""

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from selectbench.errors import RunFailedError
from selectbench.files import write_json
from selectbench.progress import report_run
from selectbench.provenance import describe_provenance
from selectbench.records import read_finished, record_path, write_record

_FAILURES = (RunFailedError, MemoryError)


def run_batch(
    stage: str,
    spec: dict,
    manifest: Path,
    device: str,
    make_key: Callable[[dict], str],
    work: Callable[[dict], tuple[dict, str]],
) -> None:
    """Do the runs of a batch that have no finished record of the same key, then write the batch's manifest.

    Parameters
    ----------
    stage : name of the records
    spec : the batch's specification, with ``runs``, ``folder`` and ``code``
    manifest : written last
    device : for the record
    make_key : run → digest of everything that may influence its result
    work : run → (fields of its record, one line for the log); a run that diverges or runs out of memory becomes a failed record
    """
    folder = Path(spec["folder"])
    keys: dict[str, str] = {}
    for run in spec["runs"]:
        path = record_path(folder, run["id"], stage)
        keys[run["id"]] = key = make_key(run)
        if read_finished(path, key):
            report_run(folder, stage, manifest, f"{run['id']}: already done")
            continue
        started = datetime.now(UTC)
        try:
            fields, line = work(run)
            outcome = {"status": "ok", "failure": None, **fields}
        except _FAILURES as error:
            tail = "".join(traceback.format_exception(error)[-3:])
            fields = error.fields if isinstance(error, RunFailedError) else {}
            outcome = {"status": "failed", "failure": {"reason": str(error) or type(error).__name__, "log_tail": tail}, **fields}
            line = f"failed: {outcome['failure']['reason']}"
        axes = {name: value for name, value in run.items() if name not in ("subset", "sampler", "test_sets")}
        write_record(path, {"run": axes, "key": key, "provenance": describe_provenance(spec["code"], device, started), **outcome})
        report_run(folder, stage, manifest, f"{run['id']}: {line}")
    write_json(manifest, {"stage": stage, "runs": keys})

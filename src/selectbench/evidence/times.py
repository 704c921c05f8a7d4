"""Times of files, by which Snakemake tells what is up to date: copies and restored backups get them from the contents."""

import os
from collections.abc import Mapping
from pathlib import Path

from selectbench.errors import RecordError
from selectbench.evidence.damage import Inventory, digest_inputs, fits, open_inventory
from selectbench.planning.jobs import Job
from selectbench.planning.plan import Plan


def settle_times(plan: Plan, jobs: Mapping[str, Job]) -> list[str]:
    """Give outputs that are older than an input the time of that input, if their record names the contents of all inputs.

    Without this, a copy whose files were written in another order would be made again. Files are read only where times are in doubt,
    then whatever their size.

    Parameters
    ----------
    plan : of the scale
    jobs : first output → job; a job comes after those that it reads from

    Returns
    -------
    The first outputs of these jobs.
    """
    settled: list[str] = []
    inventory: Inventory | None = None
    for name, job in jobs.items():
        outputs, inputs = ([Path(path) for path in paths] for paths in (job.outputs, job.inputs))
        if not inputs or not all(path.exists() for path in (*outputs, *inputs)):
            continue
        newest = max(find_time(path) for path in inputs)
        older = [path for path in outputs if path.lstat().st_mtime_ns < newest]
        if not older:
            continue
        inventory = inventory or open_inventory(plan)
        if is_current(plan, job, inventory) and set_times(older, newest):
            settled.append(name)
    if inventory is not None:
        inventory.save()
    return settled


def find_time(path: Path) -> int:
    """Return when a file was written, in nanoseconds; of a link, that of the newer of both."""
    return max(path.stat().st_mtime_ns, path.lstat().st_mtime_ns)


def is_current(plan: Plan, job: Job, inventory: Inventory) -> bool:
    """Tell whether the record of a job names the contents of its inputs, as they are now, as what it was made from."""
    try:
        origin = inventory.find_record(Path(job.stage.find_output(plan, job.stage.record))).get("made_from")
    except RecordError:
        return False
    return isinstance(origin, dict) and fits(origin, digest_inputs(plan, job, inventory, whole=True))


def set_times(paths: list[Path], time: int) -> bool:
    """Give files a time, in nanoseconds; tell whether this is permitted."""
    try:
        for path in paths:
            os.utime(path, ns=(time, time), follow_symlinks=False)
    except OSError:
        return False
    return True

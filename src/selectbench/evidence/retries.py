"""How a failed run is tried again: what to delete so that the workflow makes it anew."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from selectbench.errors import RecordError
from selectbench.evidence.damage import spell_config
from selectbench.planning.plan import Plan
from selectbench.planning.runs import Run
from selectbench.records.records import read_record
from selectbench.stages._subsets import find_subset


def describe_retry(plan: Plan, run: Run, files: Sequence[str]) -> str:
    """Return the command that tries a failed run again, after what it does.

    A run that failed because its method found no subset fails again unless the subset is chosen anew.

    Parameters
    ----------
    plan : of the scale
    run : the run
    files : what to delete in any case: the manifest of its batch, and its record if that cannot be read
    """
    chosen = list_failed_choice(plan, run)
    again = f"snakemake --cores 2{spell_config(plan)}"
    if not chosen:
        return f"to retry: rm -f {shlex.join(files)} && {again}"
    result = "a result of the method, which the same settings and code give again; to choose its subsets anew and see"
    return f"{result}: rm -rf {shlex.join([*chosen, *files])} && {again}"


def list_failed_choice(plan: Plan, run: Run) -> list[str]:
    """List the files of the job that was to choose a run's subset and found none; empty if it found one or cannot be asked."""
    if not plan.has_subset(run):
        return []
    job = find_subset(plan, run).job
    try:
        subsets = read_record(Path(job.find_output(plan, job.record))).get("subsets", {})
    except RecordError:
        return []
    return list(job.list_outputs(plan).values()) if subsets.get(run.keep, {}).get("failure") else []

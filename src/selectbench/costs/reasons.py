"""Why jobs would run now: what changed since Snakemake last made their files."""

import ast
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selectbench.costs.recorded import read_note
from selectbench.planning.jobs import Job, list_jobs
from selectbench.planning.plan import Plan

_CAUSES = {
    "ok": "an input will be made again",
    "updated input files": "an input was updated",
    "set of input files changed": "the list of inputs changed",
    "rule implementation changed": "the rule changed",
}


class Reason(NamedTuple):
    """Why jobs of a rule would run."""

    rule: str
    cause: str


def find_reasons(plan: Plan, summary: Iterable[str]) -> tuple[Counter[Reason], Counter[Reason]]:
    """Group the jobs that would run by rule and cause.

    Parameters
    ----------
    plan : of the scale in question
    summary : lines of ``snakemake --summary``, a header first

    Returns
    -------
    jobs, runs : reason → number of jobs, and of runs that they train or evaluate
    """
    jobs = list_jobs(plan)
    maker = {output: job for job in jobs.values() for output in job.outputs}
    statuses: dict[str, list[str]] = {}
    for line in list(summary)[1:]:
        path, *_, status, pending = line.split("\t")
        if pending != "no update" and path in maker:
            statuses.setdefault(maker[path].outputs[0], []).append(status)
    counts: Counter[Reason] = Counter()
    runs: Counter[Reason] = Counter()
    for name, found in statuses.items():
        job = jobs[name]
        reason = Reason(job.rule, explain_status(plan, job, next((status for status in found if status != "ok"), "ok")))
        counts[reason] += 1
        runs[reason] += len(job.runs)
    return counts, runs


def explain_status(plan: Plan, job: Job, status: str) -> str:
    """Return a status of Snakemake's summary as a cause that people understand."""
    if status == "missing":
        return "failed or was stopped before" if Path(job.stage.find_log(plan)).exists() else "not made yet"
    if status == "params changed":
        return compare_specs(read_spec(job), job.stage.specify(plan))
    return _CAUSES.get(status, status)


def read_spec(job: Job) -> dict[str, Any] | None:
    """Return the specification that a job's files were made from, according to Snakemake's metadata; None if it is not recorded."""
    try:
        (text,) = read_note(job.outputs[0])["params"]
        spec: dict[str, Any] = json.loads(ast.literal_eval(text))
        return spec
    except (KeyError, ValueError, TypeError, SyntaxError):
        return None


def compare_specs(before: Mapping[str, object] | None, now: Mapping[str, object]) -> str:
    """Return ``"code changed"`` if fingerprints of code are all that differs, else which parts of a specification do."""
    if before is None:
        return "params changed"
    old, new = strip_code(before), strip_code(json.loads(json.dumps(now)))
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return f"params changed ({', '.join(changed)})" if changed else "code changed"


def strip_code(value: Any) -> Any:
    """Return a specification, or a value in one, without any fingerprint of code."""
    if isinstance(value, Mapping):
        return {key: strip_code(inner) for key, inner in value.items() if key != "code"}
    return [strip_code(inner) for inner in value] if isinstance(value, list) else value

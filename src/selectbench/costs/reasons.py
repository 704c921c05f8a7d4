"""Why jobs would run now: what changed since Snakemake last made their files."""

import ast
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from selectbench.costs.recorded import read_note
from selectbench.planning.jobs import TARGET_RULES, Job, list_jobs, list_runs
from selectbench.planning.plan import Plan

_SPECIFICATIONS = {
    **{"prepare_data": "prepare", "train_proxy": "proxy", "measure_gradients": "gradients", "embed_samples": "encoder"},
    **{"measure_theory": "theory", "score_samples": "score", "select_subsets": "select", "train_selectors": "selector"},
    **{"train_targets": "train", "evaluate_targets": "evaluate", "embed_texts": "embed", "measure_texts": "texts"},
    **{"measure_influences": "influences", "cluster_texts": "clusters", "search_clusters": "search", "measure_validity": "validity"},
    **{"finetune_targets": "train", "evaluate_texts": "evaluate", "collect_records": "collect", "make_table": "table"},
    **{"compare_subsets": "overlaps", "map_states": "states", "draw_figure": "figure", "judge_claims": "claims", "build_page": "page"},
    **{"collect_subsets": "subsets", "build_front_page": "front"},
}
_LOGS = {
    **{"prepare_data": "prepare/{0}", "train_proxy": "proxy/{0}/{1}/seed-{2}", "measure_gradients": "gradients/{0}/{1}/{3}/seed-{2}"},
    **{
        "embed_samples": "encoders/{0}/seed-{1}",
        "measure_theory": "theory/{0}/{1}/seed-{2}",
        "score_samples": "score/{0}/{1}/{2}/seed-{3}",
    },
    **{"select_subsets": "select/{0}/{1}/{2}/seed-{3}", "train_selectors": "selectors/{0}/{1}/{2}/seed-{3}", "train_targets": "train/{0}"},
    **{"evaluate_targets": "evaluate/{0}", "embed_texts": "texts/{0}/encoder", "measure_texts": "texts/{0}/{1}"},
    **{"measure_influences": "gradients/{0}/influences/seed-{1}", "cluster_texts": "clusters/{0}/{1}-{2}/seed-{3}"},
    **{"search_clusters": "searches/{0}/{1}/{2}/seed-{3}", "measure_validity": "validity/{0}/{1}-to-{2}/seed-{3}"},
    **{"finetune_targets": "train/{0}", "evaluate_texts": "evaluate/{0}", "collect_records": "collect/{0}", "make_table": "tables/{0}/{1}"},
    **{"compare_subsets": "overlaps/{0}", "map_states": "states/{0}", "draw_figure": "figures/{0}/{1}", "judge_claims": "claims/{0}"},
    **{"build_page": "page", "collect_subsets": "browser/{0}", "build_front_page": "front_page"},
}
_CAUSES = {
    "ok": "an input will be made again",
    "updated input files": "an input was updated",
    "set of input files changed": "other inputs than before",
    "rule implementation changed": "the rule changed",
}


class Reason(NamedTuple):
    """Why jobs of a rule would run."""

    rule: str
    cause: str


def specify_job(plan: Plan, job: Job) -> dict:
    """Return the specification of a job, which is all that may influence it."""
    return getattr(plan, f"{_SPECIFICATIONS[job.rule]}_spec")(*job.key)


def log_path(plan: Plan, job: Job) -> Path:
    """Return the file that a job's messages go to."""
    return Path(f"{plan.folder}/logs/{_LOGS[job.rule].format(*job.key)}.log")


def find_reasons(plan: Plan, summary: Iterable[str]) -> tuple[Counter[Reason], Counter[Reason]]:
    """Group the jobs that would run by rule and cause.

    Parameters
    ----------
    plan : of the scale that was asked about
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
        runs[reason] += len(list_runs(plan, job)) if job.rule in TARGET_RULES else 0
    return counts, runs


def explain_status(plan: Plan, job: Job, status: str) -> str:
    """Return the cause that a person understands for a status of Snakemake's summary."""
    if status == "missing":
        log = log_path(plan, job)
        return "failed or was stopped before" if log.exists() else "not made yet"
    if status == "params changed":
        return compare_specs(read_spec(job), specify_job(plan, job))
    return _CAUSES.get(status, status)


def read_spec(job: Job) -> dict | None:
    """Return the specification by which a job's files were made, from Snakemake's notes; None if they do not tell."""
    try:
        (text,) = read_note(job.outputs[0])["params"]
        return json.loads(ast.literal_eval(text))
    except (KeyError, ValueError, TypeError, SyntaxError):
        return None


def compare_specs(before: Mapping | None, now: Mapping) -> str:
    """Return ``"code changed"`` if fingerprints of code are all that differs, else which parts of a specification do."""
    if before is None:
        return "params changed"
    old, new = strip_code(before), strip_code(json.loads(json.dumps(now)))
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return f"params changed ({', '.join(changed)})" if changed else "code changed"


def strip_code(value: object) -> object:
    """Return a specification without any fingerprint of code."""
    if isinstance(value, Mapping):
        return {key: strip_code(inner) for key, inner in value.items() if key != "code"}
    return [strip_code(inner) for inner in value] if isinstance(value, list) else value

"""A sample of runs, made again from their data on, and compared with what was recorded: bit for bit, or within the spread between seeds."""

import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selectbench.costs.costing import Costing
from selectbench.errors import SelectbenchError, spell_count
from selectbench.evidence.verify import Check
from selectbench.planning.jobs import find_needs, list_jobs
from selectbench.planning.plan import Plan
from selectbench.planning.runs import Run
from selectbench.records.arithmetic import NATIVE
from selectbench.records.records import EVALUATE, merge_record
from selectbench.stages._subsets import find_subset

if TYPE_CHECKING:
    from selectbench.records.rows import Provenance, Row

CONFIDENCE = 0.999  # of the interval for one run on another machine
LEAST_FREEDOM = 4  # degrees of freedom of the spread: with fewer, the interval is wider than any difference
_BATCH_START_S = 5.0  # the training and the evaluation of a run each start a process
_MACHINE = ("arithmetic", "processor", "device", "python", "versions")  # of a record's provenance: what bits depend on


Group = tuple[str, str, str, str, str]  # data set, target, its own recipe, regime, keep fraction


class Sample(NamedTuple):
    """Runs to make again.

    Parameters
    ----------
    runs : their ids
    seconds : what they will take on one core, with all that they are made from
    """

    runs: list[str]
    seconds: float


def draw_sample(plan: Plan, rows: "Mapping[str, Row]", seconds: float, seed: int) -> Sample:
    """Draw runs of as many kinds as a budget of time allows: kind after kind, at random within each.

    Parameters
    ----------
    plan : of the scale
    rows : run id → its row
    seconds : the budget, on one core
    seed : of the draw
    """
    costing, draws = Costing(plan), random.Random(seed)
    needs, costs = find_needs(costing.jobs), costing.costs
    strata: dict[tuple[str, ...], list[str]] = {}
    for run_id in sorted(rows.keys() & plan.runs.keys()):
        strata.setdefault(find_stratum(plan, plan.runs[run_id]), []).append(run_id)
    waiting = [draws.sample(runs, len(runs)) for _, runs in sorted(strata.items())]
    draws.shuffle(waiting)
    sample: list[str] = []
    made, total = set[str](), 0.0
    while waiting:
        for runs in waiting:
            run_id = runs.pop()
            new = set(list_ancestors(plan, run_id, needs)) - made
            spent = _measure_run(rows[run_id]) + sum(costs[job].seconds or 0.0 for job in new)
            if total + spent <= seconds:
                sample, total = [*sample, run_id], total + spent
                made |= new
        waiting = [runs for runs in waiting if runs]
    return Sample(sample, total)


def find_stratum(plan: Plan, run: Run) -> tuple[str, ...]:
    """Return the kind of a run: data set, target, regime, and whether a score, an agent, a search, a sampler or other code chooses."""
    if plan.config.is_dynamic(run.method):
        chooser = "sampler"
    elif plan.config.is_given(run.method):
        chooser = "given"
    elif plan.config.is_search(run.method):
        chooser = "search"
    else:
        chooser = "agent" if plan.config.find_method(run.method).learned else "score"
    return run.dataset, run.target, run.regime, chooser


def list_ancestors(plan: Plan, run_id: str, needs: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the jobs, by their first outputs, that make the subset of a run; none for a sampler, whose data set is prepared already."""
    run = plan.runs[run_id]
    if not plan.has_subset(run):
        return
    waiting = [next(iter(find_subset(plan, run).job.list_outputs(plan).values()))]
    while waiting:
        job = waiting.pop()
        yield job
        waiting += needs[job]


def _measure_run(row: "Row") -> float:
    training, evaluation = row["training"], row["evaluation"]
    return _BATCH_START_S + (training["wall_s"] if training else 0.0) + ((evaluation["wall_s"] or 0.0) if evaluation else 0.0)


def remake_runs(plan: Plan, runs: Sequence[str], cores: int, folder: Path) -> "dict[str, Row]":
    """Train and evaluate runs again in a folder of their own, from the data on; return their rows.

    Parameters
    ----------
    plan : of the scale
    runs : ids
    cores : processors to use
    folder : for the results

    Raises
    ------
    SelectbenchError
        The workflow failed; the message holds the end of its log.
    """
    part = plan.restrict(runs)
    jobs = list_jobs(part)
    targets = [name for name, job in jobs.items() if job.stage.run_record == EVALUATE]
    targets = [str(folder / Path(target).relative_to(plan.layout.root)) for target in targets]
    config = [f"scale={plan.scale}", f"results={folder}", f"only={json.dumps(list(runs))}"]
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "all", "--config", *config, "--", *targets]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise SelectbenchError(f"the runs could not be made again: {lines[-1] if lines else 'snakemake failed'} (log: {folder})")
    return {run: merge_record(folder / plan.scale, run) for run in runs}


def check_remade(plan: Plan, rows: "Mapping[str, Row]", seconds: float, seed: int, cores: int) -> Check:
    """Check a sample of runs by making them again.

    Bits must be equal where machine, arithmetic and libraries are those of the record. Elsewhere, unless bits are equal anyway, results
    must be within the spread between seeds, which is the weaker check.

    Parameters
    ----------
    plan : of the scale
    rows : run id → its row
    seconds : what the sample may take in all, on this many cores
    seed : of the sample
    cores : processors to use
    """
    sample = draw_sample(plan, rows, seconds * cores, seed)
    kinds = len({find_stratum(plan, plan.runs[run]) for run in sample.runs})
    check = Check(f"{spell_count(len(sample.runs), 'run')} of {spell_count(kinds, 'kind')} made again")
    if not sample.runs:
        check.notes.append("no run fits into the time; allow more with --minutes")
        return check
    folder = Path(tempfile.mkdtemp(prefix="selectbench-verify-"))
    remade = remake_runs(plan, sample.runs, cores, folder)
    shutil.rmtree(folder)  # a failed workflow leaves it, with its logs
    weaker = 0
    for run_id, row in remade.items():
        recorded = rows[run_id]
        difference = find_difference(recorded, row)
        if difference is not None and not is_same_machine(recorded, row):
            weaker += 1
            difference = leave_spread(rows, recorded, row)
        check.count(None if difference is None else f"{run_id}: {difference}")
    check.notes.append(f"bits are equal for {len(remade) - weaker - len(check.problems)} of {len(remade)}")
    if weaker:
        check.notes.append(f"{weaker} were recorded on another machine and compared within the spread between seeds: the weaker check")
    return check


def find_difference(recorded: "Row", remade: "Row") -> str | None:
    """Return the first result in which two runs differ, with both values; None if all are equal, bit for bit."""
    for name, (old, new) in list_results(recorded, remade):
        if old != new:
            return f"{name} was {json.dumps(old)} and is {json.dumps(new)}"
    return None


def list_results(recorded: "Row", remade: "Row") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the results of two runs side by side: all that does not depend on the time they took or on who ran them."""
    for name in ("status", "num_pool", "num_kept"):
        yield name, (recorded.get(name), remade.get(name))
    reasons = [row["failure"] and row["failure"]["reason"] for row in (recorded, remade)]
    yield "failure.reason", (reasons[0], reasons[1])
    for part, names in {
        "selection": ("subset_sha256", "class_counts", "trajectory"),
        "training": ("steps", "sample_visits", "final_loss"),
    }.items():
        for name in names:
            old, new = ((row.get(part) or {}).get(name) for row in (recorded, remade))  # type: ignore[attr-defined]  # a dictionary
            yield f"{part}.{name}", (old, new)
    yield "test", (recorded["test"], remade["test"])
    if None not in (recorded["sha256"], remade["sha256"]):
        yield "sha256", (recorded["sha256"], remade["sha256"])


def is_same_machine(first: "Row", second: "Row") -> bool:
    """Tell whether two runs were made with the same arithmetic, kind of processor, device and libraries."""
    machines = [_describe_machine(row["provenance"]) for row in (first, second)]
    return machines[0] == machines[1]


def _describe_machine(provenance: "Provenance") -> list[Any]:
    found: Mapping[str, Any] = provenance
    return [found.get(name, NATIVE if name == "arithmetic" else None) for name in _MACHINE]


def leave_spread(rows: "Mapping[str, Row]", recorded: "Row", remade: "Row") -> str | None:
    """Return how far a remade run leaves the spread between seeds of runs like it; None if it does not.

    The spread is the standard deviation between seeds of one method, pooled over the methods of the same data set, target, regime and keep
    fraction. Two runs of one distribution differ by less than t √2 times this in 99.9 % of cases.

    Parameters
    ----------
    rows : all recorded rows
    recorded, remade : the two runs
    """
    alike = [row for row in rows.values() if find_group(row) == find_group(recorded)]
    if recorded["status"] != remade["status"]:
        varies = len({row["status"] for row in alike if row["run"]["method"] == recorded["run"]["method"]}) > 1
        return None if varies else f"status was {recorded['status']} and is {remade['status']}"
    if recorded["status"] != "ok" or recorded["test"] is None or remade["test"] is None:
        return None
    spread, freedom = pool_spread(alike)
    for test_set, old in recorded["test"].items():
        new = remade["test"][test_set]
        if old["top1"] is None or new["top1"] is None or "clean_top1" in old:
            continue
        if freedom < LEAST_FREEDOM:
            return f"test.{test_set}.top1 was {old['top1']:.2f} and is {new['top1']:.2f}, with too few seeds to compare with"
        limit = float(quantile(freedom)) * math.sqrt(2) * spread
        if abs(new["top1"] - old["top1"]) > limit:
            return f"test.{test_set}.top1 was {old['top1']:.2f} and is {new['top1']:.2f}: more than ±{limit:.2f} apart"
    return None


def find_group(row: "Row") -> Group:
    """Return what the runs have in common whose spread is pooled, whatever their method and seed."""
    run = row["run"]
    return run["dataset"], run["target"], run["own_recipe"], run["regime"], run["keep"]


def read_top1(row: "Row") -> float | None:
    """Return the accuracy of a run on the test set of its own distribution, in percent; None for a failed run."""
    outcomes: Mapping[str, Mapping[str, object]] = row["test"] or {}
    own = [outcome["top1"] for outcome in outcomes.values() if "clean_top1" not in outcome]
    return float(own[0]) if own and isinstance(own[0], float | int) else None


def pool_spread(rows: "Iterable[Row]") -> tuple[float, int]:
    """Return the standard deviation between the seeds of a method, pooled over methods, in points, and its degrees of freedom."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        top1 = read_top1(row)
        if top1 is not None:
            groups.setdefault((row["run"]["method"], row["run"]["proxy"]), []).append(top1)
    freedom = sum(len(values) - 1 for values in groups.values())
    squares = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in groups.values())
    return (math.sqrt(squares / freedom), freedom) if freedom else (0.0, 0)


def quantile(freedom: int) -> float:
    """Return the two-sided quantile of Student's t distribution for the confidence of one run."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom))

"""Estimates for people to read before anything starts, and how accurate the last estimate was."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from selectbench.costs.costing import Costing
from selectbench.costs.disk import measure_bytes
from selectbench.costs.recorded import is_inside, know_all, read_times
from selectbench.costs.simulation import Schedule
from selectbench.errors import RecordError, spell_count
from selectbench.planning.plan import Plan
from selectbench.records.files import read_json, write_json
from selectbench.records.records import SCHEMA, check_layout

HOUR = 3600.0
_ENDS = ((90.0, 1.0, "s"), (90 * 60.0, 60.0, "min"), (48 * HOUR, HOUR, "h"), (float("inf"), 24 * HOUR, "days"))


class Total(NamedTuple):
    """What a set of jobs costs.

    Parameters
    ----------
    runs, jobs : how many
    hours : of GPUs, or of CPUs if the scale requests no GPU
    is_whole : whether the cost of every such job is known
    disk : bytes
    unsized : jobs whose bytes are not known
    wall_s : length of the schedule in seconds
    """

    runs: int
    jobs: int
    hours: float
    is_whole: bool
    disk: int
    unsized: int
    wall_s: float


def sum_costs(costing: Costing, gpus: int, cores: int | None) -> Total:
    """Return what the jobs of a plan cost on this many GPUs and cores."""
    schedule, sizes = costing.schedule(gpus, cores), size_jobs(costing).values()
    return Total(
        runs=len(costing.plan.runs),
        jobs=len(costing.jobs),
        hours=(schedule.gpu_seconds if costing.asks_gpu else schedule.core_seconds) / HOUR,
        is_whole=all(costing.costs[name].basis for name, job in costing.jobs.items() if job.stage.computes),
        disk=sum(size or 0 for size in sizes),
        unsized=sum(size is None for size in sizes),
        wall_s=schedule.makespan,
    )


def size_jobs(costing: Costing) -> dict[str, int | None]:
    """Return job → bytes of its files, measured on disk or estimated from shapes; None if neither is possible."""
    plan = costing.plan
    sizes = {name: measure_bytes(plan, job) for name, job in costing.jobs.items()}
    return {
        name: costing.jobs[name].stage.estimate_bytes(plan, costing.size_network) if size is None else size for name, size in sizes.items()
    }


def describe_costs(costing: Costing, parts: Mapping[str, Costing], gpus: int, cores: int | None) -> Iterator[str]:
    """Yield lines with runs, jobs, hours, disk and wall time for every paper and in total, and the basis of the numbers.

    Parameters
    ----------
    costing : of all papers
    parts : title → costs of one paper alone
    gpus, cores : of the schedules
    """
    unit = "GPU-hours" if costing.asks_gpu else "CPU-hours"
    rows = {**parts, "all papers": costing}
    width = max(map(len, rows))
    yield f"{'':<{width}}{'runs':>8}{'jobs':>8}{unit:>13}{'disk':>11}{'wall time':>14}"
    totals = {title: sum_costs(part, gpus, cores) for title, part in rows.items()}
    for title, total in totals.items():
        least = "" if total.is_whole else "≥ "
        hours, wall = (f"{least}{text}" if total.wall_s else "unknown" for text in (f"{total.hours:,.2f}", format_seconds(total.wall_s)))
        yield f"{title:<{width}}{total.runs:>8,}{total.jobs:>8,}{hours:>13}{format_bytes(total.disk):>11}{wall:>14}"
    yield "Each paper's line is its cost alone; jobs that papers share are counted once in the last line."
    yield f"Wall time: a schedule on {describe_machine(gpus, cores)}."
    yield from describe_basis(costing)
    if unsized := totals["all papers"].unsized:
        unknown = f"the files of {spell_count(unsized, 'job')} cannot be estimated"
        yield f"Disk: measured where files exist, otherwise estimated from shapes; {unknown}."
    yield from describe_limit(costing)


def describe_limit(costing: Costing) -> Iterator[str]:
    """Yield a warning if jobs are expected to take longer than the scale allows them."""
    limit_s = 60.0 * costing.plan.config.scale["resources"]["runtime"]
    longer = {name: cost.seconds for name, cost in costing.costs.items() if cost.seconds is not None and cost.seconds > limit_s}
    if longer:
        counts = format_counts(Counter(costing.jobs[name].rule for name in longer))
        name, seconds = max(longer.items(), key=lambda item: item[1])
        jobs, limit = spell_count(len(longer), "job"), format_seconds(limit_s)
        yield f"Warning: on a cluster, {jobs} would be stopped after {limit} (resources.runtime): {counts}."
        yield f"The longest, {name}, takes {format_seconds(seconds)}. Raise runtime, or set processes in its recipe."


def describe_machine(gpus: int, cores: int | None) -> str:
    """Return ``"2 cores"`` or ``"8 GPUs and as many cores as jobs request"``."""
    parts = [spell_count(gpus, "GPU")] if gpus else []
    parts.append("as many cores as jobs request" if cores is None else spell_count(cores, "core"))
    return " and ".join(parts)


def describe_basis(costing: Costing) -> Iterator[str]:
    """Yield lines: the basis of the seconds, with the number of jobs, and which jobs have no recorded costs."""
    bases = Counter(cost.basis for cost in costing.costs.values() if cost.basis)
    if bases:
        described = "; ".join(f"{basis} ({spell_count(count, 'job')})" for basis, count in bases.most_common())
        yield f"Based on: {described}. Device: {costing.device}."
        start_s = costing.observed.start_s.values()
        if start_s:
            least, most = min(start_s), max(start_s)
            yield f"Jobs take {least:.1f} to {most:.1f} s in addition to their recorded work (medians per rule, measured here)."
        else:
            yield "The time to start processes is not included, because none was measured here."
    unknown = Counter(costing.jobs[name].rule for name, cost in costing.costs.items() if cost.basis is None)
    if unknown:
        yield f"No recorded costs, counted as zero: {format_counts(unknown)}."


def format_counts(counts: Counter[str]) -> str:
    """Return ``"3 make_table, 1 build_page"``."""
    return ", ".join(f"{count:,} {rule}" for rule, count in sorted(counts.items()))


def describe_schedules(costing: Costing, machines: Sequence[tuple[int, int | None]]) -> Iterator[str]:
    """Yield lines with makespan, utilisation and lower bounds of all jobs on several machines, given as (GPUs, cores)."""
    runs, jobs = spell_count(len(costing.plan.runs), "run"), spell_count(len(costing.jobs), "job")
    yield f"{costing.plan.config.scale['title']}: {runs}, {jobs}"
    yield f"{'GPUs':>6}{'cores':>8}{'makespan':>12}{'utilisation':>13}{'critical path':>15}{'work ÷ devices':>16}"
    for gpus, cores in machines:
        schedule = costing.schedule(gpus, cores)
        share, bound = measure_use(schedule, gpus, cores)
        row = f"{gpus:>6}{'any' if cores is None else cores:>8}{format_seconds(schedule.makespan):>12}{100 * share:>11.1f} %"
        yield f"{row}{format_seconds(schedule.critical_path):>15}{format_seconds(bound):>16}"
    yield from describe_basis(costing)


def measure_use(schedule: Schedule, gpus: int, cores: int | None) -> tuple[float, float]:
    """Return the share of the makespan in which GPUs (cores, if there are none) work, and the seconds if they always worked."""
    work, devices = (schedule.gpu_seconds, gpus) if gpus else (schedule.core_seconds, cores)
    if not devices or not schedule.makespan:
        return 0.0, 0.0
    return work / (devices * schedule.makespan), work / devices


def format_seconds(seconds: float) -> str:
    """Return ``"38 s"``, ``"12 min"``, ``"5.5 h"`` or ``"20.1 days"``."""
    unit_s, unit = next((unit_s, unit) for end, unit_s, unit in _ENDS if seconds < end)
    value = seconds / unit_s
    return f"{value:,.1f} {unit}" if value < 10 and unit != "s" else f"{value:,.0f} {unit}"


def format_bytes(size: int) -> str:
    """Return ``"12 kB"``, ``"3.4 MB"``, …, by powers of 1000."""
    value, units = float(size), iter(("B", "kB", "MB", "GB"))
    for unit in units:
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def write_estimate(plan: Plan) -> None:
    """Write the estimate for every job to ``results/<scale>/estimate.json``; called once, when the workflow starts."""
    costing = Costing(plan)
    seconds = {name: round(cost.seconds, 3) for name, cost in costing.costs.items() if cost.seconds is not None}
    write_json(estimate_path(plan), {"schema": SCHEMA, "written": time.time(), "seconds": seconds})


def estimate_path(plan: Plan) -> Path:
    """Return the file of the last estimate."""
    return Path(plan.folder) / "estimate.json"


def describe_last_estimate(costing: Costing) -> str | None:
    """Return one line on the accuracy of the last estimate, over the jobs that did all their work since; None if there is none.

    Raises
    ------
    RecordError
        The estimate cannot be read, or was written by a newer version.
    """
    path = estimate_path(costing.plan)
    if not path.exists():
        return None
    estimate = read_json(path)
    check_layout(path, estimate.get("schema"))
    if not isinstance(estimate.get("seconds"), dict) or not isinstance(estimate.get("written"), float):
        raise RecordError(f"{path}: not an estimate; delete it")
    expected, took, jobs, unexpected = 0.0, 0.0, 0, 0
    for name in costing.jobs:
        seconds = measure_job(costing, name, estimate["written"])
        if seconds is None:
            continue
        if name not in estimate["seconds"]:
            unexpected += 1
            continue
        expected, took, jobs = expected + estimate["seconds"][name], took + seconds, jobs + 1
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(estimate["written"]))
    others = f"; {unexpected:,} more had no estimate" if unexpected else ""
    if not jobs:
        return f"Last time ({started}): no job with an estimate has finished since{others}"
    off = f": {100 * abs(expected / took - 1):.0f} % too {'low' if expected < took else 'high'}" if took else ""
    summary = f"{spell_count(jobs, 'job')}, estimated at {format_seconds(expected)} of work, took {format_seconds(took)}{off}"
    return f"Last time ({started}): {summary}{others}"


def measure_job(costing: Costing, name: str, since: float) -> float | None:
    """Return the seconds of a job that did all its work since a moment; None if it did not, or if no record tells."""
    times = read_times(name)
    if times is None or times.start < since:
        return None
    works = costing.observed.list_works(costing.jobs[name])
    recorded = know_all(works)
    if recorded is None:
        return None if times.queued or len(works) > 1 else times.end - times.start
    if not is_inside(times, recorded):
        return None
    return sum(work.seconds for work in recorded) if times.queued else times.end - times.start

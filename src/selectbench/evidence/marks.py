"""Marks of imported files: what they stand for, so that they are made here once the configuration or the code asks for something else.

Snakemake knows what a file was made from only if it has made the file itself; an imported one would count as up to date for ever.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selectbench.planning.jobs import Job
from selectbench.planning.plan import Plan
from selectbench.planning.stage import Stage
from selectbench.records.files import DIGEST, digest_file, digest_value, read_sealed, write_sealed

_PLACES = ("folder", "state")  # parts of specifications that say where files lie


def find_marks(plan: Plan) -> Path:
    """Return the path of the marks."""
    return Path(plan.folder) / "batches" / "imported.json"


def read_marks(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return record of a job → what was asked of the job when it was imported, and the SHA-256 of its files."""
    path = find_marks(plan)
    return {name: mark for name, mark in read_sealed(path).items() if name != DIGEST} if path.exists() else {}


def add_marks(plan: Plan, jobs: Iterable[Stage]) -> None:
    """Mark the files of jobs as imported, for what is asked of these jobs now."""
    known: dict[Stage, str] = {}
    before = read_marks(plan)
    marks = dict(before)
    for job in jobs:
        files = [Path(output) for output in job.list_outputs(plan).values()]
        digests = {str(file): digest_file(file) for file in files if file.exists()}
        marks[job.find_output(plan, job.record)] = {"asked": digest_asked(plan, job, known), "sha256": digests}
    if marks != before:
        write_sealed(find_marks(plan), marks)


def refresh_times(plan: Plan, jobs: Iterable[Stage]) -> None:
    """Set the time of imported outputs to now if something that they are made from is newer, as data are that were prepared since.

    Parameters
    ----------
    plan : of the scale
    jobs : those among which imported ones are looked for
    """
    known: dict[Stage, int] = {}
    marks = read_marks(plan)
    for job in jobs:
        for file, digest in marks.get(job.find_output(plan, job.record), {}).get("sha256", {}).items():
            path = Path(file)
            if path.exists() and path.stat().st_mtime_ns < find_newest(plan, job, known) and digest_file(path) == digest:
                path.touch()


def find_newest(plan: Plan, job: Stage, known: dict[Stage, int]) -> int:
    """Return the time of the newest file, in nanoseconds, among those that a job reads from, directly or not; 0 if none is there.

    Parameters
    ----------
    plan : of the scale
    job : the job
    known : job → time, which is added to; times of files that are written later must not be asked for before
    """
    if job not in known:
        read = {output for outputs in job.list_inputs(plan).values() for output in outputs}
        files = [Path(output.job.find_output(plan, output.name)) for output in read]
        times = [path.stat().st_mtime_ns for path in files if path.exists()]
        known[job] = max([0, *times, *(find_newest(plan, output.job, known) for output in read)])
    return known[job]


def drop_outdated(plan: Plan, jobs: Mapping[str, Job]) -> list[str]:
    """Delete imported files of jobs of which something else is asked now, unless they were made again since; records of runs stay.

    Parameters
    ----------
    plan : of the scale
    jobs : first output → job

    Returns
    -------
    The records of these jobs.
    """
    marks = read_marks(plan)
    if not marks:
        return []
    known: dict[Stage, str] = {}
    stages = {job.stage.find_output(plan, job.stage.record): job.stage for job in jobs.values()}
    outdated = [name for name, mark in marks.items() if name in stages and digest_asked(plan, stages[name], known) != mark["asked"]]
    for name in outdated:
        for file, digest in marks.pop(name)["sha256"].items():
            if Path(file).exists() and digest_file(Path(file)) == digest:
                Path(file).unlink()
    if outdated:
        write_sealed(find_marks(plan), marks)
    return outdated


def digest_asked(plan: Plan, job: Stage, known: dict[Stage, str]) -> str:
    """Return the digest of a job's specification and of those of all jobs from which it reads, directly or not.

    Parameters
    ----------
    plan : of the scale
    job : the job
    known : job → digest, which is added to
    """
    if job not in known:
        read = {output.job for outputs in job.list_inputs(plan).values() for output in outputs}
        spec = {name: value for name, value in job.specify(plan).items() if name not in _PLACES}
        known[job] = digest_value([job.name, job.wildcards, spec, sorted(digest_asked(plan, other, known) for other in read)])
    return known[job]

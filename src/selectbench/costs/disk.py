"""How much disk space the files of a job take."""

from pathlib import Path

from selectbench.planning.jobs import Job
from selectbench.planning.plan import Plan


def measure_bytes(plan: Plan, job: Job) -> int | None:
    """Return the bytes of a job's files; None if it has not made them (see ``Stage.estimate_bytes`` for what they will take)."""
    if not all(Path(name).exists() for name in job.outputs):
        return None
    return sum(path.stat().st_size for path in job.stage.list_files(plan))

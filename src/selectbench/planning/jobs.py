"""The jobs of a plan: every job that is asked for by name, and every job whose files these read."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from selectbench.planning.plan import Plan
from selectbench.planning.runs import Run
from selectbench.planning.stage import Stage
from selectbench.registry import list_ids, load_class

_STAGES = "selectbench.stages"
_FOLDER = Path(__file__).parents[1] / "stages"


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Parameters
    ----------
    stage : its declaration, with the wildcards of its rule
    outputs : its files; the first names the job
    inputs : files of other jobs that it reads
    gpus : GPUs that it asks for
    threads : processors that it asks for
    runs : that it trains or evaluates
    """

    stage: Stage
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    gpus: int
    threads: int
    runs: tuple[Run, ...]

    @property
    def rule(self) -> str:
        """The rule, which is the name of the stage too."""
        return self.stage.name


@cache
def load_stages() -> dict[str, type[Stage]]:
    """Return name → declaration of every stage, one for each module of ``selectbench.stages``."""
    names = list_ids(str(_FOLDER / "__init__.py"))
    return {name: load_class(_STAGES, Stage, name, names, "stage") for name in names}  # type: ignore[type-abstract]  # subclasses are concrete


def list_jobs(plan: Plan) -> dict[str, Job]:
    """Return first output → job, for every job of a plan; a job comes after those whose files it reads."""
    jobs: dict[Stage, Job] = {}
    for stage in load_stages().values():
        for job in stage.list_wanted(plan):
            _add_job(plan, job, jobs)
    return {job.outputs[0]: job for job in jobs.values()}


def _add_job(plan: Plan, stage: Stage, jobs: dict[Stage, Job]) -> None:
    """Add a job after all those that it reads from."""
    if stage in jobs:
        return
    read = [output for outputs in stage.list_inputs(plan).values() for output in outputs]
    for output in read:
        _add_job(plan, output.job, jobs)
    jobs[stage] = Job(
        stage=stage,
        outputs=tuple(stage.list_outputs(plan).values()),
        inputs=tuple(dict.fromkeys(output.job.find_output(plan, output.name) for output in read)),
        gpus=stage.count_gpus(plan),
        threads=stage.count_threads(plan),
        runs=tuple(stage.list_runs(plan)),
    )


def find_needs(jobs: dict[str, Job]) -> dict[str, list[str]]:
    """Return job → the jobs whose files it reads, all by their first outputs."""
    maker = {output: name for name, job in jobs.items() for output in job.outputs}
    return {name: list(dict.fromkeys(maker[file] for file in job.inputs)) for name, job in jobs.items()}


def list_wanted_files(plan: Plan) -> Iterator[str]:
    """Yield every file that is requested by name.

    Snakemake does not recreate a deleted intermediate file as long as the files derived from it exist.
    """
    for stage in load_stages().values():
        for job in stage.list_wanted(plan):
            yield from job.list_outputs(plan).values()

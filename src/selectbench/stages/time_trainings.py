"""Time the trainings of a table of costs: each several times, in turn with all others, so that a slow minute slows all of them."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from selectbench.costs.visits import visit_run
from selectbench.planning.stage import Inputs, Output, Stage, Visits, fingerprint_stage
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import TRAIN
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._sources import find_embeddings
from selectbench.stages._specs import TrainedRun, TrainingSpec, specify_training
from selectbench.stages._subsets import list_subsets
from selectbench.stages._target_stages import describe_trained
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.planning.runs import Run
    from selectbench.stages._targets import Family
    from selectbench.training.choices import Choice
    from selectbench.training.pools import SamplePool


class TimedRun(TrainedRun):
    """A run that is timed.

    Parameters
    ----------
    regime : ``equal_epochs`` or ``equal_steps``
    """

    regime: str


class Spec(TrainingSpec):
    """Which trainings are timed, and how often.

    Parameters
    ----------
    runs : one seed of every cell of a panel
    repeats : how often each is trained
    folder : results folder of the scale
    code : fingerprint of the code
    """

    runs: list[TimedRun]
    repeats: int
    folder: str
    code: str


class Seconds(NamedTuple):
    """The time of one training.

    Parameters
    ----------
    training, selection : wall time of the training itself, and of a sampler that selects during it
    processor : CPU time of both
    """

    training: float
    selection: float
    processor: float


@dataclass(frozen=True)
class TimeTrainings(Stage):
    """The trainings of one panel of a table of costs."""

    paper: str
    table: str
    dataset: str
    target: str

    name = "time_trainings"
    reads = ("data", "subsets", "embeddings")
    writes = {"record": "{results}/times/{paper}/{table}/{dataset}-on-{target}.json"}
    log = "{results}/logs/times/{paper}/{table}/{dataset}-on-{target}.log"
    computes = threaded = True

    @classmethod
    def list_of(cls, plan: "Plan", paper: str, table: str) -> Iterator[Self]:
        """Yield the jobs of a table: one per panel, if it is a table of costs and the scale repeats trainings."""
        if "repeats" in plan.config.scale and plan.tables[paper, table]["kind"] == "cost_shares":
            runs = (plan.runs[run] for run in sorted(plan.table_runs(paper, table)))
            for dataset, target in dict.fromkeys((run.dataset, run.target) for run in runs):
                yield cls(paper, table, dataset, target)

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``target`` to ids of models."""
        return {"target": "[a-z0-9_]+"}

    def list_timed(self, plan: "Plan") -> "list[Run]":
        """List the runs of the panel with its first seed."""
        shown = (plan.runs[run] for run in sorted(plan.table_runs(self.paper, self.table)))
        runs = [run for run in shown if (run.dataset, run.target) == (self.dataset, self.target)]
        first = min(run.seed for run in runs)
        return [run for run in runs if run.seed == first]

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set, the subsets, and the embeddings that heads read."""
        return {
            "data": [Output(PrepareData(self.dataset), "manifest")],
            "subsets": list_subsets(plan, self.list_timed(plan)),
            "embeddings": find_embeddings(plan, self.dataset, self.target) if plan.config.is_text(self.dataset) else [],
        }

    def specify(self, plan: "Plan") -> Spec:
        """Return how the targets are trained, what each is trained on, and how often."""
        runs = self.list_timed(plan)
        return {
            **specify_training(plan, "target", self.dataset, self.target, plan.run_recipe(runs[0]), gpus=self.count_gpus(plan)),
            "runs": [{**describe_trained(plan, run), "regime": run.regime} for run in runs],
            "repeats": plan.config.scale["repeats"],
            "folder": plan.folder,
            "code": fingerprint_stage(self.name),
        }

    def count_visits(self, plan: "Plan") -> Visits:
        """Count the visits of all repeats, and of the training that precedes them."""
        visits = [visit_run(plan, run, TRAIN) for run in self.list_timed(plan)]
        repeated = plan.config.scale["repeats"] * sum(found.visits for found in visits)
        return Visits(visits[0].network, visits[0].visits + repeated)

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of all trainings."""
        return float(record["wall_s"])


def main() -> None:
    """Time the trainings and write the record."""
    from selectbench.errors import SelectionFailedError
    from selectbench.stages._targets import describe_subsets, make_choice
    from selectbench.training.devices import describe_device

    arguments = parse_arguments(__doc__, TimeTrainings.reads, TimeTrainings.writes)
    spec: Spec = arguments.spec
    (data,) = arguments.data
    started, clock = datetime.now(UTC), time.perf_counter()
    family = open_texts(spec, data, next(iter(arguments.embeddings), None)) if "task" in spec else open_images(spec, data)
    described = describe_subsets(spec["runs"])
    pool = family.open_split("pool")
    failed: dict[str, str] = {}
    for run in spec["runs"]:
        try:
            make_choice(run, described, len(pool), spec["recipe"]["epochs"])
        except SelectionFailedError as error:
            failed[run["id"]] = str(error)

    def train(run: TimedRun) -> Seconds:
        return time_training(family, spec, run, make_choice(run, described, len(pool), spec["recipe"]["epochs"]), pool)

    runs, load = [run for run in spec["runs"] if run["id"] not in failed], [os.getloadavg()[0]]
    if runs:
        train(runs[0])  # libraries prepare themselves when they first compute
    found: dict[str, list[Seconds]] = {run["id"]: [] for run in runs}
    for run in take_turns(runs, spec["repeats"]):
        found[run["id"]].append(train(run))
        print(f"[time] {run['id']}: {found[run['id']][-1].training:.2f} s", flush=True)
    load.append(os.getloadavg()[0])
    write_made(
        arguments,
        {
            "status": "ok",
            "dataset": spec["dataset"],
            "repeats": spec["repeats"],
            "load": load,
            "times": {name: [repeat._asdict() for repeat in repeats] for name, repeats in found.items()},
            "failed": failed,
            "wall_s": time.perf_counter() - clock,
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(family.device), started),
        },
    )


def open_texts(spec: Spec, data: Path, embeddings: Path | None) -> "Family":
    """Return the family of language models."""
    from selectbench.stages._texts import make_family

    return make_family(spec, data, embeddings)


def open_images(spec: Spec, data: Path) -> "Family":
    """Return the family of image models."""
    from selectbench.stages._images import make_family

    return make_family(spec, data)


def take_turns(runs: Sequence[TimedRun], repeats: int) -> Iterator[TimedRun]:
    """Yield every run ``repeats`` times, round by round; every second round goes backwards, so that a steady drift cancels out."""
    for repeat in range(repeats):
        yield from runs if repeat % 2 == 0 else reversed(runs)


def time_training(family: "Family", spec: Spec, run: TimedRun, choice: "Choice", pool: "SamplePool") -> Seconds:
    """Train one target as its run does, without keeping anything, and return the time it took.

    Parameters
    ----------
    family, spec, run : what is trained
    choice : the samples it visits
    pool : the pool
    """
    from selectbench.training.engine import Checkpoint, train_model
    from selectbench.training.recipes import Recipe

    recipe, stream = Recipe.from_config(spec["recipe"]), (spec["role"], spec["dataset"], run["seed"])
    model, _ = family.build(stream)
    family.warm_start(model)
    never = Checkpoint(Path(spec["folder"]) / "state" / "times" / f"{run['id']}.pt", key="", every_s=float("inf"))
    processor = time.process_time()
    progress = train_model(
        model,
        pool,
        choice.visit(pool, recipe, run["regime"]),
        recipe,
        stream=stream,
        batch_loss=choice.weigh_losses(pool, recipe, stream),
        on_epoch_end=lambda epoch, model, progress: None,
        checkpoint=never,
    )
    return Seconds(progress.wall_s - choice.overhead_s, choice.overhead_s, time.process_time() - processor)


if __name__ == "__main__":
    run_stage(main)

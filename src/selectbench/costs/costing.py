"""What a plan costs before it runs: recorded costs where there are any, and a declared extrapolation where there are not."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selectbench.costs.recorded import Recorded, Times, Work, is_inside, know_all, measure_run, read_times
from selectbench.costs.simulation import Schedule, Task, simulate
from selectbench.costs.sizes import PUBLISHED_MODEL, ImageNetwork, describe_images, identify_network, size_model
from selectbench.costs.visits import visit_run
from selectbench.errors import SelectbenchError
from selectbench.planning.jobs import Job, find_needs, list_jobs
from selectbench.planning.plan import Plan
from selectbench.planning.stage import Network
from selectbench.records.records import COLLECTION, TRAIN, read_records

if TYPE_CHECKING:
    from selectbench.data.entries import Entry
    from selectbench.models.counting import ModelSize
    from selectbench.records.rows import Row

CPU = "cpu"

# Where no GPU was recorded: what NVIDIA publishes of its own ResNet-50 training (DeepLearningExamples,
# PyTorch/Classification/ConvNets/README.md): 9,488 images per second on eight A100 of 40 GB in mixed precision.
PUBLISHED_DEVICE = "one NVIDIA A100, at NVIDIA's published 1,186 ResNet-50 images per second (not recorded here)"
PUBLISHED_IMAGES_PER_S = 9488.39 / 8

RECORDED = "recorded work"
SNAKEMAKE = "Snakemake's times of them"
SAME_MODEL = "visits at the recorded pace of the same model"
MULTIPLY_ADDS = "visits × multiply-adds ÷ the pace of the device"
KIND = "the mean of recorded jobs of their kind"


class Cost(NamedTuple):
    """Seconds that a job takes, and what this number is based on; both None if nothing is known."""

    seconds: float | None
    basis: str | None


NO_COST = Cost(None, None)


@dataclass(frozen=True)
class Pace:
    """How fast a device trained in recorded runs.

    Parameters
    ----------
    device : its name
    seconds_per_visit : identity of a network → seconds per sample for a forward and a backward pass, of one process
    """

    device: str
    seconds_per_visit: Mapping[str, float] = field(default_factory=dict)


def measure_pace(rows: "Iterable[Row]", datasets: "Mapping[str, Entry]", asks_gpu: bool) -> Pace | None:
    """Return the pace of the device with the most recorded work, among runs on GPUs or on CPUs; None if there are none.

    Parameters
    ----------
    rows : collected records of any scale
    datasets : entries of the configuration; runs on other data sets are ignored
    asks_gpu : whether to use runs on GPUs
    """
    work: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        device, training, dataset = row["provenance"]["device"], row["training"], row["run"]["dataset"]
        model, recipe = row["model"], row["recipe"]
        if training is None or model is None or recipe is None or dataset not in datasets:
            continue
        if (device != CPU) != asks_gpu or not training["sample_visits"]:
            continue
        inputs = datasets[dataset].get("input_shape", dataset)
        total = work.setdefault(device, {}).setdefault(identify_network(model, recipe.get("stem", ""), inputs), [0.0, 0.0])
        total[0] += measure_run(row, TRAIN).seconds * recipe.get("processes", 1)
        total[1] += training["sample_visits"]
    if not work:
        return None
    device = max(work, key=lambda name: sum(seconds for seconds, _ in work[name].values()))
    return Pace(device, {network: seconds / visits for network, (seconds, visits) in work[device].items()})


class Observed:
    """Costs recorded at a plan's scale, and paces of devices recorded at any scale.

    Parameters
    ----------
    plan : of all papers, as the workflow ran them
    jobs : of the plan
    """

    def __init__(self, plan: Plan, jobs: Mapping[str, Job]) -> None:
        self.plan = plan
        self.jobs = jobs
        self.recorded = Recorded(plan)

    def list_works(self, job: Job) -> list[Work | None]:
        """Return the recorded work of a job, one entry per run if it trains or evaluates targets; None for work that was not recorded."""
        stage = job.stage.run_record
        return [self.recorded.find_job(job)] if stage is None else [self.recorded.find_run(run, stage) for run in job.runs]

    @cached_property
    def start_s(self) -> dict[str, float]:
        """Rule → median seconds that its jobs take in addition to their recorded work, mostly the start of a process."""
        gaps: dict[str, list[float]] = {}
        for name, job in self.jobs.items():
            times = read_own_times(name)
            works = know_all(self.list_works(job)) if times else None
            if times and works is not None and is_inside(times, works):
                gaps.setdefault(job.rule, []).append(times.end - times.start - sum(work.seconds for work in works))
        return {rule: max(0.0, statistics.median(seconds)) for rule, seconds in gaps.items()}

    @cached_property
    def pace(self) -> Pace | None:
        """The pace of the kind of device that the scale requests, from the collected records of all scales."""
        collections = sorted(Path(self.plan.config.main["results"]).glob(f"*/*/{COLLECTION}"))
        rows = {(path.parts[-3], run): row for path in collections for run, row in read_records(path).items()}
        return measure_pace(rows.values(), self.plan.config.datasets, asks_for_gpu(self.plan))


def asks_for_gpu(plan: Plan) -> bool:
    """Tell whether a plan's scale requests GPUs."""
    return plan.config.scale["resources"]["gpu"] > 0


def read_own_times(output: str) -> Times | None:
    """Return Snakemake's times of a job that did not wait in a cluster's queue; None if there are none."""
    times = read_times(output)
    return None if times is None or times.queued else times


class Costing:
    """The costs of a plan's jobs.

    Parameters
    ----------
    plan : whose jobs are costed
    observed : the costs to start from, if the plan is part of a larger one; by default those recorded for the plan
    """

    def __init__(self, plan: Plan, observed: Observed | None = None) -> None:
        self.plan = plan
        self.jobs = list_jobs(plan)
        self.observed = observed or Observed(plan, self.jobs)
        self.asks_gpu = asks_for_gpu(plan)

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """First output → cost, for every job."""
        costs = {name: self._find_cost(job) for name, job in self.jobs.items()}
        known: dict[str, list[float]] = {}
        for name, cost in costs.items():
            if cost.seconds is not None and cost.basis in (RECORDED, SNAKEMAKE):
                known.setdefault(self.jobs[name].rule, []).append(cost.seconds)
        means = {rule: Cost(statistics.fmean(seconds), KIND) for rule, seconds in known.items()}
        return {name: cost if cost.basis else means.get(self.jobs[name].rule, NO_COST) for name, cost in costs.items()}

    @property
    def device(self) -> str:
        """The device that estimates from paces refer to."""
        pace = self.observed.pace
        return pace.device if pace else PUBLISHED_DEVICE if self.asks_gpu else CPU

    def _find_cost(self, job: Job) -> Cost:
        works, start_s = self.observed.list_works(job), self.observed.start_s.get(job.rule, 0.0)
        recorded = know_all(works)
        if recorded is not None:
            return Cost(start_s + sum(work.seconds for work in recorded), RECORDED)
        stage = job.stage.run_record
        times = None if stage else read_own_times(job.outputs[0])
        if times is not None:
            return Cost(times.end - times.start, SNAKEMAKE)
        counted = job.stage.count_visits(self.plan)
        if counted is None:
            return NO_COST
        network, visits = counted
        if stage:
            missing = [run for run, work in zip(job.runs, works, strict=True) if work is None]
            visits = sum(visit_run(self.plan, run, stage).visits for run in missing)
        seconds_per_visit, basis = self.find_pace(network)
        if seconds_per_visit is None:
            return NO_COST
        training_s = visits * seconds_per_visit / job.stage.count_processes(self.plan)  # processes are taken not to wait for each other
        return Cost(start_s + sum(work.seconds for work in works if work) + training_s, basis)

    def find_pace(self, network: Network) -> tuple[float | None, str | None]:
        """Return the seconds per sample visit of a network on the kind of device that the scale requests, and the basis of this number."""
        config = self.plan.config
        dataset = config.datasets[network.dataset]
        inputs = dataset.get("input_shape", network.dataset)
        identity = identify_network(config.models[network.model], network.stem, inputs)
        pace = self.observed.pace
        if pace and identity in pace.seconds_per_visit:
            return pace.seconds_per_visit[identity], SAME_MODEL
        if not self.asks_gpu or config.is_text(network.dataset):
            return None, None
        return self.size_network(network).multiply_adds / self.multiply_adds_per_s, MULTIPLY_ADDS

    def size_network(self, network: Network) -> "ModelSize":
        """Return the multiply-adds, parameters and width of an image network."""
        return size_model(describe_images(self.plan.config, network))

    @cached_property
    def multiply_adds_per_s(self) -> float:
        """Multiply-adds of forward passes that the device computes per second of training: recorded if possible, otherwise published."""
        pace, paces = self.observed.pace, []
        for identity, seconds in (pace.seconds_per_visit if pace else {}).items():
            entry, stem, inputs = json.loads(identity)
            if entry["library"] != "transformers":
                paces.append(size_model(ImageNetwork(entry, stem, tuple(inputs), 10)).multiply_adds / seconds)
        return statistics.median(paces) if paces else PUBLISHED_IMAGES_PER_S * size_model(PUBLISHED_MODEL).multiply_adds

    def schedule(self, gpus: int, cores: int | None) -> Schedule:
        """Schedule all jobs; a job without a cost takes no time, and a job that requests more cores than there are gets all of them.

        Raises
        ------
        SelectbenchError
            Jobs request GPUs but none are available.
        """
        if self.asks_gpu and not gpus:
            raise SelectbenchError(f"scale {self.plan.scale} needs GPUs, but none are available: set --gpus to 1 or more")
        needs = find_needs(self.jobs)
        tasks = {
            name: Task(
                seconds=self.costs[name].seconds or 0.0,
                needs=needs[name],
                gpus=job.gpus,
                cores=job.threads if cores is None else min(cores, job.threads),
            )
            for name, job in self.jobs.items()
        }
        return simulate(tasks, gpus, cores)

"""The declarations that the stages which train and evaluate targets share, for images and texts."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from selectbench.costs.visits import visit_run
from selectbench.planning.fingerprint import fingerprint
from selectbench.planning.stage import Inputs, Output, SizeNetwork, Stage, Visits, fingerprint_stage
from selectbench.records.records import EVALUATE, TRAIN, record_path
from selectbench.seeds import derive_seed
from selectbench.stages._sources import find_embeddings
from selectbench.stages._specs import EvaluatedRun, EvaluationSpec, TargetSpec, TrainedRun, specify_training
from selectbench.stages._subsets import find_subset, list_subsets
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.planning.runs import Run

_FLOAT = 4  # bytes


@dataclass(frozen=True)
class TargetStage(Stage):
    """A batch of runs: targets of one data set, model, recipe and regime.

    Attributes
    ----------
    of_texts : whether the targets are language models
    run_record : ``train`` or ``evaluate``
    """

    dataset: str
    batch: str

    run_record: ClassVar[str]
    of_texts: ClassVar[bool]
    record = "manifest"
    threaded = True

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield all batches, so that a lost manifest is made again even if its runs are already collected."""
        for batch, runs in plan.batches[cls.run_record].items():
            if plan.config.is_text(runs[0].dataset) == cls.of_texts:
                yield cls.for_batch(batch)

    @classmethod
    def for_batch(cls, batch: str) -> Self:
        """Return the job of a batch, given the batch's name in the plan, which begins with the data set."""
        dataset, _, rest = batch.partition("/")
        return cls(dataset, rest)

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``dataset`` to text data sets, or to all others."""
        texts = "|".join(plan.config.list_texts())
        return {"dataset": texts if cls.of_texts else f"(?!({texts})/)[a-z0-9_]+"}

    def list_runs(self, plan: "Plan") -> "list[Run]":
        """List the runs of the batch."""
        return plan.batches[self.run_record][f"{self.dataset}/{self.batch}"]

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set, and the embeddings that heads read."""
        inputs = {"data": [Output(PrepareData(self.dataset), "manifest")]}
        return {**inputs, "embeddings": find_embeddings(plan, self.dataset, self.list_runs(plan)[0].target)} if self.of_texts else inputs

    def count_visits(self, plan: "Plan") -> Visits:
        """Sum the visits of all runs."""
        visits = [visit_run(plan, run, self.run_record) for run in self.list_runs(plan)]
        return Visits(visits[0].network, sum(found.visits for found in visits))


@dataclass(frozen=True)
class TrainingStage(TargetStage):
    """The training of a batch of targets."""

    run_record = TRAIN
    writes = {"manifest": "{results}/batches/train/{dataset}/{batch}.json"}
    log = "{results}/logs/train/{dataset}/{batch}.log"
    computes = True

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the data, and the subsets of those runs that train on one."""
        return {**super().list_inputs(plan), "subsets": list_subsets(plan, self.list_runs(plan))}

    def specify(self, plan: "Plan") -> TargetSpec:
        """Return how the targets are trained, and what each is trained on."""
        runs = self.list_runs(plan)
        first = runs[0]
        return {
            **specify_training(plan, "target", first.dataset, first.target, plan.run_recipe(first), gpus=self.count_gpus(plan)),
            "regime": first.regime,
            "runs": [describe_trained(plan, run) for run in runs],
            "folder": plan.folder,
            "code": fingerprint_stage(self.name),
        }

    def count_gpus(self, plan: "Plan") -> int:
        """Return the number of GPUs: those of the scale, for each process of the recipe."""
        return super().count_gpus(plan) * self.count_processes(plan)

    def count_processes(self, plan: "Plan") -> int:
        """Return the number of processes of the recipe."""
        processes: int = plan.config.recipes[plan.run_recipe(self.list_runs(plan)[0])].get("processes", 1)
        return processes

    def list_files(self, plan: "Plan") -> Iterator[Path]:
        """Yield the manifest, and the record and weights of every run."""
        yield from super().list_files(plan)
        for run in self.list_runs(plan):
            folder = record_path(Path(plan.folder), run.id, TRAIN).parent
            if folder.is_dir():
                yield from folder.iterdir()

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int | None:
        """Count the weights of image targets; those of language models are not estimated."""
        if self.of_texts:
            return None
        return _FLOAT * size_network(self.count_visits(plan).network).parameters * len(self.list_runs(plan))


@dataclass(frozen=True)
class EvaluationStage(TargetStage):
    """The evaluation of a batch of targets, each on the test sets that tables need.

    Attributes
    ----------
    trainer : the stage that trains these targets
    """

    run_record = EVALUATE
    trainer: ClassVar[type[TrainingStage]]
    writes = {"manifest": "{results}/batches/evaluate/{dataset}/{batch}.json"}
    log = "{results}/logs/evaluate/{dataset}/{batch}.log"
    computes = True

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the data, and the manifests of the batches that train these runs."""
        trained = dict.fromkeys(plan.train_batch_of[run.id] for run in self.list_runs(plan))
        return {**super().list_inputs(plan), "trained": [Output(self.trainer.for_batch(batch), "manifest") for batch in trained]}

    def specify(self, plan: "Plan") -> EvaluationSpec:
        """Return how the targets were trained, and the test sets of each."""
        runs = self.list_runs(plan)
        described: list[EvaluatedRun] = [{"id": run.id, **asdict(run), "test_sets": plan.run_test_sets(run)} for run in runs]  # type: ignore[typeddict-item]  # asdict tells no keys
        return {
            **specify_training(plan, "target", runs[0].dataset, runs[0].target, plan.run_recipe(runs[0])),
            "runs": described,
            "folder": plan.folder,
            "code": fingerprint_stage(self.name),
        }


def describe_trained(plan: "Plan", run: "Run") -> TrainedRun:
    """Return a run with the source of its samples: a file of subsets, or a sampler."""
    described: TrainedRun = {"id": run.id, **asdict(run), "subset": None, "sampler": None}  # type: ignore[typeddict-item]  # asdict tells no keys
    if plan.has_subset(run):
        chooser, name = find_subset(plan, run)
        return {**described, "subset": chooser.find_output(plan, name)}
    file = plan.config.method_file(run.method)
    return {
        **described,
        "sampler": {
            "name": file,
            "parameters": plan.config.methods[run.method].get("parameters", {}),
            "seed": derive_seed("selection", run.dataset, run.proxy, file, run.seed),
            "code": fingerprint(f"selectbench.dynamic.{file}"),
        },
    }

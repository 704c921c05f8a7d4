"""Train a proxy and record what scoring methods read: correctness, early outputs, features, and the weights at several epochs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.costs.visits import FORWARD_SHARE
from selectbench.planning.entries import RecipeEntry
from selectbench.planning.stage import CollectedWork, Inputs, Network, Output, SizeNetwork, Stage, Visits, fingerprint_stage
from selectbench.records.files import digest_value, read_sealed, write_atomically
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import TrainingSpec, specify_training
from selectbench.stages.prepare_data import PrepareData
from selectbench.training.recording import list_passes

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan

_FLOAT = 4  # bytes


class Spec(TrainingSpec):
    """Which proxy is trained.

    Parameters
    ----------
    seed : of the run
    state : file of the checkpoint from which an interrupted training continues
    code : fingerprint of the code
    """

    seed: int
    state: str
    code: str


@dataclass(frozen=True)
class TrainProxy(Stage):
    """The training of one proxy, which records signals for scoring methods."""

    dataset: str
    proxy: str
    seed: str

    name = "train_proxy"
    reads = ("data",)
    writes = {
        "signals": "{results}/proxies/{dataset}/{proxy}/seed-{seed}.npz",
        "weights": "{results}/proxies/{dataset}/{proxy}/seed-{seed}.pt",
        "record": "{results}/proxies/{dataset}/{proxy}/seed-{seed}.json",
    }
    log = "{results}/logs/proxy/{dataset}/{proxy}/seed-{seed}.log"
    computes = threaded = True

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return how the proxy is trained."""
        return {
            **specify_training(plan, "proxy", self.dataset, self.proxy),
            "seed": int(self.seed),
            "state": f"{plan.folder}/state/proxies/{self.dataset}/{self.proxy}/seed-{self.seed}.pt",
            "code": fingerprint_stage(self.name),
        }

    def _find_recipe(self, plan: "Plan") -> RecipeEntry:
        return plan.config.recipes[plan.recipe_name("proxy", self.dataset, self.proxy)]

    def count_visits(self, plan: "Plan") -> Visits:
        """Count the epochs, and the clean passes after some of them."""
        recipe = self._find_recipe(plan)
        passes = recipe["epochs"] + FORWARD_SHARE * len(list_passes(recipe["record_at"], recipe["epochs"]))
        network = Network(self.proxy, recipe.get("stem", ""), self.dataset)
        return Visits(network, passes * plan.config.datasets[self.dataset]["pool_size"])

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int:
        """Count the weights saved at the declared epochs and what is recorded for each sample."""
        recipe, entry = self._find_recipe(plan), plan.config.datasets[self.dataset]
        size = size_network(self.count_visits(plan).network)
        kept = len({*recipe["record_at"], *recipe["align_at"]})
        numbers = 2 * size.width + len(recipe["record_at"]) * entry["classes"] + recipe["epochs"]
        return _FLOAT * (kept * size.parameters + numbers * entry["pool_size"])

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the training."""
        return float(record["training"]["wall_s"])

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds of the whole training, of which methods are charged shares."""
        return collected.find_recording("proxy", self.dataset, self.proxy, self.seed)


def main() -> None:
    """Train and record, write signals and weights, then their record."""
    import torch

    from selectbench.stages._training import build_from_spec, open_prepared, warm_start_from_spec
    from selectbench.training.devices import choose_device, describe_device
    from selectbench.training.engine import Checkpoint, train_model
    from selectbench.training.epochs import visit_subset
    from selectbench.training.pools import supervised_loss
    from selectbench.training.recipes import Recipe
    from selectbench.training.recorder import Recorder

    arguments = parse_arguments(__doc__, TrainProxy.reads, TrainProxy.writes)
    spec: Spec = arguments.spec
    (data,) = arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    recipe, device = Recipe.from_config(spec["recipe"]), choose_device(spec["gpu"])
    stream = (spec["role"], spec["dataset"], spec["seed"])
    model, seeds = build_from_spec(spec, recipe.stem, stream, device)
    start = warm_start_from_spec(model, spec)
    pool = open_prepared(data, "pool", device)
    recorder = Recorder(pool, spec["num_classes"], recipe)
    key = digest_value({"spec": spec, "data": read_sealed(data)["splits"]["pool"], "start": start and start["sha256"]})
    checkpoint = Checkpoint(Path(spec["state"]), key)
    progress = train_model(
        model,
        pool,
        visit_subset(np.arange(len(pool)), len(pool), recipe, "equal_epochs"),
        recipe,
        stream=stream,
        batch_loss=supervised_loss(pool, recipe, stream, recorder.watch),
        on_epoch_end=recorder.observe,
        checkpoint=checkpoint,
    )
    recorder.signals(progress).save(arguments.signals)
    write_atomically(arguments.weights, lambda stream: torch.save(recorder.weights(progress), stream))
    write_made(
        arguments,
        {
            "status": "ok",
            "source": "proxy",
            "key": key,
            "seeds": seeds,
            "recipe": spec["recipe"],
            "warm_start": start,
            "context": {
                "mode": "eval",
                "images": "clean",
                "checkpoint": "last",
                "outputs_at_epochs": recorder.recorded_epochs,
                "every_epoch": {"mode": "train", "images": "augmented", "checkpoint": "before each update"},
            },
            "training": {
                "epochs": progress.epoch,
                "steps": progress.step,
                "sample_visits": progress.sample_visits,
                "forward_visits": progress.forward_visits,
                "passed_epochs": recorder.passed_epochs,
                "wall_s": progress.wall_s,
                "final_loss": progress.final_loss,
                "unreadable": len(pool.split.unreadable),
            },
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(device), started),
        },
    )
    checkpoint.remove()


if __name__ == "__main__":
    run_stage(main)

"""Train replicates of a proxy, independently initialised, and record what methods average over them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.costs.visits import FORWARD_SHARE, sum_seconds
from selectbench.planning.entries import RecipeEntry
from selectbench.planning.stage import CollectedWork, Inputs, Network, Output, SizeNetwork, Stage, Visits, fingerprint_stage
from selectbench.records.files import digest_value, read_sealed
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.signals import REPLICATES, Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import ReplicateSpec, specify_training
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan

_FLOAT = 8  # bytes


@dataclass(frozen=True)
class TrainReplicates(Stage):
    """The training of a proxy's replicates, which end early or are trained as long as the proxy."""

    dataset: str
    proxy: str
    source: str
    seed: str

    name = "train_replicates"
    reads = ("data",)
    writes = {
        "signals": "{results}/replicates/{dataset}/{proxy}/{source}/seed-{seed}.npz",
        "record": "{results}/replicates/{dataset}/{proxy}/{source}/seed-{seed}.json",
    }
    log = "{results}/logs/replicates/{dataset}/{proxy}/{source}/seed-{seed}.log"
    computes = threaded = True

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``source`` to the kinds of replicates."""
        return {"source": "|".join(REPLICATES)}

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")]}

    def specify(self, plan: "Plan") -> ReplicateSpec:
        """Return how many replicates are trained, how, and for how long."""
        return {
            **specify_training(plan, "proxy", self.dataset, self.proxy),
            "seed": int(self.seed),
            "source": self.source,
            "number": self._count(plan),
            "trained_epochs": self._count_epochs(plan),
            "state": f"{plan.folder}/state/replicates/{self.dataset}/{self.proxy}/{self.source}/seed-{self.seed}",
            "code": fingerprint_stage(self.name),
        }

    def _find_recipe(self, plan: "Plan") -> RecipeEntry:
        return plan.config.recipes[plan.recipe_name("proxy", self.dataset, self.proxy)]

    @property
    def _is_early(self) -> bool:
        return self.source == "early_replicates"

    def _count(self, plan: "Plan") -> int:
        declared = self._find_recipe(plan)["replicates"]
        return declared["early"]["number"] if self._is_early else declared["whole"]["number"]

    def _count_epochs(self, plan: "Plan") -> int:
        recipe = self._find_recipe(plan)
        return recipe["replicates"]["early"]["epochs"] if self._is_early else recipe["epochs"]

    def count_visits(self, plan: "Plan") -> Visits:
        """Count the epochs of all replicates and, if they end early, a clean pass and one for gradients after each."""
        recipe = self._find_recipe(plan)
        passes = self._count(plan) * (self._count_epochs(plan) + (1 + FORWARD_SHARE if self._is_early else 0))
        network = Network(self.proxy, recipe.get("stem", ""), self.dataset)
        return Visits(network, passes * plan.config.datasets[self.dataset]["pool_size"])

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int:
        """Count three numbers per sample and early replicate, or one bit per sample and epoch of whole ones."""
        size = _FLOAT * len(REPLICATES[self.source]) if self._is_early else self._count_epochs(plan) / 8
        return int(self._count(plan) * size * plan.config.datasets[self.dataset]["pool_size"])

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of all replicates."""
        return sum_seconds(record)

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds that methods were charged for the replicates."""
        return collected.find_recording(self.source, self.dataset, self.proxy, self.seed)


def main() -> None:
    """Train one replicate after the other, write what was recorded of them, then their record."""
    import torch

    from selectbench.stages._replicates import finish_replicate
    from selectbench.stages._training import describe_start, open_prepared
    from selectbench.training.devices import choose_device, describe_device

    arguments = parse_arguments(__doc__, TrainReplicates.reads, TrainReplicates.writes)
    spec: ReplicateSpec = arguments.spec
    (data,) = arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    device, start = choose_device(spec["gpu"]), describe_start(spec)
    pool = open_prepared(data, "pool", device)
    key = digest_value({"spec": spec, "data": read_sealed(data)["splits"]["pool"], "start": start and start["sha256"]})
    finished = [finish_replicate(spec, pool, index, key) for index in range(spec["number"])]
    recorded = {name: np.stack([one["rows"][name].numpy() for one in finished]) for name in REPLICATES[spec["source"]]}
    Signals(labels=pool.labels.cpu().numpy(), **recorded).save(arguments.signals)
    in_training = {"mode": "train", "images": "augmented", "checkpoint": "before each update"}
    write_made(
        arguments,
        {
            "status": "ok",
            "source": spec["source"],
            "key": key,
            "seeds": {"init": [one["init"] for one in finished], "streams": ["replicate", spec["dataset"], spec["seed"]]},
            "recipe": spec["recipe"],
            "warm_start": start,
            "context": {
                "replicates": spec["number"],
                "epochs": spec["trained_epochs"],
                **({"mode": "eval", "images": "clean", "checkpoint": "last"} if spec["source"] == "early_replicates" else in_training),
            },
            "costs": [{"share": 0.0, **cost} for one in finished for cost in one["costs"]],
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(device), started),
        },
    )
    shutil.rmtree(spec["state"], ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)

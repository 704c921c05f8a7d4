"""Train agents alongside a target model, one per keep fraction, and write the subsets they choose."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from selectbench.planning.stage import CollectedWork, Inputs, Network, Output, SizeNetwork, Stage, Visits, fingerprint_stage
from selectbench.records.files import digest_value, read_sealed, write_arrays
from selectbench.records.provenance import describe_provenance
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import SelectorSpec, specify_selection, specify_training
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.select_subsets import size_subsets

if TYPE_CHECKING:
    from selectbench.methods.rl_selector import RLSelector
    from selectbench.planning.plan import Plan


@dataclass(frozen=True)
class TrainSelectors(Stage):
    """The agents of one method, one per keep fraction, each trained alongside a model of the proxy's architecture."""

    dataset: str
    proxy: str
    method: str
    seed: str

    name = "train_selectors"
    reads = ("data",)
    writes = {
        "subsets": "{results}/subsets/{dataset}/{proxy}/{method}/seed-{seed}.npz",
        "record": "{results}/subsets/{dataset}/{proxy}/{method}/seed-{seed}.json",
    }
    log = "{results}/logs/selectors/{dataset}/{proxy}/{method}/seed-{seed}.log"
    computes = threaded = True

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``method`` to those whose agent is trained alongside a model."""
        return {"method": "|".join(plan.config.list_learned()) or "$"}

    def _list_keeps(self, plan: "Plan") -> list[str]:
        return plan.list_keeps(self.dataset, self.proxy, self.method, self.seed)

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")]}

    def specify(self, plan: "Plan") -> SelectorSpec:
        """Return the method, the model trained with it, and the keep fractions that runs need."""
        return {
            **specify_training(plan, "selector", self.dataset, self.proxy),
            **specify_selection(plan, self.dataset, self.proxy, self.method, self.seed),
            "method_name": self.method,
            "keeps": self._list_keeps(plan),
            "state": f"{plan.folder}/state/selectors/{self.dataset}/{self.proxy}/{self.method}/seed-{self.seed}",
            "code": fingerprint_stage(self.name, f"selectbench.methods.{plan.config.method_file(self.method)}"),
        }

    def count_visits(self, plan: "Plan") -> Visits:
        """Count the epochs of the model that is trained with each agent."""
        recipe = plan.config.recipes[plan.recipe_name("selector", self.dataset, self.proxy)]
        network = Network(self.proxy, recipe.get("stem", ""), self.dataset)
        passes = recipe["epochs"] * len(self._list_keeps(plan))
        return Visits(network, passes * plan.config.datasets[self.dataset]["pool_size"])

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int:
        """Count the ids of all subsets."""
        return size_subsets(plan, self.dataset, self._list_keeps(plan))

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of all agents."""
        return float(sum(subset["cost"]["sources"]["agent"]["wall_s"] for subset in record["subsets"].values()))

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds of the agents, as the records of runs report them."""
        return collected.choosing.get((self.dataset, self.proxy, self.method, self.seed))


def main() -> None:
    """Write the ids kept at every keep fraction, then their record with the trajectory and the cost of each."""
    import torch

    from selectbench.methods import make_method
    from selectbench.stages._selectors import load_finished, select_subset
    from selectbench.stages._training import describe_start, open_prepared
    from selectbench.training.devices import choose_device, describe_device

    arguments = parse_arguments(__doc__, TrainSelectors.reads, TrainSelectors.writes)
    spec: SelectorSpec = arguments.spec
    (data,) = arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    device = choose_device(spec["gpu"])
    pool, method = open_prepared(data, "pool", device), cast("RLSelector", make_method(spec["method"], spec["parameters"]))
    start = describe_start(spec)
    key = digest_value({"spec": spec, "data": read_sealed(data)["splits"]["pool"], "start": start and start["sha256"]})
    subsets, described = {}, {}
    for keep in spec["keeps"]:
        state = Path(spec["state"]) / f"keep-{keep}.pt"
        ids, described[keep] = load_finished(state, key) or select_subset(spec, method, pool, keep, state, key)
        if described[keep]["failure"] is None:
            subsets[keep] = np.array(ids)
        print(f"{spec['method_name']}, keep {keep}: {described[keep]['failure'] or 'chosen'}, {described[keep]['cost']['wall_s']:.1f} s")
    write_arrays(arguments.subsets, subsets)
    write_made(
        arguments,
        {
            "status": "ok",
            "method": spec["method"],
            "parameters": spec["parameters"],
            "seed": spec["selection_seed"],
            "num_pool": len(pool),
            "recipe": spec["recipe"],
            "warm_start": start,
            "context": {"mode": "train", "images": "augmented", "checkpoint": "every epoch"},
            "subsets": described,
            "provenance": describe_provenance(spec["code"], describe_device(device), started),
        },
    )
    shutil.rmtree(spec["state"], ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)

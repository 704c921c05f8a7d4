"""Measure per-sample gradients at the weights that a proxy run saved: norms over all parameters, or alignments with the mean gradient."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.costs.visits import FORWARD_SHARE, sum_seconds
from selectbench.planning.entries import RecipeEntry
from selectbench.planning.stage import CollectedWork, Inputs, Network, Output, SizeNetwork, Stage, Visits, fingerprint_stage
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import TrainingSpec, specify_training
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.train_proxy import TrainProxy
from selectbench.training.recording import list_epochs

if TYPE_CHECKING:
    import torch

    from selectbench.planning.plan import Plan
    from selectbench.training.pools import Pool

_BATCH = 256
_FLOAT = 4  # bytes

# signal → (recipe key of its checkpoints, visits with a backward pass and forward-only visits per sample)
_PASSES = {"gradient_norms": ("record_at", 1, 0), "alignments": ("align_at", 1, 2)}


class Spec(TrainingSpec):
    """Which signal is measured, on which proxy.

    Parameters
    ----------
    seed : of the proxy run
    signal : ``gradient_norms`` or ``alignments``
    code : fingerprint of the code
    """

    seed: int
    signal: str
    code: str


@dataclass(frozen=True)
class MeasureGradients(Stage):
    """The measurement of one gradient signal at the weights of a proxy run."""

    dataset: str
    proxy: str
    signal: str
    seed: str

    name = "measure_gradients"
    reads = ("data", "weights")
    writes = {
        "signals": "{results}/gradients/{dataset}/{proxy}/{signal}/seed-{seed}.npz",
        "record": "{results}/gradients/{dataset}/{proxy}/{signal}/seed-{seed}.json",
    }
    log = "{results}/logs/gradients/{dataset}/{proxy}/{signal}/seed-{seed}.log"
    computes = threaded = True

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``signal`` to those computed from gradients of a proxy."""
        return {"signal": "|".join(_PASSES)}

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set and the weights of the proxy."""
        proxy = TrainProxy(self.dataset, self.proxy, self.seed)
        return {"data": [Output(PrepareData(self.dataset), "manifest")], "weights": [Output(proxy, "weights")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return how the proxy was trained, and what is measured."""
        training = specify_training(plan, "proxy", self.dataset, self.proxy)
        return {**training, "seed": int(self.seed), "signal": self.signal, "code": fingerprint_stage(self.name)}

    def _find_recipe(self, plan: "Plan") -> RecipeEntry:
        return plan.config.recipes[plan.recipe_name("proxy", self.dataset, self.proxy)]

    def _count_checkpoints(self, plan: "Plan") -> int:
        recipe = self._find_recipe(plan)
        return len(recipe["record_at"] if _PASSES[self.signal][0] == "record_at" else recipe["align_at"])

    def count_visits(self, plan: "Plan") -> Visits:
        """Count the passes at every checkpoint."""
        recipe = self._find_recipe(plan)
        _, backward, forward = _PASSES[self.signal]
        passes = self._count_checkpoints(plan) * (backward + forward * FORWARD_SHARE)
        network = Network(self.proxy, recipe.get("stem", ""), self.dataset)
        return Visits(network, passes * plan.config.datasets[self.dataset]["pool_size"])

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int:
        """Count one number per sample and checkpoint."""
        return _FLOAT * plan.config.datasets[self.dataset]["pool_size"] * self._count_checkpoints(plan)

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the measurements at all checkpoints."""
        return sum_seconds(record)

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds that methods were charged for the signal."""
        return collected.find_recording(self.signal, self.dataset, self.proxy, self.seed)


def main() -> None:
    """Measure one signal at all checkpoints that the recipe declares for it and write it, then its record."""
    import torch

    from selectbench.stages._training import build_from_spec, open_prepared, read_weights
    from selectbench.training.devices import choose_device, describe_device
    from selectbench.training.gradients import measure_alignments, measure_norms
    from selectbench.training.recipes import Recipe

    arguments = parse_arguments(__doc__, MeasureGradients.reads, MeasureGradients.writes)
    spec: Spec = arguments.spec
    (data,), (weights,) = arguments.data, arguments.weights
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    recipe, device, proxy = Recipe.from_config(spec["recipe"]), choose_device(spec["gpu"]), read_record(find_maker(weights))
    measure = {"gradient_norms": measure_norms, "alignments": measure_alignments}[spec["signal"]]
    shares, backward_visits, forward_visits = _PASSES[spec["signal"]]
    epochs = list_epochs(getattr(recipe, shares), recipe.epochs)
    kept = {entry["epoch"]: entry for entry in read_weights(weights, device)}
    pool = open_prepared(data, "pool", device)
    model, _ = build_from_spec(spec, recipe.stem, (spec["role"],), device)
    rows, costs = [], []
    for epoch in epochs:
        clock = time.perf_counter()
        model.load_state_dict(kept[epoch]["model"])
        rows.append(measure(model.eval(), lambda: read_clean(pool)).numpy())
        costs.append(
            {
                "share": epoch / recipe.epochs,
                "wall_s": time.perf_counter() - clock,
                "sample_visits": backward_visits * len(pool),
                "forward_visits": forward_visits * len(pool),
            }
        )
    axis = {
        "gradient_norms": {"recorded_at": np.array(epochs) / recipe.epochs},
        "alignments": {"step_sizes": np.array([kept[epoch]["step_size"] for epoch in epochs])},
    }
    Signals(labels=pool.labels.cpu().numpy(), **{spec["signal"]: np.stack(rows)}, **axis[spec["signal"]]).save(arguments.signals)
    write_made(
        arguments,
        {
            "status": "ok",
            "source": spec["signal"],
            "key": proxy["key"],
            "seeds": proxy["seeds"],
            "context": {"mode": "eval", "images": "clean", "at_epochs": epochs},
            "costs": costs,
            "proxy": {name: proxy[name] for name in ("source", "key", "seeds", "context", "training", "peak_memory_mb")},
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(device), started),
        },
    )


def read_clean(pool: "Pool") -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    """Yield a pool's clean, normalised images and their labels in canonical order."""
    for start in range(0, len(pool), _BATCH):
        positions = np.arange(start, min(start + _BATCH, len(pool)))
        yield pool.normalise(pool.load(positions)), pool.labels[start : start + _BATCH]


if __name__ == "__main__":
    run_stage(main)

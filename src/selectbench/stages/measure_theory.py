"""Measure the propositions behind ε-sample cover at a proxy run's last weights: distance against outputs, gradients and removal."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.seeds import derive_seed
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import TrainingSpec, specify_training
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.train_proxy import TrainProxy

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan

PAIRS = 2000  # same-class pairs on which the propositions are measured


class Spec(TrainingSpec):
    """On which proxy the propositions are measured.

    Parameters
    ----------
    seed : of the proxy run
    pairs : number of pairs to draw, at most
    code : fingerprint of the code
    """

    seed: int
    pairs: int
    code: str


@dataclass(frozen=True)
class MeasureTheory(Stage):
    """The measurement of the propositions about covered pairs on a proxy run."""

    dataset: str
    proxy: str
    seed: str

    name = "measure_theory"
    reads = ("data", "signals", "weights")
    writes = {"record": "{results}/theory/{dataset}/{proxy}/seed-{seed}.json"}
    log = "{results}/logs/theory/{dataset}/{proxy}/seed-{seed}.log"
    computes = threaded = True

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set, and the signals and weights of the proxy."""
        proxy = TrainProxy(self.dataset, self.proxy, self.seed)
        return {
            "data": [Output(PrepareData(self.dataset), "manifest")],
            "signals": [Output(proxy, "signals")],
            "weights": [Output(proxy, "weights")],
        }

    def specify(self, plan: "Plan") -> Spec:
        """Return how the proxy was trained, and the number of pairs."""
        training = specify_training(plan, "proxy", self.dataset, self.proxy)
        return {**training, "seed": int(self.seed), "pairs": PAIRS, "code": fingerprint_stage(self.name)}

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the measurement."""
        return float(record["wall_s"])


def main() -> None:
    """Measure all propositions and write their record."""
    import torch
    from threadpoolctl import threadpool_limits

    from selectbench.rl import propositions
    from selectbench.stages._training import build_from_spec, open_prepared, read_weights
    from selectbench.training.devices import choose_device, describe_device
    from selectbench.training.recipes import Recipe

    arguments = parse_arguments(__doc__, MeasureTheory.reads, MeasureTheory.writes)
    spec: Spec = arguments.spec
    (data,), (recorded,), (weights,) = arguments.data, arguments.signals, arguments.weights
    started, clock = datetime.now(UTC), time.perf_counter()
    torch.set_num_threads(spec["threads"])
    recipe, device, proxy = Recipe.from_config(spec["recipe"]), choose_device(spec["gpu"]), read_record(find_maker(weights))
    kept = max(read_weights(weights, device), key=lambda entry: entry["epoch"])
    if kept["epoch"] != recipe.epochs:
        raise SelectbenchError(f"{weights}: the last weights are of epoch {kept['epoch']} of {recipe.epochs}; record_at must end with 1.0")
    model, _ = build_from_spec(spec, recipe.stem, (spec["role"],), device)
    model.load_state_dict(kept["model"])
    seed = derive_seed("theory", spec["dataset"], spec["model_name"], spec["seed"])
    pool, test = open_prepared(data, "pool", device), open_prepared(data, spec["id_test_set"], device)
    signals, held_out = Signals.load(recorded), propositions.read_features(model, test)
    with threadpool_limits(spec["threads"]):
        measured = {
            **propositions.measure_closeness(model.eval(), pool, signals, spec["pairs"], seed),
            **propositions.measure_leaving_out(signals, held_out, spec["pairs"], seed),
        }
    write_made(
        arguments,
        {
            "status": "ok",
            "seed": spec["seed"],
            "seeds": {"pairs": seed},
            "dataset": spec["dataset"],
            "propositions": measured,
            "regression": {
                "ridge": propositions.RIDGE,
                "components": min(propositions.MAX_COMPONENTS, np.asarray(signals.features).shape[1]),
                "max_classes": propositions.MAX_CLASSES,
                "max_per_class": propositions.MAX_PER_CLASS,
                "pairs": min(propositions.MAX_PAIRS, spec["pairs"]),
            },
            "context": {"mode": "eval", "images": "clean", "at_epoch": kept["epoch"], "test_set": spec["id_test_set"]},
            "proxy": {name: proxy[name] for name in ("key", "seeds")},
            "wall_s": time.perf_counter() - clock,
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(device), started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

"""Warm up a head on a random part of a pool and measure how well each sample's gradient aligns with those of validation samples."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.costs.visits import sum_seconds
from selectbench.planning.stage import CollectedWork, Inputs, Output, Stage, fingerprint_stage
from selectbench.policy import count_kept
from selectbench.records.files import digest_value, read_arrays, read_sealed
from selectbench.records.provenance import CPU, describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.seeds import derive_seed, hash_ids
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import DataSpec, specify_data
from selectbench.stages.embed_texts import EmbedTexts
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan

WARM_UP_KEEP = 0.05  # LESS warms up on 5 % of the pool


class Spec(DataSpec):
    """Which pool is measured.

    Parameters
    ----------
    seed : of the run
    code : fingerprint of the code
    """

    seed: int
    code: str


@dataclass(frozen=True)
class MeasureInfluences(Stage):
    """The warm-up training of a head on frozen embeddings, and the influences of a pool at its checkpoints."""

    dataset: str
    seed: str

    name = "measure_influences"
    reads = ("data", "embeddings")
    writes = {
        "signals": "{results}/gradients/{dataset}/influences/seed-{seed}.npz",
        "record": "{results}/gradients/{dataset}/influences/seed-{seed}.json",
    }
    log = "{results}/logs/gradients/{dataset}/influences/seed-{seed}.log"
    threaded = True

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set and its embeddings."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")], "embeddings": [Output(EmbedTexts(self.dataset), "splits")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return the data set and the seed."""
        return {**specify_data(plan, self.dataset), "seed": int(self.seed), "code": fingerprint_stage(self.name)}

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the warm-up, the measurement and the embeddings."""
        return sum_seconds(record)

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds that methods were charged for the signal."""
        return collected.find_recording("influences", self.dataset, seed=self.seed)


def main() -> None:
    """Write the influences, then their record with the cost of the embeddings and of the warm-up."""
    from threadpoolctl import threadpool_limits

    from selectbench.data.splits import read_array
    from selectbench.llm.encoder import name_matches
    from selectbench.llm.influence import EPOCHS, LEARNING_RATE, measure_influences, warm_up_head

    arguments = parse_arguments(__doc__, MeasureInfluences.reads, MeasureInfluences.writes)
    spec: Spec = arguments.spec
    (data,), (embeddings,) = arguments.data, arguments.embeddings
    started, clock = datetime.now(UTC), time.perf_counter()
    arrays, encoder = read_arrays(embeddings), read_record(find_maker(embeddings))
    inputs, wanted = (arrays[name_matches(split) if spec["task"] == "choice" else split] for split in ("pool", "validation"))
    labels, validation = (read_array(data.parent / split / "labels.npy") for split in ("pool", "validation"))
    seed = derive_seed("warm-up", spec["dataset"], spec["seed"])
    num_warm = count_kept(WARM_UP_KEEP, len(labels))
    ids = np.sort(np.argsort(hash_ids(np.arange(len(labels)), seed), kind="stable")[:num_warm])
    with threadpool_limits(spec["threads"]):
        checkpoints = warm_up_head(inputs[ids], labels[ids], spec["num_classes"], LEARNING_RATE, seed)
        by_mean, by_samples = measure_influences(checkpoints, inputs, labels, wanted, validation)
    Signals(labels=labels, influences=by_mean, sample_influences=by_samples).save(arguments.signals)
    passes = EPOCHS * (len(labels) + len(validation))
    cost = {"share": 0.0, "wall_s": time.perf_counter() - clock, "sample_visits": EPOCHS * num_warm, "forward_visits": passes}
    write_made(
        arguments,
        {
            "status": "ok",
            "source": "influences",
            "key": digest_value({"spec": spec, "data": read_sealed(data)["splits"], "encoder": encoder["key"]}),
            "seeds": {"warm_up": seed},
            "context": {
                "warm_up_keep": WARM_UP_KEEP,
                "epochs": EPOCHS,
                "learning_rate": LEARNING_RATE,
                "encoder": encoder["context"]["encoder"],
            },
            "costs": [cost, *encoder["costs"]],
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], CPU, started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

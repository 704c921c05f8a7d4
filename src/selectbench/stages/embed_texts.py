"""Embed all splits of a text data set with its sentence encoder, once for all methods, agents and heads."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.costs.visits import sum_seconds
from selectbench.planning.runs import NO_PROXY
from selectbench.planning.stage import CollectedWork, Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import digest_value, read_sealed, write_arrays
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import DataSpec, DeviceSpec, EncoderSpec, specify_data, specify_text_encoder
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


class Spec(DataSpec, DeviceSpec, EncoderSpec):
    """Which splits are embedded.

    Parameters
    ----------
    splits : names of the splits
    matches : whether to embed, for heads, how well the options of a question match it
    code : fingerprint of the code
    """

    splits: list[str]
    matches: bool
    code: str


@dataclass(frozen=True)
class EmbedTexts(Stage):
    """The embedding of all splits of a text data set."""

    dataset: str

    name = "embed_texts"
    reads = ("data",)
    writes = {
        "signals": "{results}/texts/{dataset}/encoder.npz",
        "splits": "{results}/texts/{dataset}/encoder.splits.npz",
        "record": "{results}/texts/{dataset}/encoder.json",
    }
    log = "{results}/logs/texts/{dataset}/encoder.log"
    computes = threaded = True

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return the encoder and the splits that are embedded."""
        return {
            **specify_data(plan, self.dataset),
            **specify_text_encoder(plan, self.dataset),
            "gpu": self.count_gpus(plan),
            "splits": ["pool", "validation", *plan.test_sets(self.dataset)],
            "matches": self._reads_matches(plan),
            "code": fingerprint_stage(self.name),
        }

    def _reads_matches(self, plan: "Plan") -> bool:
        """Tell whether the texts are questions with options, and a head, in a run or for influences, reads how well these match."""
        runs = [run for run in plan.runs.values() if run.dataset == self.dataset]
        models = {model for run in runs for model in (run.proxy, run.target) if model != NO_PROXY}
        sources = {source for run in runs for source in plan.run_sources(run)}
        is_read = "influences" in sources or any(plan.config.is_head(model) for model in models)
        return plan.config.find_texts(self.dataset)["task"] == "choice" and is_read

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the embeddings that selection reads."""
        return sum_seconds(record)

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds that methods were charged for the embeddings."""
        return collected.find_recording("encoder", self.dataset)


def main() -> None:
    """Write the pool's embeddings as signals and those of all splits as arrays, then their record."""
    import torch

    from selectbench.data.splits import read_array
    from selectbench.data.texts import open_texts
    from selectbench.llm.encoder import load_encoder, name_matches
    from selectbench.stages._texts import LENGTHS
    from selectbench.training.devices import choose_device, describe_device

    arguments = parse_arguments(__doc__, EmbedTexts.reads, EmbedTexts.writes)
    spec: Spec = arguments.spec
    (data,) = arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    device, arrays, wall_s = choose_device(spec["gpu"]), {}, {}
    encoder = load_encoder(spec["encoder"], device)
    for split in spec["splits"]:
        clock = time.perf_counter()
        opened = open_texts(data.parent, split)
        arrays[split] = encoder.embed(opened.prompts())
        if spec["matches"] and opened.options is not None:
            arrays[name_matches(split)] = encoder.embed_matches(opened.texts, opened.options)
        if split == "pool":
            arrays[LENGTHS] = encoder.count_tokens(opened.prompts())
        wall_s[split] = time.perf_counter() - clock
        print(f"{split}: {len(opened)} texts, {wall_s[split]:.1f} s")
    labels = read_array(data.parent / "pool" / "labels.npy")
    Signals(labels=labels, embeddings=arrays["pool"], validation_embeddings=arrays["validation"]).save(arguments.signals)
    write_arrays(arguments.splits, arrays)
    chosen_by = ("pool", "validation")  # what selection reads; test sets are embedded only for heads
    num = sum(len(arrays[split]) for split in chosen_by)
    cost = {"share": 0.0, "wall_s": sum(wall_s[split] for split in chosen_by), "sample_visits": 0, "forward_visits": num}
    contents = read_sealed(data)["splits"]
    write_made(
        arguments,
        {
            "status": "ok",
            "source": "encoder",
            "key": digest_value({"spec": spec, "data": {split: contents[split] for split in spec["splits"]}}),
            "seeds": {},
            "context": {"mode": "eval", "encoder": spec["encoder_name"], **spec["encoder"]},
            "num": len(arrays["pool"]),
            "wall_s": wall_s["pool"],
            "tokens": int(np.sum(arrays[LENGTHS])),
            "costs": [cost],
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(device), started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

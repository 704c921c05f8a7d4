"""Measure one signal from a pool's texts alone: text lengths and word rarities, or perplexities under a reference model."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.costs.visits import sum_seconds
from selectbench.planning.entries import NGRAM, AnyModel
from selectbench.planning.stage import CollectedWork, Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import digest_value, read_sealed
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.seeds import derive_seed
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import DataSpec, DeviceSpec, EncoderSpec, specify_data, specify_text_encoder
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.data.texts import TextSplit
    from selectbench.planning.plan import Plan


class Spec(DataSpec, DeviceSpec, EncoderSpec):
    """Which signal is measured, of which texts.

    Parameters
    ----------
    signal : ``statistics`` or ``perplexities``
    reference_name, reference : id and entry of the language model that computes perplexities; the entry is None for n-grams
    code : fingerprint of the code
    """

    signal: str
    reference_name: str
    reference: AnyModel | None
    code: str


@dataclass(frozen=True)
class MeasureTexts(Stage):
    """The measurement of one signal from texts alone."""

    dataset: str
    measure: str

    name = "measure_texts"
    reads = ("data",)
    writes = {"signals": "{results}/texts/{dataset}/{measure}.npz", "record": "{results}/texts/{dataset}/{measure}.json"}
    log = "{results}/logs/texts/{dataset}/{measure}.log"
    computes = threaded = True

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``measure`` to the signals that are computed from texts alone."""
        return {"measure": "statistics|perplexities"}

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return the signal and the models that it is computed with."""
        reference = plan.config.scale["reference_models"][self.dataset]
        return {
            **specify_data(plan, self.dataset),
            **specify_text_encoder(plan, self.dataset),
            "gpu": self.count_gpus(plan),
            "signal": self.measure,
            "reference_name": reference,
            "reference": None if reference == NGRAM else plan.config.models[reference],
            "code": fingerprint_stage(self.name),
        }

    def count_gpus(self, plan: "Plan") -> int:
        """Return 0, unless a language model computes perplexities."""
        asks_model = self.measure == "perplexities" and plan.config.scale["reference_models"][self.dataset] != NGRAM
        return super().count_gpus(plan) if asks_model else 0

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the measurement."""
        return sum_seconds(record)

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds that methods were charged for the signal."""
        return collected.find_recording(self.measure, self.dataset)


def main() -> None:
    """Write the signal, then its record with its cost."""
    import torch

    from selectbench.data.splits import read_array
    from selectbench.data.texts import open_texts
    from selectbench.training.devices import choose_device, describe_device

    arguments = parse_arguments(__doc__, MeasureTexts.reads, MeasureTexts.writes)
    spec: Spec = arguments.spec
    (data,) = arguments.data
    started, clock = datetime.now(UTC), time.perf_counter()
    torch.set_num_threads(spec["threads"])
    split = open_texts(data.parent, "pool")
    measured, context = {"statistics": count_words, "perplexities": ask_reference}[spec["signal"]](spec, split)
    Signals(labels=read_array(data.parent / "pool" / "labels.npy"), **measured).save(arguments.signals)
    passes = len(split) if context["reference"] not in (None, "ngram") else 0
    write_made(
        arguments,
        {
            "status": "ok",
            "source": spec["signal"],
            "key": digest_value({"spec": spec, "data": read_sealed(data)["splits"]["pool"]}),
            "seeds": {},
            "context": context,
            "costs": [{"share": 0.0, "wall_s": time.perf_counter() - clock, "sample_visits": 0, "forward_visits": passes}],
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(choose_device(spec["gpu"])), started),
        },
    )


def count_words(spec: Spec, split: "TextSplit") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return text lengths in the encoder's tokens and word rarities, and the context for the record."""
    import torch

    from selectbench.llm.encoder import load_encoder
    from selectbench.llm.perplexity import measure_rarities

    encoder = load_encoder(spec["encoder"], torch.device("cpu"))
    signals = {"lengths": encoder.count_tokens(split.prompts()), "rarities": measure_rarities(split.prompts())}
    return signals, {"reference": None, "tokeniser": spec["encoder_name"]}


def ask_reference(spec: Spec, split: "TextSplit") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return perplexities under the reference model (for questions, of the correct answer), and the context for the record."""
    from selectbench.llm.perplexity import measure_perplexities, ngram_perplexities
    from selectbench.training.devices import choose_device

    if spec["reference"] is None:
        perplexities = ngram_perplexities(split.prompts(), seed=derive_seed("folds", spec["dataset"]))
    elif split.options is None:
        perplexities = measure_perplexities(spec["reference"], split.texts, choose_device(spec["gpu"]))
    else:
        answers = [f" {options[label]}" for options, label in zip(split.options, split.labels, strict=True)]
        perplexities = measure_perplexities(spec["reference"], answers, choose_device(spec["gpu"]), prompts=split.texts)
    return {"perplexities": perplexities}, {"reference": spec["reference_name"]}


if __name__ == "__main__":
    run_stage(main)

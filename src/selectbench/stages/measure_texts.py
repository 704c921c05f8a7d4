"""Measure one signal of a pool's texts alone: lengths and rarities of words, or perplexities under a reference model."""

import time
from datetime import UTC, datetime

import numpy as np
import torch

from selectbench.data.splits import read_array
from selectbench.data.texts import TextSplit, open_texts
from selectbench.llm.encoder import load_encoder
from selectbench.llm.perplexity import measure_perplexities, measure_rarities, ngram_perplexities
from selectbench.records.files import digest_value, read_json
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.seeds import derive_seed
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.training.pools import choose_device, name_device


def main() -> None:
    """Write the signal, then its record with its cost."""
    arguments = parse_arguments(__doc__, inputs=("data",), outputs=("signals", "record"))
    spec, (data,) = arguments.spec, arguments.data
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
            "key": digest_value({"spec": spec, "data": read_json(data)["splits"]["pool"]}),
            "seeds": {},
            "context": context,
            "costs": [{"share": 0.0, "wall_s": time.perf_counter() - clock, "sample_visits": 0, "forward_visits": passes}],
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], name_device(choose_device()), started),
        },
    )


def count_words(spec: dict, split: TextSplit) -> tuple[dict[str, np.ndarray], dict]:
    """Return lengths in the encoder's tokens and rarities of words, and the context of the record."""
    encoder = load_encoder(spec["encoder"], torch.device("cpu"))
    signals = {"lengths": encoder.count_tokens(split.prompts()), "rarities": measure_rarities(split.prompts())}
    return signals, {"reference": None, "tokeniser": spec["encoder_name"]}


def ask_reference(spec: dict, split: TextSplit) -> tuple[dict[str, np.ndarray], dict]:
    """Return perplexities under the reference model, of questions those of the right answer, and the context of the record."""
    if spec["reference"] is None:
        perplexities = ngram_perplexities(split.prompts(), seed=derive_seed("folds", spec["dataset"]))
    elif split.options is None:
        perplexities = measure_perplexities(spec["reference"], split.texts, choose_device())
    else:
        answers = [f" {options[label]}" for options, label in zip(split.options, split.labels, strict=True)]
        perplexities = measure_perplexities(spec["reference"], answers, choose_device(), prompts=split.texts)
    return {"perplexities": perplexities}, {"reference": spec["reference_name"]}


if __name__ == "__main__":
    run_stage(main)

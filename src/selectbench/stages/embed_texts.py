"""Embed all splits of a data set of texts by its sentence encoder, once for every method, agent and head."""

import time
from datetime import UTC, datetime

import numpy as np
import torch

from selectbench.data.splits import read_array
from selectbench.data.texts import open_texts
from selectbench.llm.encoder import load_encoder, name_matches
from selectbench.records.files import digest_value, read_json, write_arrays
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._texts import LENGTHS
from selectbench.training.pools import choose_device, name_device


def main() -> None:
    """Write the pool's embeddings as signals, those of all splits, then their record."""
    arguments = parse_arguments(__doc__, inputs=("data",), outputs=("signals", "splits", "record"))
    spec, (data,) = arguments.spec, arguments.data
    started = datetime.now(UTC)
    torch.set_num_threads(spec["threads"])
    device, arrays, wall_s = choose_device(), {}, {}
    encoder = load_encoder(spec["encoder"], device)
    for split in spec["splits"]:
        clock = time.perf_counter()
        opened = open_texts(data.parent, split)
        arrays[split] = encoder.embed(opened.prompts())
        if spec["matches"]:
            arrays[name_matches(split)] = encoder.embed_matches(opened.texts, opened.options)
        if split == "pool":
            arrays[LENGTHS] = encoder.count_tokens(opened.prompts())
        wall_s[split] = time.perf_counter() - clock
        print(f"{split}: {len(opened)} texts, {wall_s[split]:.1f} s")
    labels = read_array(data.parent / "pool" / "labels.npy")
    Signals(labels=labels, embeddings=arrays["pool"], validation_embeddings=arrays["validation"]).save(arguments.signals)
    write_arrays(arguments.splits, arrays)
    chosen_by = ("pool", "validation")  # what selection reads; test sets are embedded for heads alone
    num = sum(len(arrays[split]) for split in chosen_by)
    cost = {"share": 0.0, "wall_s": sum(wall_s[split] for split in chosen_by), "sample_visits": 0, "forward_visits": num}
    contents = read_json(data)["splits"]
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
            "provenance": describe_provenance(spec["code"], name_device(device), started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

"""Warm a head up on a random part of a pool and measure how each sample's gradient agrees with those of validation samples."""

import time
from datetime import UTC, datetime

import numpy as np
from threadpoolctl import threadpool_limits

from selectbench.data.splits import read_array
from selectbench.llm.encoder import name_matches
from selectbench.llm.influence import EPOCHS, LEARNING_RATE, measure_influences, warm_up_head
from selectbench.policy import count_kept
from selectbench.records.files import digest_value, read_arrays, read_json
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.seeds import derive_seed, hash_ids
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made

WARM_UP_KEEP = 0.05  # LESS warms up on 5 % of the pool


def main() -> None:
    """Write the influences, then their record with the cost of the embeddings and of the warm-up."""
    arguments = parse_arguments(__doc__, inputs=("data", "embeddings"), outputs=("signals", "record"))
    spec, (data,), (embeddings,) = arguments.spec, arguments.data, arguments.embeddings
    started, clock = datetime.now(UTC), time.perf_counter()
    arrays, encoder = read_arrays(embeddings), read_record(find_maker(embeddings))
    inputs, wanted = (arrays[name_matches(split) if spec["task"] == "choice" else split] for split in ("pool", "validation"))
    labels, validation = (read_array(data.parent / split / "labels.npy") for split in ("pool", "validation"))
    seed = derive_seed("warm-up", spec["dataset"], spec["seed"])
    num_warm = count_kept(WARM_UP_KEEP, len(labels))
    ids = np.sort(np.argsort(hash_ids(np.arange(len(labels)), seed), kind="stable")[:num_warm])
    with threadpool_limits(spec["threads"]):
        checkpoints = warm_up_head(inputs[ids], labels[ids], spec["num_classes"], LEARNING_RATE, seed)
        influences = measure_influences(checkpoints, inputs, labels, wanted, validation)
    Signals(labels=labels, influences=influences).save(arguments.signals)
    passes = EPOCHS * (len(labels) + len(validation))
    cost = {"share": 0.0, "wall_s": time.perf_counter() - clock, "sample_visits": EPOCHS * num_warm, "forward_visits": passes}
    write_made(
        arguments,
        {
            "status": "ok",
            "source": "influences",
            "key": digest_value({"spec": spec, "data": read_json(data)["splits"], "encoder": encoder["key"]}),
            "seeds": {"warm_up": seed},
            "context": {
                "warm_up_keep": WARM_UP_KEEP,
                "epochs": EPOCHS,
                "learning_rate": LEARNING_RATE,
                "encoder": encoder["context"]["encoder"],
            },
            "costs": [cost, *encoder["costs"]],
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], "cpu", started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

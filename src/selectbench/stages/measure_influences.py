"""Warm a head up on a random part of a pool and measure how each sample's gradient agrees with the validation samples'."""

import time
from datetime import UTC, datetime

import numpy as np
from threadpoolctl import threadpool_limits

from selectbench.data.splits import read_array
from selectbench.errors import ConfigError
from selectbench.files import digest_value, read_json
from selectbench.llm.influence import EPOCHS, measure_influences, warm_up_head
from selectbench.policy import count_kept
from selectbench.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records import read_record, write_record
from selectbench.seeds import derive_seed, hash_ids
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage

WARM_UP_KEEP = 0.05  # LESS warms up on 5 % of the pool


def main() -> None:
    """Write the influences, then their record with the cost of the embeddings and of the warm-up."""
    arguments = parse_arguments(__doc__, inputs=("data", "embedded"), outputs=("signals", "record"))
    spec, (data,), (embedded,) = arguments.spec, arguments.data, arguments.embedded
    if spec["model"]["kind"] != "head":
        raise ConfigError(f"config/language_models.yaml: {spec['model_name']}: influences are measured for kind 'head' alone")
    started, clock = datetime.now(UTC), time.perf_counter()
    signals, encoder = Signals.load(embedded), read_record(embedded.with_suffix(".json"))
    validation = read_array(data.parent / "validation" / "labels.npy")
    seed = derive_seed("warm-up", spec["dataset"], spec["model_name"], spec["seed"])
    num_warm = count_kept(WARM_UP_KEEP, len(signals))
    ids = np.sort(np.argsort(hash_ids(signals.ids, seed), kind="stable")[:num_warm])
    with threadpool_limits(spec["threads"]):
        checkpoints = warm_up_head(signals.embeddings[ids], signals.labels[ids], spec["num_classes"], spec["recipe"]["learning_rate"], seed)
        influences = measure_influences(checkpoints, signals.embeddings, signals.labels, signals.validation_embeddings, validation)
    Signals(labels=signals.labels, influences=influences).save(arguments.signals)
    passes = EPOCHS * (len(signals) + len(validation))
    cost = {"share": 0.0, "wall_s": time.perf_counter() - clock, "sample_visits": EPOCHS * num_warm, "forward_visits": passes}
    write_record(
        arguments.record,
        {
            "status": "ok",
            "source": "influences",
            "key": digest_value({"spec": spec, "data": read_json(data)["splits"], "encoder": encoder["key"]}),
            "seeds": {"warm_up": seed},
            "context": {"warm_up_keep": WARM_UP_KEEP, "epochs": EPOCHS, "encoder": encoder["context"]["encoder"]},
            "costs": [cost, *encoder["costs"]],
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], "cpu", started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

"""Score the samples of a pool by one method, once for all keep fractions."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from threadpoolctl import threadpool_limits

from selectbench.data.splits import open_split
from selectbench.files import digest_array, write_arrays
from selectbench.methods import load_method
from selectbench.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records import read_record, write_record
from selectbench.runs import NO_PROXY
from selectbench.selection import score
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage


def main() -> None:
    """Write the scores, then their record with what they cost."""
    arguments = parse_arguments(__doc__, inputs=("data", "signals"), outputs=("scores", "record"))
    spec, (data,) = arguments.spec, arguments.data
    started = datetime.now(UTC)
    pool = open_split(data.parent, "pool")
    if spec["proxy"] == NO_PROXY:
        signals, proxy = Signals(labels=np.array(pool.labels)), None
    else:
        (path,) = arguments.signals
        signals, proxy = Signals.load(path), read_record(path.with_suffix(".json"))
    if "inputs" in load_method(spec["method"]).needs:
        signals = replace(signals, inputs=pool.load(np.arange(len(pool))))
    clock = time.perf_counter()
    with threadpool_limits(spec["threads"]):
        scores = score(spec["method"], signals, seed=spec["selection_seed"], **spec["parameters"])
    score_s = time.perf_counter() - clock
    write_arrays(arguments.scores, {"scores": scores, "ids": signals.ids, "labels": signals.labels})
    write_record(
        arguments.record,
        {
            "status": "ok",
            "method": spec["method"],
            "parameters": spec["parameters"],
            "seed": spec["selection_seed"],
            "scores_sha256": digest_array(scores),
            "score_s": score_s,
            "peak_memory_mb": read_peak_memory_mb(),
            "proxy": proxy and {"training": proxy["training"], "context": proxy["context"], "seeds": proxy["seeds"], "key": proxy["key"]},
            "provenance": describe_provenance(spec["code"], "cpu", started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

"""Score the samples of a pool by one method, once for all keep fractions."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from threadpoolctl import threadpool_limits

from selectbench.data.splits import open_split, read_array
from selectbench.methods import make_method
from selectbench.records.files import digest_array, write_arrays
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.selection import score
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made

_COSTS = ("wall_s", "sample_visits", "forward_visits")
_FORWARD_SHARE = 1 / 3  # a forward pass costs about a third of a forward and backward pass


def main() -> None:
    """Write the scores, then their record with what they cost."""
    arguments = parse_arguments(__doc__, inputs=("data", "signals"), outputs=("scores", "record"))
    spec, (data,) = arguments.spec, arguments.data
    started = datetime.now(UTC)
    labels = read_array(data.parent / "pool" / "labels.npy")
    signals, method = Signals(labels=labels), make_method(spec["method"], spec["parameters"])
    for path in arguments.signals:
        signals = signals.merge(Signals.load(path))
    recorded = [read_record(find_maker(path)) for path in arguments.signals]
    paid = {record["source"]: record for record in (*(record["proxy"] for record in recorded if "proxy" in record), *recorded)}
    if "inputs" in method.needs:
        signals = replace(signals, inputs=open_split(data.parent, "pool").load(np.arange(len(labels))))
    clock = time.perf_counter()
    with threadpool_limits(spec["threads"]):
        scores = score(spec["method"], signals, seed=spec["selection_seed"], **spec["parameters"])
    score_s = time.perf_counter() - clock
    write_arrays(arguments.scores, {"scores": scores, "ids": signals.ids, "labels": signals.labels})
    write_made(
        arguments,
        {
            "status": "ok",
            "method": spec["method"],
            "parameters": spec["parameters"],
            "seed": spec["selection_seed"],
            "scores_sha256": digest_array(scores),
            "score_s": score_s,
            "peak_memory_mb": read_peak_memory_mb(),
            "proxy_share": method.proxy_share,
            "sources": {source: describe_source(record, method.proxy_share) for source, record in paid.items()},
            "provenance": describe_provenance(spec["code"], "cpu", started),
        },
    )


def describe_source(record: Mapping, proxy_share: float) -> dict:
    """Return where signals come from and what a method that needs this share of the proxy's training pays for them.

    The proxy's training is charged in proportion, its clean passes and what was measured at checkpoints as far as they lie within that
    share, an encoder in full. Visits with a backward pass count 1 each and forward-only visits a third.
    """
    if record["source"] == "proxy":
        training = record["training"]
        early = [epoch <= proxy_share * training["epochs"] + 1e-9 for epoch in training["passed_epochs"]]
        shares = dict.fromkeys(_COSTS, proxy_share) | {"forward_visits": sum(early) / len(early)}
        charged = [{name: share * training[name] for name, share in shares.items()}]
    else:
        charged = [cost for cost in record["costs"] if cost["share"] <= proxy_share + 1e-9]
    total = {name: sum(cost[name] for cost in charged) for name in _COSTS}
    return {
        "wall_s": total["wall_s"],
        "sample_visits": total["sample_visits"] + _FORWARD_SHARE * total["forward_visits"],
        "peak_memory_mb": record["peak_memory_mb"],
        **{name: record[name] for name in ("key", "seeds", "context")},
    }


if __name__ == "__main__":
    run_stage(main)

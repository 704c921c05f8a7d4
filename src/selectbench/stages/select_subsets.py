"""Turn a method's scores into subsets, one for each keep fraction."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from selectbench.methods import make_method
from selectbench.policy import count_kept
from selectbench.records.files import digest_array, read_arrays, write_arrays
from selectbench.records.provenance import describe_provenance
from selectbench.records.records import find_maker, read_record
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made


def main() -> None:
    """Write the ids kept at every keep fraction, then their record with the whole cost of selection."""
    arguments = parse_arguments(__doc__, inputs=("scores",), outputs=("subsets", "record"))
    spec, (path,) = arguments.spec, arguments.scores
    started = datetime.now(UTC)
    scored, arrays = read_record(find_maker(path)), read_arrays(path)
    method = make_method(spec["method"], spec["parameters"])
    signals = Signals(labels=arrays["labels"], ids=arrays["ids"])
    subsets, described = {}, {}
    for keep in spec["keeps"]:
        clock = time.perf_counter()
        positions = method.choose(arrays["scores"], signals, count_kept(keep, len(signals)), spec["selection_seed"])
        subsets[keep] = signals.ids[positions]
        described[keep] = {
            **describe_subset(subsets[keep], signals.labels[positions], signals.labels.max() + 1),
            "cost": describe_cost(scored, time.perf_counter() - clock),
        }
    write_arrays(arguments.subsets, subsets)
    write_made(
        arguments,
        {
            "status": "ok",
            "method": spec["method"],
            "parameters": spec["parameters"],
            "seed": spec["selection_seed"],
            "num_pool": len(signals),
            "subsets": described,
            "provenance": describe_provenance(spec["code"], "cpu", started),
        },
    )


def describe_subset(ids: np.ndarray, labels: np.ndarray, num_classes: int) -> dict:
    """Return the size, digest and class counts of a subset for its record."""
    counts = np.bincount(labels, minlength=num_classes).tolist()
    return {"failure": None, "num_kept": len(ids), "sha256": digest_array(ids), "class_counts": counts}


def describe_cost(scored: Mapping, select_s: float) -> dict:
    """Return what one subset cost: what its method pays for signals, its scores, and the selection itself; memory is the largest."""
    paid = ("wall_s", "sample_visits", "peak_memory_mb")
    sources = {name: {axis: source[axis] for axis in paid} for name, source in scored["sources"].items()}
    return {
        "proxy_share": scored["proxy_share"],
        "sources": sources,
        "score_s": scored["score_s"],
        "select_s": select_s,
        "wall_s": sum(source["wall_s"] for source in sources.values()) + scored["score_s"] + select_s,
        "sample_visits": sum(source["sample_visits"] for source in sources.values()),
        "peak_memory_mb": max([scored["peak_memory_mb"], *(source["peak_memory_mb"] for source in sources.values())]),
    }


if __name__ == "__main__":
    run_stage(main)

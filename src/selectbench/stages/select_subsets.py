"""Turn a method's scores into subsets, one for each keep fraction."""

import time
from datetime import UTC, datetime

import numpy as np

from selectbench.files import digest_array, read_arrays, write_arrays
from selectbench.methods import make_method
from selectbench.policy import count_kept
from selectbench.provenance import describe_provenance
from selectbench.records import read_record, write_record
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage

_FORWARD_SHARE = 1 / 3  # a forward pass costs about a third of a forward and backward pass


def main() -> None:
    """Write the ids kept at every keep fraction, then their record with the whole cost of selection."""
    arguments = parse_arguments(__doc__, inputs=("scores",), outputs=("subsets", "record"))
    spec, (path,) = arguments.spec, arguments.scores
    started = datetime.now(UTC)
    scored, arrays = read_record(path.with_suffix(".json")), read_arrays(path)
    method = make_method(spec["method"], spec["parameters"])
    signals = Signals(labels=arrays["labels"], ids=arrays["ids"])
    subsets, described = {}, {}
    for keep in spec["keeps"]:
        clock = time.perf_counter()
        positions = method.choose(arrays["scores"], signals, count_kept(keep, len(signals)), spec["selection_seed"])
        subsets[keep] = signals.ids[positions]
        described[keep] = {
            "num_kept": len(positions),
            "sha256": digest_array(subsets[keep]),
            "class_counts": np.bincount(signals.labels[positions], minlength=signals.labels.max() + 1).tolist(),
            "cost": describe_cost(scored, method.proxy_share, time.perf_counter() - clock),
        }
    write_arrays(arguments.subsets, subsets)
    write_record(
        arguments.record,
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


def describe_cost(scored: dict, proxy_share: float, select_s: float) -> dict:
    """Return what one subset cost: the share of the proxy the method needs, its scores, and the selection itself.

    Visits of the proxy's training count 1 each and forward-only visits a third.
    """
    training = (scored["proxy"] or {"training": {"wall_s": 0.0, "sample_visits": 0, "forward_visits": 0}})["training"]
    visits = training["sample_visits"] + _FORWARD_SHARE * training["forward_visits"]
    return {
        "proxy_share": proxy_share,
        "proxy_s": training["wall_s"],
        "score_s": scored["score_s"],
        "select_s": select_s,
        "wall_s": proxy_share * training["wall_s"] + scored["score_s"] + select_s,
        "sample_visits": proxy_share * visits,
    }


if __name__ == "__main__":
    run_stage(main)

"""Score the samples of a pool with one method, once for all keep fractions."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.methods import GreedyMethod
from selectbench.planning.stage import CollectedWork, Inputs, Output, SizeNetwork, Stage, fingerprint_stage
from selectbench.records.files import digest_array, read_sealed, write_arrays
from selectbench.records.provenance import CPU, describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._sources import find_signals
from selectbench.stages._specs import SelectionSpec, specify_selection
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.records.rows import Source

_COSTS = ("wall_s", "sample_visits", "forward_visits")
_FORWARD_SHARE = 1 / 3  # a forward pass costs about a third of a forward and backward pass
_DOUBLE = 8  # bytes


class Spec(SelectionSpec):
    """Which method scores which pool.

    Parameters
    ----------
    keep : the largest keep fraction that is taken from the scores, where greedy methods stop; 1 for all other methods
    threads : number of processors of the job
    code : fingerprint of the code, including the method's
    """

    keep: str
    threads: int
    code: str


@dataclass(frozen=True)
class ScoreSamples(Stage):
    """The scores of a pool by one method."""

    dataset: str
    proxy: str
    method: str
    seed: str

    name = "score_samples"
    reads = ("data", "signals")
    writes = {
        "scores": "{results}/scores/{dataset}/{proxy}/{method}/seed-{seed}.npz",
        "record": "{results}/scores/{dataset}/{proxy}/{method}/seed-{seed}.json",
    }
    log = "{results}/logs/score/{dataset}/{proxy}/{method}/seed-{seed}.log"
    threaded = True

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set and the signals of every source that the method needs."""
        sources = plan.config.make_static(self.method).sources()
        signals = [find_signals(plan, source, self.dataset, self.proxy, self.seed) for source in sources]
        return {"data": [Output(PrepareData(self.dataset), "manifest")], "signals": signals}

    def specify(self, plan: "Plan") -> Spec:
        """Return the method with its parameters, and where it may stop."""
        key = (self.dataset, self.proxy, self.method, self.seed)
        can_stop = isinstance(plan.config.make_static(self.method), GreedyMethod)
        return {
            **specify_selection(plan, *key),
            "keep": plan.find_largest_keep(*key) if can_stop else "1",
            "threads": self.count_threads(plan),
            "code": fingerprint_stage(self.name, f"selectbench.methods.{plan.config.method_file(self.method)}"),
        }

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int:
        """Count a score, an id and a label per sample."""
        return 3 * _DOUBLE * plan.config.datasets[self.dataset]["pool_size"]

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of scoring, without those of signals."""
        return float(record["score_s"])

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds of scoring, as the records of runs report them."""
        return collected.scoring.get((self.dataset, self.proxy, self.method, self.seed))


def main() -> None:
    """Write the scores, then their record with their cost."""
    from threadpoolctl import threadpool_limits

    from selectbench.data.check import open_unchanged
    from selectbench.data.splits import read_array
    from selectbench.methods import make_method
    from selectbench.selection import score

    arguments = parse_arguments(__doc__, ScoreSamples.reads, ScoreSamples.writes)
    spec: Spec = arguments.spec
    (data,) = arguments.data
    started = datetime.now(UTC)
    labels = read_array(data.parent / "pool" / "labels.npy")
    signals, method = Signals(labels=labels), make_method(spec["method"], spec["parameters"])
    for path in arguments.signals:
        signals = signals.merge(Signals.load(path))
    recorded = [read_record(find_maker(path)) for path in arguments.signals]
    paid = {record["source"]: record for record in (*(record["proxy"] for record in recorded if "proxy" in record), *recorded)}
    method.check_memory(labels)
    if "inputs" in method.reads:
        pool = open_unchanged(data, "pool", read_sealed(data)["splits"]["pool"])
        signals = replace(signals, inputs=pool.load(np.arange(len(labels))))
    clock = time.perf_counter()
    with threadpool_limits(spec["threads"]):
        scores = score(spec["method"], signals, keep=spec["keep"], seed=spec["selection_seed"], **spec["parameters"])
    score_s = time.perf_counter() - clock
    write_arrays(arguments.scores, {"scores": scores, "ids": signals.ids, "labels": signals.labels})
    write_made(
        arguments,
        {
            "status": "ok",
            "method": spec["method"],
            "parameters": spec["parameters"],
            "seed": spec["selection_seed"],
            "keep": spec["keep"],
            "scores_sha256": digest_array(scores),
            "score_s": score_s,
            "peak_memory_mb": read_peak_memory_mb(),
            "proxy_share": method.proxy_share,
            "sources": {source: describe_source(record, method.proxy_share, method.reads) for source, record in paid.items()},
            "provenance": describe_provenance(spec["code"], CPU, started),
        },
    )


def describe_source(record: Mapping[str, Any], proxy_share: float, reads: Collection[str] = ()) -> "Source":
    """Return where signals come from and what they cost a method that needs this share of the proxy's training and reads these signals.

    The proxy's training is charged in proportion to the share; clean passes and measurements at checkpoints are charged if they lie within
    it. An encoder is charged in full, and so are replicates, save for what only signals need that the method does not read. Visits with a
    backward pass count as 1, forward-only visits as a third.
    """
    if record["source"] == "proxy":
        training = record["training"]
        early = [epoch <= proxy_share * training["epochs"] + 1e-9 for epoch in training["passed_epochs"]]
        shares = dict.fromkeys(_COSTS, proxy_share) | {"forward_visits": sum(early) / len(early)}
        charged = [{name: share * training[name] for name, share in shares.items()}]
    else:
        needed = ("", *reads)
        charged = [cost for cost in record["costs"] if cost["share"] <= proxy_share + 1e-9 and cost.get("signal", "") in needed]
    total = {name: sum(cost[name] for cost in charged) for name in _COSTS}
    return {
        "wall_s": total["wall_s"],
        "sample_visits": total["sample_visits"] + _FORWARD_SHARE * total["forward_visits"],
        "peak_memory_mb": record["peak_memory_mb"],
        "key": record["key"],
        "seeds": record["seeds"],
        "context": record["context"],
    }


if __name__ == "__main__":
    run_stage(main)

"""Select subsets by a method's scores, one for each keep fraction."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from selectbench.planning.stage import CollectedWork, Inputs, Output, SizeNetwork, Stage, fingerprint_stage
from selectbench.policy import count_kept
from selectbench.records.files import digest_array, read_arrays, write_arrays
from selectbench.records.provenance import CPU, describe_provenance
from selectbench.records.records import find_maker, read_record
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import SelectionSpec, specify_selection
from selectbench.stages.score_samples import ScoreSamples

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan

_ID = 8  # bytes


class Spec(SelectionSpec):
    """Which subsets are selected by a method's scores.

    Parameters
    ----------
    keeps : keep fractions, ascending
    code : fingerprint of the code, including the method's
    """

    keeps: list[str]
    code: str


@dataclass(frozen=True)
class SelectSubsets(Stage):
    """The subsets that are selected by one method's scores, at all keep fractions."""

    dataset: str
    proxy: str
    method: str
    seed: str

    name = "select_subsets"
    reads = ("scores",)
    writes = {
        "subsets": "{results}/subsets/{dataset}/{proxy}/{method}/seed-{seed}.npz",
        "record": "{results}/subsets/{dataset}/{proxy}/{method}/seed-{seed}.json",
    }
    log = "{results}/logs/select/{dataset}/{proxy}/{method}/seed-{seed}.log"

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Exclude the methods whose subsets an agent or other code chooses."""
        others = "|".join(plan.config.list_learned() + plan.config.list_searches() + plan.config.list_given()) or "$"
        return {"method": f"(?!({others})/)[a-z0-9_]+"}

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the scores."""
        return {"scores": [Output(ScoreSamples(self.dataset, self.proxy, self.method, self.seed), "scores")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return the method and the keep fractions that runs need."""
        return {
            **specify_selection(plan, self.dataset, self.proxy, self.method, self.seed),
            "keeps": plan.list_keeps(self.dataset, self.proxy, self.method, self.seed),
            "code": fingerprint_stage(self.name, f"selectbench.methods.{plan.config.method_file(self.method)}"),
        }

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int:
        """Count the ids of all subsets."""
        return size_subsets(plan, self.dataset, plan.list_keeps(self.dataset, self.proxy, self.method, self.seed))

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the selection, without those of scores and signals."""
        return float(sum(subset["cost"]["select_s"] for subset in record["subsets"].values()))

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds of the selection, as the records of runs report them."""
        return collected.choosing.get((self.dataset, self.proxy, self.method, self.seed))


def size_subsets(plan: "Plan", dataset: str, keeps: list[str]) -> int:
    """Return the number of bytes that the ids of a pool's subsets take."""
    return _ID * sum(count_kept(keep, plan.config.datasets[dataset]["pool_size"]) for keep in keeps)


def main() -> None:
    """Write the ids kept at every keep fraction, then their record with the total cost of selection."""
    from selectbench.methods import make_method
    from selectbench.selection import choose_kept

    arguments = parse_arguments(__doc__, SelectSubsets.reads, SelectSubsets.writes)
    spec: Spec = arguments.spec
    (path,) = arguments.scores
    started = datetime.now(UTC)
    scored, arrays = read_record(find_maker(path)), read_arrays(path)
    method = make_method(spec["method"], spec["parameters"])
    signals = Signals(labels=arrays["labels"], ids=arrays["ids"])
    subsets, described = {}, {}
    for keep in spec["keeps"]:
        clock = time.perf_counter()
        positions = choose_kept(spec["method"], method, arrays["scores"], signals, count_kept(keep, len(signals)), spec["selection_seed"])
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
            "provenance": describe_provenance(spec["code"], CPU, started),
        },
    )


class Taken(TypedDict):
    """A subset, for the record of its keep fraction.

    Parameters
    ----------
    failure : why there is no subset, or None
    num_kept : k, or 0 after a failure
    sha256 : digest of the ids, in order; None after a failure
    class_counts : kept samples of each class; None after a failure
    """

    failure: str | None
    num_kept: int
    sha256: str | None
    class_counts: list[int] | None


def describe_subset(ids: np.ndarray, labels: np.ndarray, num_classes: int) -> Taken:
    """Return the size, digest and class counts of a subset for its record."""
    counts = np.bincount(labels, minlength=num_classes).tolist()
    return {"failure": None, "num_kept": len(ids), "sha256": digest_array(ids), "class_counts": counts}


def describe_cost(scored: Mapping[str, Any], select_s: float) -> dict[str, Any]:
    """Return the cost of one subset, summed over the signals its method pays for, scoring, and selection; memory is their maximum."""
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

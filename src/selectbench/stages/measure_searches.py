"""Measure what misleads searches: incoherent clusters, clusters that interact, and losses that hold on the validation texts only."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.policy import count_kept
from selectbench.records.files import read_arrays, read_sealed
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.rl.ranks import rank_correlation
from selectbench.seeds import derive_seed
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._sources import find_clusters, find_embeddings
from selectbench.stages._specs import TrainingSpec, specify_training
from selectbench.stages.measure_validity import KEEP, SUBSETS
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.search_clusters import SearchClusters

if TYPE_CHECKING:
    from selectbench.llm.clusters import Coherence
    from selectbench.planning.plan import Plan
    from selectbench.rl.propositions import Proposition

PROPOSITIONS = ("coherence", "additivity", "overestimation")  # that this stage measures
ENUMERATION = "exhaustive_clusters"  # the agent that measures all sets


class Spec(TrainingSpec):
    """Which proxies are trained.

    Parameters
    ----------
    seed : of the searches
    keep : keep fraction of the sets that are compared
    subsets : number of random sets that they are compared with
    state : folder of the checkpoints
    code : fingerprint of the code
    """

    seed: int
    keep: float
    subsets: int
    state: str
    code: str


@dataclass(frozen=True)
class MeasureSearches(Stage):
    """The measurement of what misleads the searches on one data set with one seed."""

    dataset: str
    proxy: str
    seed: str

    name = "measure_searches"
    reads = ("data", "embeddings", "clusters", "found", "enumerated")
    writes = {"record": "{results}/searched/{dataset}/{proxy}/seed-{seed}.json"}
    log = "{results}/logs/searched/{dataset}/{proxy}/seed-{seed}.log"
    computes = threaded = True

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the data, its embeddings and clusters, what agents found among these, and what an enumeration of few clusters measured."""
        clusters = find_clusters(plan, self.dataset, self.seed)
        runs = [run for run in plan.runs.values() if (run.dataset, run.proxy, str(run.seed)) == (self.dataset, self.proxy, self.seed)]
        methods = [name for name in sorted({run.method for run in runs}) if plan.config.is_search(name)]
        few = [name for name in methods if plan.config.method_file(name) == ENUMERATION]
        found = [name for name in methods if name not in few and find_clusters(plan, self.dataset, self.seed, name) == clusters]
        return {
            "data": [Output(PrepareData(self.dataset), "manifest")],
            "embeddings": find_embeddings(plan, self.dataset, self.proxy),
            "clusters": [clusters],
            "found": [Output(SearchClusters(self.dataset, self.proxy, name, self.seed), "states") for name in found],
            "enumerated": [Output(SearchClusters(self.dataset, self.proxy, name, self.seed), "states") for name in few],
        }

    def specify(self, plan: "Plan") -> Spec:
        """Return how proxies are trained, and on how many random sets."""
        return {
            **specify_training(plan, "proxy", self.dataset, self.proxy),
            "seed": int(self.seed),
            "keep": KEEP,
            "subsets": SUBSETS,
            "state": f"{plan.folder}/state/searched/{self.dataset}/{self.proxy}/seed-{self.seed}",
            "code": fingerprint_stage(self.name),
        }

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of all trainings."""
        return float(record["wall_s"])


def main() -> None:
    """Train a proxy on every set that was found and on random ones, and write the record."""
    from selectbench.llm.clusters import cap_union, count_chosen, draw_sets
    from selectbench.stages._texts import make_family, train_and_measure
    from selectbench.training.devices import describe_device

    arguments = parse_arguments(__doc__, MeasureSearches.reads, MeasureSearches.writes)
    spec: Spec = arguments.spec
    (data,), (clusters,) = arguments.data, arguments.clusters
    started, clock = datetime.now(UTC), time.perf_counter()
    assignment, test = read_arrays(clusters)["assignment"], spec["id_test_set"]
    num_clusters, num_kept = int(assignment.max()) + 1, count_kept(spec["keep"], len(assignment))
    searches = [search for search in read_searches(arguments.found) if float(search["keep"]) == spec["keep"] and search["best"] is not None]
    seed = derive_seed("searched", spec["dataset"], spec["seed"])
    drawn = draw_sets(num_clusters, count_chosen(spec["keep"], num_clusters), spec["subsets"], seed)
    family = make_family(spec, data, next(iter(arguments.embeddings), None))
    pools = {name: family.open_split(name) for name in ("pool", "validation", test)}
    stream = ("proxy", spec["dataset"], spec["seed"])  # that of the searches, whose proxies these are
    losses: dict[tuple[int, ...], tuple[float, float]] = {}
    for chosen in dict.fromkeys([*(tuple(search["best"]) for search in searches), *drawn]):
        ids = cap_union(assignment, chosen, num_kept, derive_seed("cap", spec["dataset"], spec["seed"]))
        outcomes = train_and_measure(family, spec, ids, stream, pools, Path(spec["state"]) / "proxy.pt").outcomes
        losses[chosen] = (cast("float", outcomes["validation"]["loss"]), cast("float", outcomes[test]["loss"]))  # texts are always readable
    propositions = {"coherence": describe_coherence(read_record(find_maker(clusters))["coherence"])}
    if enumerated := read_searches(arguments.enumerated):
        propositions["additivity"] = describe_orders(enumerated[0])
    if searches:
        propositions["overestimation"] = describe_gaps(searches, drawn, losses)
    write_made(
        arguments,
        {
            "status": "ok",
            "dataset": spec["dataset"],
            "seed": spec["seed"],
            "seeds": {"sets": seed},
            "propositions": propositions,
            "wall_s": time.perf_counter() - clock,
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(family.device), started),
        },
    )


def read_searches(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what agents explored, one entry per agent and keep fraction."""
    return [search for path in paths for search in read_sealed(path)["searches"]]


def describe_coherence(coherence: "Coherence") -> "Proposition":
    """Return the silhouette of every cluster by the share of its most frequent label."""
    from selectbench.rl.propositions import describe

    silhouettes = np.array([np.nan if value is None else value for value in coherence["silhouettes"]])
    statistic: dict[str, float | None] = {"silhouette": coherence["silhouette"], "purity": coherence["purity"]}
    known = np.isfinite(silhouettes)
    purities = np.array(coherence["purities"])[known]
    return describe("share of the largest label", "mean silhouette of a cluster", purities, silhouettes[known], statistic)


def describe_orders(search: Mapping[str, Any]) -> "Proposition":
    """Return the losses of all sets by the sums of their clusters' contributions, with the shares of variance by order."""
    from selectbench.llm.signatures import split_by_order
    from selectbench.rl.propositions import describe

    losses = {tuple(state["chosen"]): float(state["loss"]) for state in search["states"] if len(state["chosen"]) == search["horizon"]}
    orders = split_by_order(losses)
    shares = None if orders.shares is None else [*orders.shares, 0.0, 0.0]
    statistic: dict[str, float | None] = {
        "clusters": shares[0] if shares else None,
        "pairs": shares[1] if shares else None,
        "larger_sets": sum(shares[2:]) if shares else None,
    }
    values = np.array([losses[chosen] for chosen in sorted(losses)])
    statistic["spearman"] = rank_correlation(orders.sums, values)
    return describe("sum of the contributions of single clusters", "validation loss of the proxy", orders.sums, values, statistic)


def describe_gaps(
    searches: Sequence[Mapping[str, Any]], drawn: Sequence[tuple[int, ...]], losses: Mapping[tuple[int, ...], tuple[float, float]]
) -> "Proposition":
    """Return by how much validation underestimates the losses of the sets that agents found, by the number of proxies they trained.

    Parameters
    ----------
    searches : with the best set of each
    drawn : random sets
    losses : set → loss of its proxy on validation and on test texts
    """
    from selectbench.llm.signatures import find_gaps
    from selectbench.rl.propositions import describe

    trainings = np.array([float(len(search["states"])) for search in searches])
    found, random = ([losses[chosen] for chosen in sets] for sets in ([tuple(search["best"]) for search in searches], drawn))
    gaps = find_gaps(np.array(found), np.array(random))
    statistic = {"gap": float(gaps.mean()), "spearman": rank_correlation(trainings, gaps)}
    return describe("proxies trained by the search", "test loss − validation loss, beyond that of random sets", trainings, gaps, statistic)


if __name__ == "__main__":
    run_stage(main)

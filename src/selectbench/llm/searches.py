"""An agent's search, timed and described for the record of its subset."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selectbench.errors import SelectionFailedError
from selectbench.llm.agents import ClusterAgent, Effort, Found
from selectbench.llm.values import CountedValues
from selectbench.records.provenance import read_peak_memory_mb
from selectbench.records.records import tabulate
from selectbench.records.rows import Search, Source

if TYPE_CHECKING:
    from selectbench.training.choices import SubsetCost, SubsetEntry


def search_subset(
    agent: ClusterAgent, values: CountedValues, horizon: int, seed: int, paid: Mapping[str, Source]
) -> tuple[tuple[int, ...] | None, "SubsetEntry"]:
    """Let an agent search; return the chosen clusters and their description, which is a failure if no set was completed.

    Parameters
    ----------
    agent : has its number of clusters and of proxy trainings
    values : measures sets of clusters
    horizon : clusters in a complete set
    seed : of the agent
    paid : the costs of embedding and clustering, as sources
    """
    clock, effort = time.perf_counter(), Effort()
    try:
        found: Found | None = agent.search(values, agent.clusters, horizon, seed, effort)
        failure = None
    except SelectionFailedError as error:
        found, failure = None, str(error)
    chosen = None if found is None else found.chosen
    search_s = time.perf_counter() - clock
    history = values.history
    trained_s = sum(measured["wall_s"] for _, measured in history)
    # a resumed search replays its measurements in no time; their seconds were spent before it was killed
    wall_s = max(search_s, trained_s)
    agent_source: Source = {
        "wall_s": wall_s,
        "sample_visits": sum(measured["sample_visits"] for _, measured in history),
        "peak_memory_mb": read_peak_memory_mb(),
    }
    sources: dict[str, Source] = {**paid, "agent": agent_source}
    measured_sets = dict(history)
    complete = [(place, measured) for place, (asked, measured) in enumerate(history, start=1) if len(asked) == horizon]
    search: Search = {
        "trainings": values.count,
        "limit": agent.trainings,
        "completed": len(complete),
        "updates": effort.updates,
        "clusters": agent.clusters,
        "horizon": horizon,
        "chosen": None if chosen is None else list(chosen),
        "value": None if found is None else found.value,
        "proxy_loss": None if chosen is None else measured_sets[chosen]["loss"],
        "proxy_top1": None if chosen is None else measured_sets[chosen]["top1"],
        "empty_loss": measured_sets[()]["loss"] if () in measured_sets else None,
        "tokens": sum(int(measured["tokens"]) for _, measured in history),
        "examples": sum(int(measured["examples"]) for _, measured in history),
        "trained_s": trained_s,
    }
    best = None if chosen is None else next(place for place, (asked, _) in enumerate(history, start=1) if asked == chosen)
    cost: SubsetCost = {
        "proxy_share": 0.0,
        "sources": sources,
        "score_s": 0.0,
        "select_s": 0.0,
        "wall_s": sum(source["wall_s"] for source in sources.values()),
        "sample_visits": sum(source["sample_visits"] for source in sources.values()),
        "peak_memory_mb": max(source["peak_memory_mb"] or 0.0 for source in sources.values()),
        "trajectory": tabulate(follow_best(complete, len(history)), best),
    }
    return chosen, {"failure": failure, "num_kept": 0, "sha256": None, "class_counts": None, "search": search, "cost": cost}


def follow_best(complete: Sequence[tuple[int, Mapping[str, float]]], num: int) -> list[dict[str, float | None]]:
    """Return the lowest loss of any complete set so far after each proxy training, None before the first.

    Parameters
    ----------
    complete : number of the training (from 1) and its measurements, for each complete set
    num : number of trainings
    """
    losses = {place: measured["loss"] for place, measured in complete}
    best: float | None = None
    rows: list[dict[str, float | None]] = []
    for place in range(1, num + 1):
        if place in losses and (best is None or losses[place] < best):
            best = losses[place]
        rows.append({"epoch": place, "proxy_loss": best})
    return rows


def describe_clustering(record: Mapping[str, Any]) -> Source:
    """Return the cost of a clustering as a source; it visits no samples."""
    return {"wall_s": record["wall_s"], "sample_visits": 0.0, "peak_memory_mb": record["peak_memory_mb"]}

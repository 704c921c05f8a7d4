"""An agent's search, timed and described for the record of its subset."""

import time
from collections.abc import Mapping
from typing import Any

from selectbench.errors import SelectionFailedError
from selectbench.llm.agents import ClusterAgent
from selectbench.llm.values import CountedValues
from selectbench.records.provenance import read_peak_memory_mb
from selectbench.records.records import tabulate


def search_subset(
    agent: ClusterAgent, values: CountedValues, horizon: int, seed: int, paid: Mapping[str, dict]
) -> tuple[tuple[int, ...] | None, dict]:
    """Let an agent search and return the clusters it chose and their description; a search that completes no set is described as failed.

    Parameters
    ----------
    agent : with its number of clusters and of proxy trainings
    values : of sets of clusters
    horizon : clusters of a complete set
    seed : of the agent
    paid : what embedding and clustering cost, as sources
    """
    clock = time.perf_counter()
    try:
        found = agent.search(values, agent.clusters, horizon, seed)
        chosen, failure = found.chosen, None
    except SelectionFailedError as error:
        chosen, failure = None, str(error)
    search_s = time.perf_counter() - clock
    history = values.history
    trained_s = sum(measured["wall_s"] for _, measured in history)
    # a search that was killed replays what it had measured: those seconds were paid before
    wall_s = max(search_s, trained_s)
    agent_source = {
        "wall_s": wall_s,
        "sample_visits": sum(measured["sample_visits"] for _, measured in history),
        "peak_memory_mb": read_peak_memory_mb(),
    }
    sources = {**paid, "agent": agent_source}
    measured_sets = dict(history)
    complete = [(place, measured) for place, (asked, measured) in enumerate(history, start=1) if len(asked) == horizon]
    search = {
        "trainings": values.count,
        "limit": agent.trainings,
        "clusters": agent.clusters,
        "horizon": horizon,
        "chosen": None if chosen is None else list(chosen),
        "value": None if chosen is None else found.value,
        "proxy_loss": None if chosen is None else measured_sets[chosen]["loss"],
        "proxy_top1": None if chosen is None else measured_sets[chosen]["top1"],
        "empty_loss": measured_sets[()]["loss"] if () in measured_sets else None,
        "tokens": sum(measured["tokens"] for _, measured in history),
        "examples": sum(measured["examples"] for _, measured in history),
        "trained_s": trained_s,
    }
    best = None if chosen is None else next(place for place, (asked, _) in enumerate(history, start=1) if asked == chosen)
    cost = {
        "proxy_share": 0.0,
        "sources": sources,
        "score_s": 0.0,
        "select_s": 0.0,
        "wall_s": sum(source["wall_s"] for source in sources.values()),
        "sample_visits": sum(source["sample_visits"] for source in sources.values()),
        "peak_memory_mb": max(source["peak_memory_mb"] for source in sources.values()),
        "trajectory": tabulate(follow_best(complete, len(history)), best),
    }
    empty = {"failure": failure, "num_kept": 0, "sha256": None, "class_counts": None}
    return chosen, {**empty, "search": search, "cost": cost}


def follow_best(complete: list[tuple[int, Mapping]], num: int) -> list[dict]:
    """Return the least loss of a complete set after each proxy training, None before the first.

    Parameters
    ----------
    complete : (number of the training, from 1; what it measured)
    num : of trainings
    """
    losses = {place: measured["loss"] for place, measured in complete}
    best, rows = None, []
    for place in range(1, num + 1):
        if place in losses and (best is None or losses[place] < best):
            best = losses[place]
        rows.append({"epoch": place, "proxy_loss": best})
    return rows


def describe_clustering(record: Mapping) -> dict:
    """Return what a clustering cost, as a source; it trains nothing."""
    return {"wall_s": record["wall_s"], "sample_visits": 0.0, "peak_memory_mb": record["peak_memory_mb"]}

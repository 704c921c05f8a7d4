"""Let an agent search clusters of texts by training proxies, and write the subsets it finds and the states it explored."""

import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from selectbench.errors import SelectionFailedError
from selectbench.llm.agents import ClusterAgent, make_agent
from selectbench.llm.clusters import cap_union
from selectbench.llm.values import CountedValues
from selectbench.policy import count_kept
from selectbench.records.files import digest_value, read_arrays, read_json, write_arrays, write_json
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record, tabulate
from selectbench.seeds import derive_seed
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._texts import make_family, train_and_measure
from selectbench.stages.score_samples import describe_source
from selectbench.stages.select_subsets import describe_subset
from selectbench.training.pools import name_device


def main() -> None:
    """Write the ids kept at every keep fraction and the explored states, then the record with the cost of each."""
    arguments = parse_arguments(__doc__, inputs=("data", "embedded", "embeddings", "clusters"), outputs=("subsets", "states", "record"))
    spec, (data,), (embedded,), (clusters,) = arguments.spec, arguments.data, arguments.embedded, arguments.clusters
    started = datetime.now(UTC)
    family = make_family(spec, data, next(iter(arguments.embeddings), None))
    pools = {name: family.open_split(name) for name in ("pool", "validation")}
    agent, assignment = make_agent(spec["method"], spec["parameters"]), read_arrays(clusters)["assignment"]
    paid = {
        "encoder": describe_source(read_record(find_maker(embedded)), 0.0),
        "clusters": describe_clustering(read_record(find_maker(clusters))),
    }
    key = digest_value({"spec": spec, "data": read_json(data)["splits"], "clusters": assignment.tolist(), "start": family.start})
    cap_seed = derive_seed("cap", spec["dataset"], spec["seed"])  # shared by all agents, so that they search one set function
    subsets, described, explored = {}, {}, []
    for keep in spec["keeps"]:
        num_kept = count_kept(keep, len(assignment))
        horizon = max(1, round(float(keep) * agent.clusters))
        state = Path(spec["state"]) / f"keep-{keep}"
        most = min(agent.examples or num_kept, num_kept)

        def measure(chosen: tuple[int, ...], most: int = most, state: Path = state) -> dict[str, float]:
            ids = cap_union(assignment, chosen, most, cap_seed)
            measured = train_and_measure(family, spec, ids, ("proxy", spec["dataset"], spec["seed"]), pools, state / "proxy.pt")
            return {**measured["cost"], "loss": measured["validation"]["loss"], "top1": measured["validation"]["top1"]}

        values = CountedValues(measure, agent.trainings or None, state / "values.jsonl", key)
        chosen, described[keep] = search_subset(agent, values, horizon, derive_seed(spec["selection_seed"], keep), paid)
        if chosen is not None:
            subsets[keep] = cap_union(assignment, chosen, num_kept, cap_seed)
            labels = pools["pool"].labels.cpu().numpy()[subsets[keep]]
            described[keep] |= describe_subset(subsets[keep], labels, spec["num_classes"])
        states = [{"chosen": list(asked), "loss": found["loss"], "top1": found["top1"]} for asked, found in values.history]
        explored.append({"keep": keep, "horizon": horizon, "best": None if chosen is None else list(chosen), "states": states})
        print(f"{spec['method_name']}, keep {keep}: {described[keep]['failure'] or 'found'} after {values.count} proxy trainings")
    write_arrays(arguments.subsets, subsets)
    axes = {"dataset": spec["dataset"], "method": spec["method_name"], "title": spec["title"], "seed": spec["seed"]}
    write_json(arguments.states, {"searches": [{**axes, "clusters": agent.clusters, **found} for found in explored]})
    write_made(
        arguments,
        {
            "status": "ok",
            "method": spec["method"],
            "parameters": spec["parameters"],
            "seed": spec["selection_seed"],
            "num_pool": len(assignment),
            "recipe": spec["recipe"],
            "model": spec["model"],
            "subsets": described,
            "provenance": describe_provenance(spec["code"], name_device(family.device), started),
        },
    )
    shutil.rmtree(spec["state"], ignore_errors=True)


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


if __name__ == "__main__":
    run_stage(main)

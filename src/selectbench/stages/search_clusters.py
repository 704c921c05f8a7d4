"""Let an agent search clusters of texts by training proxies, and write the subsets it finds and the states it explored."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selectbench.planning.stage import CollectedWork, Inputs, Output, SizeNetwork, Stage, fingerprint_stage
from selectbench.policy import count_kept
from selectbench.records.files import digest_value, read_arrays, read_sealed, write_arrays, write_sealed
from selectbench.records.provenance import describe_provenance
from selectbench.records.records import find_maker, read_record
from selectbench.seeds import derive_seed
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._sources import find_clusters, find_embeddings, find_signals
from selectbench.stages._specs import SelectorSpec, specify_selection, specify_training
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.select_subsets import size_subsets

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


class Spec(SelectorSpec):
    """Which agent searches, with which proxy.

    Parameters
    ----------
    title : of the method's entry
    """

    title: str


@dataclass(frozen=True)
class SearchClusters(Stage):
    """The search of one agent for clusters of texts, at all keep fractions."""

    dataset: str
    proxy: str
    method: str
    seed: str

    name = "search_clusters"
    reads = ("data", "embedded", "embeddings", "clusters")
    writes = {
        "subsets": "{results}/subsets/{dataset}/{proxy}/{method}/seed-{seed}.npz",
        "states": "{results}/searches/{dataset}/{proxy}/{method}/seed-{seed}.json",
        "record": "{results}/subsets/{dataset}/{proxy}/{method}/seed-{seed}.json",
    }
    log = "{results}/logs/searches/{dataset}/{proxy}/{method}/seed-{seed}.log"
    computes = threaded = True

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``method`` to agents that search clusters."""
        return {"method": "|".join(plan.config.list_searches()) or "$"}

    def _list_keeps(self, plan: "Plan") -> list[str]:
        return plan.list_keeps(self.dataset, self.proxy, self.method, self.seed)

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set, the pool's embeddings, those of all splits if a head reads them, and the clusters."""
        return {
            "data": [Output(PrepareData(self.dataset), "manifest")],
            "embedded": [find_signals(plan, "encoder", self.dataset, self.proxy, self.seed)],
            "embeddings": find_embeddings(plan, self.dataset, self.proxy),
            "clusters": [find_clusters(plan, self.dataset, self.seed, self.method)],
        }

    def specify(self, plan: "Plan") -> Spec:
        """Return the agent, its proxy and the keep fractions that runs need."""
        return {
            **specify_training(plan, "proxy", self.dataset, self.proxy),
            **specify_selection(plan, self.dataset, self.proxy, self.method, self.seed),
            "method_name": self.method,
            "title": plan.config.methods[self.method]["title"],
            "keeps": self._list_keeps(plan),
            "state": f"{plan.folder}/state/searches/{self.dataset}/{self.proxy}/{self.method}/seed-{self.seed}",
            "code": fingerprint_stage(self.name, f"selectbench.llm.agents.{plan.config.method_file(self.method)}"),
        }

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int:
        """Count the ids of all subsets."""
        return size_subsets(plan, self.dataset, self._list_keeps(plan))

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of all searches."""
        return float(sum(subset["cost"]["sources"]["agent"]["wall_s"] for subset in record["subsets"].values()))

    def recall_work(self, collected: CollectedWork) -> float | None:
        """Return the seconds of the agents, as the records of runs report them."""
        return collected.choosing.get((self.dataset, self.proxy, self.method, self.seed))


def main() -> None:
    """Write the ids kept at every keep fraction and the explored states, then the record with the cost of each."""
    from selectbench.llm.agents import make_agent
    from selectbench.llm.clusters import cap_union, count_chosen
    from selectbench.llm.searches import describe_clustering, search_subset
    from selectbench.llm.values import CountedValues
    from selectbench.stages._texts import make_family, train_and_measure
    from selectbench.stages.score_samples import describe_source
    from selectbench.stages.select_subsets import describe_subset
    from selectbench.training.devices import describe_device

    arguments = parse_arguments(__doc__, SearchClusters.reads, SearchClusters.writes)
    spec: Spec = arguments.spec
    (data,), (embedded,), (clusters,) = arguments.data, arguments.embedded, arguments.clusters
    started = datetime.now(UTC)
    family = make_family(spec, data, next(iter(arguments.embeddings), None))
    pools = {name: family.open_split(name) for name in ("pool", "validation")}
    agent, assignment = make_agent(spec["method"], spec["parameters"]), read_arrays(clusters)["assignment"]
    paid = {
        "encoder": describe_source(read_record(find_maker(embedded)), 0.0),
        "clusters": describe_clustering(read_record(find_maker(clusters))),
    }
    key = digest_value({"spec": spec, "data": read_sealed(data)["splits"], "clusters": assignment.tolist(), "start": family.start})
    cap_seed = derive_seed("cap", spec["dataset"], spec["seed"])  # shared by all agents, so that they search the same set function
    subsets, described, explored = {}, {}, []
    for keep in spec["keeps"]:
        num_kept = count_kept(keep, len(assignment))
        horizon = count_chosen(keep, agent.clusters)
        state = Path(spec["state"]) / f"keep-{keep}"
        most = min(agent.examples or num_kept, num_kept)

        def measure(chosen: tuple[int, ...], most: int = most, state: Path = state) -> dict[str, float]:
            ids = cap_union(assignment, chosen, most, cap_seed)
            measured = train_and_measure(family, spec, ids, ("proxy", spec["dataset"], spec["seed"]), pools, state / "proxy.pt")
            validation = measured.outcomes["validation"]
            loss, top1 = cast("float", validation["loss"]), cast("float", validation["top1"])  # texts are always readable
            return {**measured.cost, "loss": loss, "top1": top1}

        values = CountedValues(measure, agent.trainings or None, state / "values.jsonl", key)
        chosen, described[keep] = search_subset(agent, values, horizon, derive_seed(spec["selection_seed"], keep), paid)
        if chosen is not None:
            subsets[keep] = cap_union(assignment, chosen, num_kept, cap_seed)
            labels = pools["pool"].labels.cpu().numpy()[subsets[keep]]
            described[keep] = {**described[keep], **describe_subset(subsets[keep], labels, spec["num_classes"])}
        states = [{"chosen": list(asked), "loss": found["loss"], "top1": found["top1"]} for asked, found in values.history]
        explored.append({"keep": keep, "horizon": horizon, "best": None if chosen is None else list(chosen), "states": states})
        print(f"{spec['method_name']}, keep {keep}: {described[keep]['failure'] or 'found'} after {values.count} proxy trainings")
    write_arrays(arguments.subsets, subsets)
    axes = {"dataset": spec["dataset"], "method": spec["method_name"], "title": spec["title"], "seed": spec["seed"]}
    write_sealed(arguments.states, {"searches": [{**axes, "clusters": agent.clusters, **found} for found in explored]})
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
            "provenance": describe_provenance(spec["code"], describe_device(family.device), started),
        },
    )
    shutil.rmtree(spec["state"], ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)

"""Compare proxies with targets: train both on the same random sets of clusters and correlate their results."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.policy import count_kept
from selectbench.records.files import read_arrays
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.rl.ranks import rank_correlation
from selectbench.seeds import derive_seed
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._sources import find_clusters, find_embeddings
from selectbench.stages._specs import TrainingSpec, specify_training
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.rl.propositions import Proposition
    from selectbench.stages._texts import Trained

SUBSETS, KEEP = 30, 0.05  # random sets of clusters on which proxies are compared with targets


class Spec(TypedDict):
    """Which proxy is compared with which target.

    Parameters
    ----------
    proxy, target : how each is trained
    dataset : its id
    gpu : number of GPUs to lease
    threads : number of processors of the job
    seed : of the run
    keep : keep fraction of the sets
    subsets : number of sets
    state : folder of the checkpoints
    code : fingerprint of the code
    """

    proxy: TrainingSpec
    target: TrainingSpec
    dataset: str
    gpu: int
    threads: int
    seed: int
    keep: float
    subsets: int
    state: str
    code: str


@dataclass(frozen=True)
class MeasureValidity(Stage):
    """The comparison of proxies with targets on random sets of clusters."""

    dataset: str
    proxy: str
    target: str
    seed: str

    name = "measure_validity"
    reads = ("data", "embeddings", "clusters")
    writes = {"record": "{results}/validity/{dataset}/{proxy}-to-{target}/seed-{seed}.json"}
    log = "{results}/logs/validity/{dataset}/{proxy}-to-{target}/seed-{seed}.log"
    computes = threaded = True

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``target`` to ids of models."""
        return {"target": "[a-z0-9_]+"}

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set, the embeddings that heads read, and the clusters."""
        return {
            "data": [Output(PrepareData(self.dataset), "manifest")],
            "embeddings": find_embeddings(plan, self.dataset, self.proxy, self.target),
            "clusters": [find_clusters(plan, self.dataset, self.seed)],
        }

    def specify(self, plan: "Plan") -> Spec:
        """Return how both are trained, and on how many sets."""
        return {
            "proxy": specify_training(plan, "proxy", self.dataset, self.proxy),
            "target": specify_training(plan, "target", self.dataset, self.target),
            "dataset": self.dataset,
            "gpu": self.count_gpus(plan),
            "threads": self.count_threads(plan),
            "seed": int(self.seed),
            "keep": KEEP,
            "subsets": SUBSETS,
            "state": f"{plan.folder}/state/validity/{self.dataset}/{self.proxy}-to-{self.target}/seed-{self.seed}",
            "code": fingerprint_stage(self.name),
        }

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of all trainings."""
        return float(record["wall_s"])


def main() -> None:
    """Train the proxy and the target on every set of clusters and write the record."""
    from selectbench.llm.clusters import cap_union, count_chosen, draw_sets
    from selectbench.stages._texts import make_family, train_and_measure
    from selectbench.training.devices import describe_device

    arguments = parse_arguments(__doc__, MeasureValidity.reads, MeasureValidity.writes)
    spec: Spec = arguments.spec
    (data,), (clusters,) = arguments.data, arguments.clusters
    started, clock = datetime.now(UTC), time.perf_counter()
    assignment, seed = read_arrays(clusters)["assignment"], derive_seed("validity", spec["dataset"], spec["seed"])
    num_clusters, num_kept = int(assignment.max()) + 1, count_kept(spec["keep"], len(assignment))
    sets = draw_sets(num_clusters, count_chosen(spec["keep"], num_clusters), spec["subsets"], seed)
    ids = [cap_union(assignment, chosen, num_kept, seed) for chosen in sets]
    measured = {}
    for role, training in (("proxy", spec["proxy"]), ("target", spec["target"])):
        family = make_family(training, data, next(iter(arguments.embeddings), None))
        names = ("pool", "validation", training["id_test_set"])
        pools, stream = {name: family.open_split(name) for name in names}, (role, spec["dataset"], spec["seed"])
        state = Path(spec["state"]) / f"{role}.pt"
        measured[role] = [train_and_measure(family, training, subset, stream, pools, state) for subset in ids]
    write_made(
        arguments,
        {
            "status": "ok",
            "seed": spec["seed"],
            "seeds": {"sets": seed},
            "dataset": spec["dataset"],
            "propositions": compare(measured, spec["target"]["id_test_set"]),
            "sets": [list(chosen) for chosen in sets],
            "wall_s": time.perf_counter() - clock,
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], describe_device(family.device), started),
        },
    )


def compare(measured: "Mapping[str, Sequence[Trained]]", test_set: str) -> "dict[str, Proposition]":
    """Return how well validation loss and accuracy of proxies, and the number of examples, predict the targets' test accuracy.

    Parameters
    ----------
    measured : role → set by set, what ``train_and_measure`` returned
    test_set : the test set that targets are reported on
    """
    from selectbench.rl.propositions import describe

    target = np.array([found.outcomes[test_set]["top1"] for found in measured["target"]])
    validated = [found.outcomes["validation"] for found in measured["proxy"]]
    loss, top1 = np.array([outcome["loss"] for outcome in validated]), np.array([outcome["top1"] for outcome in validated])
    examples = np.array([found.cost["examples"] for found in measured["proxy"]], dtype=np.float64)
    predictors = {
        "proxy_loss": ("negative validation loss of the proxy", -loss),
        "proxy_accuracy": ("validation accuracy of the proxy (%)", top1),
        "examples": ("examples in the clusters", examples),
    }
    return {
        name: describe(label, "test accuracy of the target (%)", values, target, {"spearman": rank_correlation(values, target)})
        for name, (label, values) in predictors.items()
    }


if __name__ == "__main__":
    run_stage(main)

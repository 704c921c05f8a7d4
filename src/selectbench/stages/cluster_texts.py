"""Cluster a pool of texts by their embeddings, and measure how coherent the clusters are."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import write_arrays
from selectbench.records.provenance import CPU, describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.seeds import derive_seed
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages._specs import DataSpec, specify_data
from selectbench.stages.embed_texts import EmbedTexts

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


class Spec(DataSpec):
    """How a pool is clustered.

    Parameters
    ----------
    clustering : ``kmeans`` or ``stratified``
    clusters : number of clusters
    seed : of the run
    code : fingerprint of the code
    """

    clustering: str
    clusters: int
    seed: int
    code: str


@dataclass(frozen=True)
class ClusterTexts(Stage):
    """One clustering of a pool of texts."""

    dataset: str
    clustering: str
    clusters: str
    seed: str

    name = "cluster_texts"
    reads = ("signals",)
    writes = {
        "clusters": "{results}/clusters/{dataset}/{clustering}-{clusters}/seed-{seed}.npz",
        "record": "{results}/clusters/{dataset}/{clustering}-{clusters}/seed-{seed}.json",
    }
    log = "{results}/logs/clusters/{dataset}/{clustering}-{clusters}/seed-{seed}.log"
    threaded = True

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``clustering`` to the known kinds, and ``clusters`` to whole numbers."""
        return {"clustering": "kmeans|stratified", "clusters": "[0-9]+"}

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the embeddings of the pool."""
        return {"signals": [Output(EmbedTexts(self.dataset), "signals")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return the kind of clustering and the number of clusters."""
        return {
            **specify_data(plan, self.dataset),
            "clustering": self.clustering,
            "clusters": int(self.clusters),
            "seed": int(self.seed),
            "code": fingerprint_stage(self.name),
        }

    def measure_work(self, record: Mapping[str, Any]) -> float:
        """Return the seconds of the clustering."""
        return float(record["wall_s"])


def main() -> None:
    """Write the cluster of every sample, then the record with the coherence and the cost."""
    from threadpoolctl import threadpool_limits

    from selectbench.llm.clusters import cluster_embeddings, describe_clusters

    arguments = parse_arguments(__doc__, ClusterTexts.reads, ClusterTexts.writes)
    spec: Spec = arguments.spec
    (path,) = arguments.signals
    started, clock = datetime.now(UTC), time.perf_counter()
    signals = Signals.load(path)
    embeddings = np.asarray(signals.embeddings)
    seed = derive_seed("clusters", spec["dataset"], spec["clustering"], spec["clusters"], spec["seed"])
    with threadpool_limits(spec["threads"]):
        assignment = cluster_embeddings(embeddings, signals.labels, spec["clustering"], spec["clusters"], seed)
        wall_s = time.perf_counter() - clock
        coherence = describe_clusters(embeddings, signals.labels, assignment, seed=seed)
    write_arrays(arguments.clusters, {"assignment": assignment})
    write_made(
        arguments,
        {
            "status": "ok",
            **{name: spec[name] for name in ("dataset", "clustering", "clusters", "seed")},
            "coherence": coherence,
            "encoder": read_record(find_maker(path))["context"],
            "wall_s": wall_s,
            "peak_memory_mb": read_peak_memory_mb(),
            "provenance": describe_provenance(spec["code"], CPU, started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

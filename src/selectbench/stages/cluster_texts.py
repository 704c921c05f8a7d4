"""Cluster a pool of texts by their embeddings, and say how coherent the clusters are."""

import time
from datetime import UTC, datetime

from threadpoolctl import threadpool_limits

from selectbench.llm.clusters import cluster_embeddings, describe_clusters
from selectbench.records.files import write_arrays
from selectbench.records.provenance import describe_provenance, read_peak_memory_mb
from selectbench.records.records import find_maker, read_record
from selectbench.seeds import derive_seed
from selectbench.signals import Signals
from selectbench.stages._command import parse_arguments, run_stage, write_made


def main() -> None:
    """Write the cluster of every sample, then the record with the coherence and the cost."""
    arguments = parse_arguments(__doc__, inputs=("signals",), outputs=("clusters", "record"))
    spec, (path,) = arguments.spec, arguments.signals
    started, clock = datetime.now(UTC), time.perf_counter()
    signals, seed = Signals.load(path), derive_seed("clusters", spec["dataset"], spec["clustering"], spec["clusters"], spec["seed"])
    with threadpool_limits(spec["threads"]):
        assignment = cluster_embeddings(signals.embeddings, signals.labels, spec["clustering"], spec["clusters"], seed)
        wall_s = time.perf_counter() - clock
        coherence = describe_clusters(signals.embeddings, signals.labels, assignment, seed=seed)
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
            "provenance": describe_provenance(spec["code"], "cpu", started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

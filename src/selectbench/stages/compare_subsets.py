"""Compare the subsets of methods: how many samples every two of them have in common, at every keep fraction."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selectbench.artefacts import overlaps
from selectbench.records.files import read_arrays, write_json
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def compare_subsets(spec: dict) -> list[dict]:
    """Return the overlaps of every group of the spec; a run without a file, or without this keep fraction in it, is left out."""
    paths = {run["subset"] for group in spec["groups"] for runs in group["methods"].values() for run in runs if run.get("subset")}
    files = {path: read_arrays(Path(path)) for path in sorted(paths) if Path(path).exists()}
    found = []
    for group in spec["groups"]:
        subsets = {method: collect_subsets(runs, files, group["keep"]) for method, runs in group["methods"].items()}
        subsets = {method: by_seed for method, by_seed in subsets.items() if by_seed}
        compared = overlaps.compare_subsets(subsets, group["keep"], group["num_pool"])
        found.append({"dataset": group["dataset"], "keep": group["keep"], **compared})
    return found


def collect_subsets(runs: list[dict], files: Mapping[str, Mapping[str, np.ndarray]], keep: str) -> dict[int, np.ndarray]:
    """Return seed → ids of the runs that have a subset of this keep fraction."""
    return {run["seed"]: files[run["subset"]][keep] for run in runs if keep in files.get(run.get("subset"), {})}


def main() -> None:
    """The specification groups the subsets by data set and keep fraction; ``--subsets`` are the files it names."""
    arguments = parse_artefact_arguments(__doc__, ["subsets"], ["overlaps"])
    write_json(arguments.overlaps, {"paper": arguments.spec["paper"], "overlaps": compare_subsets(arguments.spec)})


if __name__ == "__main__":
    run_stage(main)

"""Compare the subsets of methods: how many samples each pair of methods has in common, at every keep fraction."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selectbench.artefacts.specs import OverlapGroup, OverlapsSpec, SubsetFile
from selectbench.planning.stage import Inputs, Stage, fingerprint_stage
from selectbench.records.files import read_arrays
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages._subsets import find_subset, list_subsets

if TYPE_CHECKING:
    from selectbench.artefacts.overlaps import Overlap
    from selectbench.planning.plan import Plan
    from selectbench.planning.runs import Run


@dataclass(frozen=True)
class CompareSubsets(Stage):
    """The overlaps of a paper's subsets."""

    paper: str

    name = "compare_subsets"
    reads = ("subsets",)
    writes = {"overlaps": "{results}/{paper}/overlaps.json"}
    record = "overlaps"
    log = "{results}/logs/overlaps/{paper}.log"

    def _list_runs(self, plan: "Plan") -> "list[Run]":
        """List the runs whose subsets the paper's figures and its part of the results page compare."""
        entry = plan.config.papers[self.paper]
        tables = {figure["table"] for figure in entry["figures"].values() if figure["kind"] == "overlap"}
        return plan.list_subset_runs(self.paper, tables | ({entry["browse"]} if "browse" in entry else set()))

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the subsets that are compared."""
        return {"subsets": list_subsets(plan, self._list_runs(plan))}

    def specify(self, plan: "Plan") -> OverlapsSpec:
        """Return, by data set and keep fraction, every method's files by seed."""
        groups: dict[tuple[str, str], OverlapGroup] = {}
        for run in self._list_runs(plan):
            size = plan.config.datasets[run.dataset]["pool_size"]
            empty = OverlapGroup(dataset=run.dataset, keep=run.keep, num_pool=size, methods={})
            group = groups.setdefault((run.dataset, run.keep), empty)
            chooser, name = find_subset(plan, run)
            group["methods"].setdefault(run.method, []).append({"seed": run.seed, "subset": chooser.find_output(plan, name)})
        return {"paper": self.paper, "groups": list(groups.values()), "code": fingerprint_stage(self.name)}


def compare_subsets(spec: OverlapsSpec) -> "list[Overlap]":
    """Return the overlaps of every group of the spec; runs whose file is missing or lacks the keep fraction are left out."""
    from selectbench.artefacts import overlaps

    paths = {run["subset"] for group in spec["groups"] for runs in group["methods"].values() for run in runs if run.get("subset")}
    files = {path: read_arrays(Path(path)) for path in sorted(paths) if Path(path).exists()}
    found: list[Overlap] = []
    for group in spec["groups"]:
        subsets = {method: collect_subsets(runs, files, group["keep"]) for method, runs in group["methods"].items()}
        subsets = {method: by_seed for method, by_seed in subsets.items() if by_seed}
        compared = overlaps.compare_subsets(subsets, group["keep"], group["num_pool"])
        found.append({**compared, "dataset": group["dataset"], "keep": group["keep"]})
    return found


def collect_subsets(runs: list[SubsetFile], files: Mapping[str, Mapping[str, np.ndarray]], keep: str) -> dict[int, np.ndarray]:
    """Return seed → ids of the runs that have a subset of this keep fraction."""
    return {run["seed"]: files[run["subset"]][keep] for run in runs if keep in files.get(run.get("subset"), {})}


def write_overlaps(spec: OverlapsSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Write the overlaps; the specification groups the subsets, which are the files it names, by data set and keep fraction."""
    seal_artefact(outputs["overlaps"], {"paper": spec["paper"], "overlaps": compare_subsets(spec)}, spec["code"], inputs)


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, CompareSubsets, write_overlaps))

"""Collect what a subset browser shows: samples as images or texts, which of them each method keeps, and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selectbench.artefacts.specs import BrowsedDataset, BrowsedRun, SubsetsSpec
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import read_arrays
from selectbench.seeds import derive_seed
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages._subsets import find_scores, find_subset, list_subsets
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.artefacts.browser import BrowserData, Samples, Subsets
    from selectbench.data.splits import Split
    from selectbench.data.texts import TextSplit
    from selectbench.planning.plan import Plan
    from selectbench.planning.runs import Run

MOST_BROWSED, LEAST_BROWSED = 300, 100  # samples that a browser shows of larger pools: shared by a paper's data sets, but at least of each


@dataclass(frozen=True)
class CollectSubsets(Stage):
    """The subset browser of a paper."""

    paper: str

    name = "collect_subsets"
    reads = ("data", "subsets")
    writes = {"browser": "{results}/{paper}/subsets.json"}
    record = "browser"
    log = "{results}/logs/browser/{paper}.log"

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data sets, the subsets and the scores."""
        runs = plan.browsed_runs(self.paper)
        scores = list(dict.fromkeys(output for run in runs if (output := find_scores(plan, run)) is not None))
        return {
            "data": [Output(PrepareData(dataset), "manifest") for dataset in dict.fromkeys(run.dataset for run in runs)],
            "subsets": [*list_subsets(plan, runs), *scores],
        }

    def specify(self, plan: "Plan") -> SubsetsSpec:
        """Return, for every data set, each method's files by seed and the number of samples to show."""
        runs = plan.browsed_runs(self.paper)
        names = dict.fromkeys(run.dataset for run in runs)
        return {
            "paper": self.paper,
            "datasets": [
                {
                    "id": dataset,
                    "title": plan.config.datasets[dataset]["title"],
                    "data": PrepareData(dataset).find_output(plan, "manifest"),
                    "is_text": plan.config.is_text(dataset),
                    "classes": plan.config.find_texts(dataset).get("class_names"),
                    "seed": derive_seed("browser", dataset),
                    "most": max(LEAST_BROWSED, MOST_BROWSED // len(names)),
                    "runs": [self._describe_run(plan, run) for run in runs if run.dataset == dataset],
                }
                for dataset in names
            ],
            "code": fingerprint_stage(self.name),
        }

    @staticmethod
    def _describe_run(plan: "Plan", run: "Run") -> BrowsedRun:
        """Return a run with the files of its subsets and of the scores that they are taken from."""
        (chooser, subsets), scores = find_subset(plan, run), find_scores(plan, run)
        return {
            "method": run.method,
            "keep": run.keep,
            "seed": run.seed,
            "subset": chooser.find_output(plan, subsets),
            "scores": None if scores is None else scores.job.find_output(plan, scores.name),
        }


def collect_subsets(spec: SubsetsSpec) -> "Subsets":
    """Return the browser of a paper, one entry per data set; runs whose file is missing or lacks their keep fraction are left out."""
    runs = [run for dataset in spec["datasets"] for run in dataset["runs"]]
    files = {name: read_arrays(Path(name)) for name in list_files(runs)}
    return {"paper": spec["paper"], "datasets": [describe_dataset(dataset, files) for dataset in spec["datasets"]]}


def list_files(runs: list[BrowsedRun]) -> list[str]:
    """List the files of subsets and scores that exist."""
    names = {name for run in runs for name in (run["subset"], run["scores"]) if name is not None}
    return sorted(name for name in names if Path(name).exists())


def describe_dataset(dataset: BrowsedDataset, files: Mapping[str, Mapping[str, np.ndarray]]) -> "BrowserData":
    """Return the samples shown of a data set, their labels, and how each method scores and selects them."""
    from selectbench.artefacts.browser import SMALL, choose_samples, describe_methods, pack_pictures, shorten_text
    from selectbench.data.splits import open_split
    from selectbench.data.texts import open_texts

    prepared = Path(dataset["data"]).parent
    pool: TextSplit | Split
    samples: Samples
    if dataset["is_text"]:
        pool = texts = open_texts(prepared, "pool")
        shown = choose_samples(len(texts), dataset["most"], dataset["seed"])
        samples = {"texts": [shorten_text(prompt) for prompt in np.array(texts.prompts(), dtype=object)[shown]]}
    else:
        pool = images = open_split(prepared, "pool")
        _, channels, height, width = images.load(np.zeros(1, dtype=np.int64)).shape
        is_small = channels * height * width * len(images) <= SMALL
        shown = choose_samples(len(images), len(images) if is_small else dataset["most"], dataset["seed"])
        samples = {"pictures": pack_pictures(images.load(shown))}
    labels = pool.labels[shown]
    names = dataset["classes"] or [str(label) for label in range(int(pool.labels.max()) + 1)]
    return {
        **samples,
        "id": dataset["id"],
        "title": dataset["title"],
        "num_pool": len(pool),
        "ids": None if len(shown) == len(pool) else shown.tolist(),
        "labels": labels.tolist(),
        "classes": names,
        "methods": describe_methods(dataset["runs"], shown, files, files),
    }


def write_subsets(spec: SubsetsSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Write what the browser shows; the specification names data sets, methods and the files that are its inputs."""
    seal_artefact(outputs["browser"], collect_subsets(spec), spec["code"], inputs)


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, CollectSubsets, write_subsets))

"""Collect what a subset browser shows: samples as pictures or texts, which of them every method keeps, and how they score."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selectbench.artefacts.browser import SMALL, choose_samples, describe_methods, pack_pictures, shorten_text
from selectbench.data.splits import open_split
from selectbench.data.texts import open_texts
from selectbench.records.files import read_arrays, write_json
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def collect_subsets(spec: dict) -> dict:
    """Return the browser of a paper, one entry a data set; a run without a file, or without its keep fraction in it, is left out."""
    runs = [run for dataset in spec["datasets"] for run in dataset["runs"]]
    files = {name: read_arrays(Path(name)) for name in list_files(runs)}
    return {"paper": spec["paper"], "datasets": [describe_dataset(dataset, files) for dataset in spec["datasets"]]}


def list_files(runs: list[dict]) -> list[str]:
    """List the files of subsets and scores that are there."""
    names = {run[key] for run in runs for key in ("subset", "scores") if run[key] is not None}
    return sorted(name for name in names if Path(name).exists())


def describe_dataset(dataset: dict, files: Mapping[str, Mapping[str, np.ndarray]]) -> dict:
    """Return the samples of a data set that are shown, their labels, and what every method does with them."""
    prepared = Path(dataset["data"]).parent
    pool = open_texts(prepared, "pool") if dataset["is_text"] else open_split(prepared, "pool")
    if dataset["is_text"]:
        shown = choose_samples(len(pool), dataset["most"], dataset["seed"])
        samples = {"texts": [shorten_text(prompt) for prompt in np.array(pool.prompts(), dtype=object)[shown]]}
    else:
        _, channels, height, width = pool.load(np.zeros(1, dtype=np.int64)).shape
        is_small = channels * height * width * len(pool) <= SMALL
        shown = choose_samples(len(pool), len(pool) if is_small else dataset["most"], dataset["seed"])
        samples = {"pictures": pack_pictures(pool.load(shown))}
    labels = pool.labels[shown]
    names = dataset["classes"] or [str(label) for label in range(int(pool.labels.max()) + 1)]
    return {
        **{key: dataset[key] for key in ("id", "title")},
        **{"num_pool": len(pool), "ids": None if len(shown) == len(pool) else shown.tolist()},
        **{"labels": labels.tolist(), "classes": names, **samples},
        "methods": describe_methods(dataset["runs"], shown, files, files),
    }


def main() -> None:
    """The specification names data sets, methods and files; ``--data`` and ``--subsets`` are those files."""
    arguments = parse_artefact_arguments(__doc__, ["data", "subsets"], ["browser"])
    write_json(arguments.browser, collect_subsets(arguments.spec))


if __name__ == "__main__":
    run_stage(main)

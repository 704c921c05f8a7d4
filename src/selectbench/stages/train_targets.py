"""Train a batch of targets, each on its subset or beside its sampler, each with its own record and checkpoint."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from selectbench.choices import Choice, SubsetChoice, describe_subset_cost, make_sampler_choice
from selectbench.data.splits import NOISY, read_array
from selectbench.engine import Checkpoint, Pool, Progress, Recipe, choose_device, name_device, train_model
from selectbench.errors import SelectionFailedError
from selectbench.evaluation import measure_test
from selectbench.files import digest_value, read_arrays, read_json, write_atomically
from selectbench.provenance import read_peak_memory_mb
from selectbench.records import TRAIN, read_record, record_path
from selectbench.stages._batch import run_batch
from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._training import build_from_spec, describe_start, open_prepared, warm_start_from_spec


def main() -> None:
    """Train the batch's runs that are not done yet."""
    arguments = parse_arguments(__doc__, inputs=("data", "subsets"), outputs=("manifest",))
    spec, (data,) = arguments.spec, arguments.data
    torch.set_num_threads(spec["threads"])
    device, recipe, content = choose_device(), Recipe.from_config(spec["recipe"]), read_json(data)["splits"]["pool"]
    pool = open_prepared(data, "pool", device)
    test = open_prepared(data, spec["id_test_set"], device) if recipe.track_test else None
    noisy, start = read_noisy(data), describe_start(spec)
    shared = {name: value for name, value in spec.items() if name not in ("runs", "folder")}
    files = {run["subset"] for run in spec["runs"] if run["subset"] is not None}
    described = {name: read_record(Path(name).with_suffix(".json")) for name in files}

    def make_key(run: dict) -> str:
        choice = run["sampler"] or described[run["subset"]]["subsets"][run["keep"]]["sha256"]
        return digest_value({"spec": shared, "run": run["id"], "choice": choice, "data": content, "start": start and start["sha256"]})

    def work(run: dict) -> tuple[dict, str]:
        choice = make_choice(run, described, len(pool), recipe.epochs)
        return train_target(spec, recipe, run, choice, pool, test, noisy, make_key(run))

    run_batch(TRAIN, spec, arguments.manifest, name_device(device), make_key, work)


def make_choice(run: dict, described: dict[str, dict], num_pool: int, epochs: int) -> Choice:
    """Return what a run is trained on.

    Parameters
    ----------
    run : with its ``subset``, a file, or its ``sampler``
    described : file of subsets → their record
    num_pool, epochs : for samplers

    Raises
    ------
    SelectionFailedError
        Selection gave no subset.
    """
    if run["sampler"] is not None:
        return make_sampler_choice(run["sampler"], num_pool, run["keep"], epochs)
    record = described[run["subset"]]
    subset = record["subsets"][run["keep"]]
    if subset["failure"] is not None:
        raise SelectionFailedError(subset["failure"], {"selection": describe_subset_cost(subset)})
    return SubsetChoice(np.array(read_arrays(Path(run["subset"]))[run["keep"]]), subset, record["seed"])


def train_target(
    spec: dict, recipe: Recipe, run: dict, choice: Choice, pool: Pool, test: Pool | None, noisy: np.ndarray | None, key: str
) -> tuple[dict, str]:
    """Train one target, save its weights and return its record's fields and a line for the log.

    Parameters
    ----------
    spec, recipe, run : what is trained
    choice : the samples it visits
    pool, test : where samples come from, and the test set measured after every epoch if there is one
    noisy : ids of the pool's noisy samples, counted for the record, or None
    key : digest of everything that may influence the result
    """
    folder = Path(spec["folder"])
    stream = (spec["role"], spec["dataset"], run["seed"])
    model, seeds = build_from_spec(spec, recipe.stem, stream, pool.device)
    start = warm_start_from_spec(model, spec)
    checkpoint = Checkpoint(folder / "state" / "runs" / f"{run['id']}.pt", key)

    def track(epoch: int, model: nn.Module, progress: Progress) -> None:
        progress.extra["unreadable"] = sorted({*progress.extra.get("unreadable", ()), *pool.split.find_unreadable(choice.ids)})
        if test is not None:
            progress.extra.setdefault("test_top1", []).append(measure_test(model, test)["top1"])

    if pool.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    progress = train_model(
        model,
        pool,
        choice.visit(pool, recipe, spec["regime"]),
        recipe,
        stream=stream,
        batch_loss=choice.weigh_losses(pool, recipe, stream),
        on_epoch_end=track,
        checkpoint=checkpoint,
    )
    weights = record_path(folder, run["id"], TRAIN).with_name("model.pt")
    write_atomically(weights, lambda stream: torch.save(model.state_dict(), stream))
    checkpoint.remove()
    curve = progress.extra.get("test_top1", [])
    record = {
        "model": spec["model"],
        "recipe": spec["recipe"],
        "seeds": seeds | {"selection": choice.seed},
        "warm_start": start,
        "num_pool": len(pool),
        "num_kept": choice.num_kept,
        "noise": None if noisy is None else {"pool": len(noisy), "kept": choice.count_kept(noisy)},
        "selection": choice.describe_selection(),
        "training": {
            "epochs": progress.epoch,
            "steps": progress.step,
            "sample_visits": progress.sample_visits,
            "forward_visits": progress.sample_visits,
            "backward_visits": progress.sample_visits,
            "wall_s": progress.wall_s - choice.overhead_s,
            "final_loss": progress.final_loss,
            "unreadable": len(progress.extra["unreadable"]),
            "peak_memory_mb": read_peak_memory_mb(),
            "peak_device_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if pool.device.type == "cuda" else None,
            "test_top1_by_epoch": curve,
        },
        "best_epoch": {"epoch": int(np.argmax(curve)) + 1, "top1": max(curve)} if curve else None,
    }
    last = f"{curve[-1]:.2f} % after the last epoch, " if curve else ""
    return record, f"{last}{progress.wall_s:.1f} s"


def read_noisy(data: Path) -> np.ndarray | None:
    """Return the ids of a prepared pool's noisy samples (M,), or None for a pool without noise; only the record reads them."""
    path = data.parent / "pool" / NOISY
    return read_array(path) if path.exists() else None


if __name__ == "__main__":
    run_stage(main)

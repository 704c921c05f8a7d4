"""Train a batch of targets, each on its subset, each with its own record and checkpoint."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from selectbench.engine import Checkpoint, Pool, Progress, Recipe, choose_device, measure_test, name_device, supervised_loss, train_model
from selectbench.errors import SelectionFailedError
from selectbench.files import digest_value, read_arrays, read_json, write_atomically
from selectbench.provenance import read_peak_memory_mb
from selectbench.records import TRAIN, read_record, record_path
from selectbench.stages._batch import run_batch
from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages._training import build_from_spec, open_prepared


def main() -> None:
    """Train the batch's runs that are not done yet."""
    arguments = parse_arguments(__doc__, inputs=("data", "subsets"), outputs=("manifest",))
    spec, (data,) = arguments.spec, arguments.data
    torch.set_num_threads(spec["threads"])
    device, recipe, content = choose_device(), Recipe.from_config(spec["recipe"]), read_json(data)["splits"]["pool"]
    pool = open_prepared(data, "pool", device)
    test = open_prepared(data, spec["id_test_set"], device) if recipe.track_test else None
    shared = {name: value for name, value in spec.items() if name not in ("runs", "folder")}
    described = {run["subset"]: read_record(Path(run["subset"]).with_suffix(".json")) for run in spec["runs"]}

    def make_key(run: dict) -> str:
        subset = described[run["subset"]]["subsets"][run["keep"]]["sha256"]
        return digest_value({"spec": shared, "run": run["id"], "subset": subset, "data": content})

    def work(run: dict) -> tuple[dict, str]:
        subset = described[run["subset"]]
        return train_target(spec, recipe, run, subset, pool, test, make_key(run))

    run_batch(TRAIN, spec, arguments.manifest, name_device(device), make_key, work)


def train_target(spec: dict, recipe: Recipe, run: dict, subset: dict, pool: Pool, test: Pool | None, key: str) -> tuple[dict, str]:
    """Train one target, save its weights and return its record's fields and a line for the log."""
    folder = Path(spec["folder"])
    cost = subset["subsets"][run["keep"]]
    selection = cost["cost"] | {"subset_sha256": cost["sha256"], "class_counts": cost["class_counts"]}
    if cost["failure"] is not None:
        raise SelectionFailedError(cost["failure"], {"selection": selection})
    stream = (spec["role"], spec["dataset"], run["seed"])
    model, seeds = build_from_spec(spec, recipe.stem, stream, pool.device)
    ids = np.array(read_arrays(Path(run["subset"]))[run["keep"]])
    checkpoint = Checkpoint(folder / "state" / "runs" / f"{run['id']}.pt", key)

    def track_test(epoch: int, model: nn.Module, progress: Progress) -> None:
        if test is not None:
            progress.extra.setdefault("test_top1", []).append(measure_test(model, test)["top1"])

    if pool.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    progress = train_model(
        model,
        pool,
        ids,
        recipe,
        regime=spec["regime"],
        stream=stream,
        batch_loss=supervised_loss(pool, recipe, stream),
        on_epoch_end=track_test,
        checkpoint=checkpoint,
    )
    weights = record_path(folder, run["id"], TRAIN).with_name("model.pt")
    write_atomically(weights, lambda stream: torch.save(model.state_dict(), stream))
    checkpoint.remove()
    curve = progress.extra.get("test_top1", [])
    record = {
        "model": spec["model"],
        "recipe": spec["recipe"],
        "seeds": seeds | {"selection": subset["seed"]},
        "num_pool": len(pool),
        "num_kept": len(ids),
        "selection": selection,
        "training": {
            "epochs": progress.epoch,
            "steps": progress.step,
            "sample_visits": progress.sample_visits,
            "wall_s": progress.wall_s,
            "final_loss": progress.final_loss,
            "peak_memory_mb": read_peak_memory_mb(),
            "peak_device_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if pool.device.type == "cuda" else None,
            "test_top1_by_epoch": curve,
        },
        "best_epoch": {"epoch": int(np.argmax(curve)) + 1, "top1": max(curve)} if curve else None,
    }
    last = f"{curve[-1]:.2f} % after the last epoch, " if curve else ""
    return record, f"{last}{progress.wall_s:.1f} s"


if __name__ == "__main__":
    run_stage(main)

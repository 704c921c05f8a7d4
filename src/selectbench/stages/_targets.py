"""Train and evaluate batches of targets, on images or texts."""

import gc
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from selectbench.data.splits import NOISY, read_array
from selectbench.dynamic import make
from selectbench.errors import RecordError, RunFailedError, SelectionFailedError, first_line
from selectbench.records.files import digest_file, digest_value, read_arrays, read_sealed, write_atomically
from selectbench.records.provenance import read_peak_memory_mb
from selectbench.records.records import (
    EVALUATE,
    TRAIN,
    WEIGHTS,
    check_made,
    find_maker,
    read_finished,
    read_record,
    read_run,
    record_path,
)
from selectbench.stages._batch import is_out_of_memory, run_batch
from selectbench.stages._origins import abridge_spec, identify_subset
from selectbench.stages._specs import BatchSpec, EvaluatedRun, EvaluationSpec, TargetSpec, TrainedRun
from selectbench.stages._training import Seeds, read_weights
from selectbench.training.choices import Choice, SamplerChoice, SamplerSpec, SubsetChoice, describe_subset_cost
from selectbench.training.devices import describe_device
from selectbench.training.engine import Checkpoint, train_model
from selectbench.training.epochs import Progress
from selectbench.training.evaluation import measure_test, measure_tests
from selectbench.training.parallel import find_crew, share_norms
from selectbench.training.pools import SamplePool
from selectbench.training.recipes import Recipe

if TYPE_CHECKING:
    import argparse

    from selectbench.records.rows import EvaluationOrigin, Origin

Weights = Mapping[str, torch.Tensor]  # name → tensor

_PARTS, _SMALLEST_PART = 4, 2  # batch normalisation needs two samples
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Family:
    """The operations on targets that differ between images and texts.

    Parameters
    ----------
    device : the device that targets are trained on
    open_split : name of a split → the split on the device
    build : names of a random stream → model and the seeds of its weights
    warm_start : loads the weights that training starts from into a model → what to record, or None for a fresh start
    start : origin and SHA-256 of what every target starts from, or None; part of a run's key
    read_state : model → the tensors that its training changes
    write_state : loads such tensors into a model
    tokens : (N,) number of tokens of every sample of the pool, or None for images
    encode_s : seconds that a frozen encoder takes per sample, counted as training unless selection has already paid for it
    """

    device: torch.device
    open_split: Callable[[str], SamplePool]
    build: Callable[[tuple[object, ...]], tuple[nn.Module, Seeds]]
    warm_start: Callable[[nn.Module], Mapping[str, object] | None]
    start: Mapping[str, str] | None
    read_state: Callable[[nn.Module], Weights]
    write_state: Callable[[nn.Module, Weights], object]
    tokens: np.ndarray | None = None
    encode_s: float = 0.0


def train_batch(arguments: "argparse.Namespace", family: Family) -> None:
    """Train the targets of a batch that are not done yet, each on its subset or with its sampler.

    Parameters
    ----------
    arguments : arguments of the command: spec, data, subsets, made_from and manifest
    family : family of the targets
    """
    spec: TargetSpec = arguments.spec
    data: Path = arguments.data[0]
    recipe, content = Recipe.from_config(spec["recipe"]), digest_value(read_sealed(data)["splits"]["pool"])
    pool = family.open_split("pool")
    test = family.open_split(spec["id_test_set"]) if recipe.track_test else None
    noisy = read_noisy(data)
    shared = abridge_spec(spec)
    described = describe_subsets(spec["runs"])

    def make_origin(run: TrainedRun) -> "Origin":
        choice = run["sampler"] or identify_subset(described[run["subset"] or ""]["subsets"][run["keep"]])
        start = family.start["sha256"] if family.start else None
        return {"run": run["id"], "spec": shared, "choice": choice, "data": content, "start": start}

    def work(run: TrainedRun) -> tuple[dict[str, Any], str]:
        def train(micro_batch: int | None) -> tuple[dict[str, Any], str]:
            choice = make_choice(run, described, len(pool), recipe.epochs)
            choice.micro_batch = micro_batch
            return train_target(family, spec, run, choice, pool, test, noisy, digest_value(make_origin(run)))

        return train_within_memory(train, recipe.batch_size, run["id"])

    def forget(run: TrainedRun) -> None:
        _checkpoint_path(spec, run).unlink(missing_ok=True)

    run_batch(TRAIN, spec, arguments.manifest, arguments.made_from, describe_device(family.device), make_origin, work, forget)


def train_within_memory(
    train: Callable[[int | None], tuple[dict[str, Any], str]], batch_size: int, name: str
) -> tuple[dict[str, Any], str]:
    """Train a run; if memory runs out, try once more with the same batches in four parts.

    Parameters
    ----------
    train : number of samples to process at a time, or None for whole batches → what ``train_target`` returns
    batch_size : batch size of the recipe
    name : id of the run, for the log

    Raises
    ------
    RunFailedError
        Memory does not suffice for the parts either, or a batch is too small to be split.
    """
    try:
        return train(None)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = first_line(error)
    gc.collect()  # frees what the failed attempt left on the device
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's stubs
        torch.cuda.empty_cache()
    micro_batch = max(_SMALLEST_PART, math.ceil(batch_size / _PARTS))
    if micro_batch >= batch_size:
        raise RunFailedError(f"out of memory with batches of {batch_size}, which are too small to be split: {reason}")
    print(f"{name}: out of memory with batches of {batch_size}; retrying with {micro_batch} samples at a time", file=sys.stderr, flush=True)
    try:
        return train(micro_batch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        told = f"out of memory with batches of {batch_size}, and again with {micro_batch} samples at a time: {first_line(error)}"
        raise RunFailedError(told) from error


def _checkpoint_path(spec: TargetSpec, run: TrainedRun) -> Path:
    return Path(spec["folder"]) / "state" / "runs" / f"{run['id']}.pt"


def describe_subsets(runs: Iterable[TrainedRun]) -> dict[str, dict[str, Any]]:
    """Return file of subsets → its record, for the files that runs train on."""
    files = {run["subset"] for run in runs if run["subset"] is not None}
    return {name: read_record(find_maker(Path(name))) for name in files}


def make_choice(run: TrainedRun, described: Mapping[str, Mapping[str, Any]], num_pool: int, epochs: int) -> Choice:
    """Return the choice of samples that a run is trained on.

    Parameters
    ----------
    run : a run that has either a file of subsets or a sampler
    described : file of subsets → its record
    num_pool, epochs : for samplers

    Raises
    ------
    SelectionFailedError
        Selection found no subset.
    RecordError
        The file of subsets is not the one that its record describes.
    """
    if run["sampler"] is not None:
        return make_sampler_choice(run["sampler"], num_pool, run["keep"], epochs)
    file = run["subset"] or ""
    record = described[file]
    subset = record["subsets"][run["keep"]]
    if subset["failure"] is not None:
        raise SelectionFailedError(subset["failure"], {"selection": describe_subset_cost(subset)})
    check_made(Path(file))
    return SubsetChoice(np.array(read_arrays(Path(file))[run["keep"]]), subset, record["seed"])


def make_sampler_choice(sampler: SamplerSpec, num_pool: int, keep: str, epochs: int) -> SamplerChoice:
    """Return the choice of a sampler, given its name, parameters and seed."""
    made = make(sampler["name"], num_samples=num_pool, keep=keep, epochs=epochs, seed=sampler["seed"], **sampler["parameters"])
    return SamplerChoice(made)


def train_target(
    family: Family,
    spec: TargetSpec,
    run: TrainedRun,
    choice: Choice,
    pool: SamplePool,
    test: SamplePool | None,
    noisy: np.ndarray | None,
    key: str,
) -> tuple[dict[str, Any], str]:
    """Train one target, save its weights, and return the fields of its record and a line for the log.

    The last checkpoint stays until the record is written, so that a kill in between loses no more work than at any other time.

    Parameters
    ----------
    family, spec, run : what is trained
    choice : the samples it visits
    pool, test : the pool, and the test set to measure after every epoch, or None
    noisy : ids of the pool's noisy samples, which are counted for the record, or None
    key : digest of everything that may influence the result
    """
    folder, recipe = Path(spec["folder"]), Recipe.from_config(spec["recipe"])
    stream = (spec["role"], spec["dataset"], run["seed"])
    model, seeds = family.build(stream)
    start, crew = family.warm_start(model), find_crew()
    model = share_norms(model, crew)
    state_key = key if choice.micro_batch is None else digest_value({"key": key, "micro_batch": choice.micro_batch})
    checkpoint = Checkpoint(_checkpoint_path(spec, run), state_key)

    def track(epoch: int, model: nn.Module, progress: Progress) -> None:
        progress.extra["unreadable"] = sorted({*progress.extra.get("unreadable", ()), *pool.split.find_unreadable(choice.ids)})
        if test is not None:
            clock = time.perf_counter()
            progress.extra.setdefault("test_top1", []).append(measure_test(model, test)["top1"])
            progress.extra["tracking_s"] = progress.extra.get("tracking_s", 0.0) + time.perf_counter() - clock

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
    weights = find_weights(folder, run["id"])
    if crew.rank == 0:
        write_atomically(weights, lambda stream: torch.save(family.read_state(model), stream))
    curve, selection = progress.extra.get("test_top1", []), choice.describe_selection()
    tracking_s = progress.extra.get("tracking_s", 0.0)
    has_paid = not family.encode_s or "encoder" in selection["sources"]
    encode_s = 0.0 if has_paid else family.encode_s * len(choice.ids)
    record = {
        "model": spec["model"],
        "recipe": spec["recipe"],
        "sha256": {WEIGHTS: digest_file(weights)} if crew.rank == 0 else None,
        "seeds": seeds | {"selection": choice.seed},
        "warm_start": start,
        "num_pool": len(pool),
        "num_kept": choice.num_kept,
        "noise": None if noisy is None else {"pool": len(noisy), "kept": choice.sum_kept(np.isin(np.arange(len(pool)), noisy))},
        "tokens": None if family.tokens is None else {"pool": int(family.tokens.sum()), "kept": choice.sum_kept(family.tokens)},
        "selection": selection,
        "training": {
            "epochs": progress.epoch,
            "steps": progress.step,
            "micro_batch": describe_micro_batch(model, choice.micro_batch),
            "sample_visits": progress.sample_visits,
            "forward_visits": progress.sample_visits,
            "backward_visits": progress.sample_visits,
            "wall_s": progress.wall_s - tracking_s - choice.overhead_s + encode_s,
            "tracking_s": tracking_s,
            "encode_s": encode_s,
            "final_loss": progress.final_loss if progress.epoch else None,
            "unreadable": len(progress.extra.get("unreadable", ())),
            "peak_memory_mb": read_peak_memory_mb(),
            "peak_device_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if pool.device.type == "cuda" else None,
            "test_top1_by_epoch": curve,
        },
        "best_epoch": {"epoch": int(np.argmax(curve)) + 1, "top1": max(curve)} if curve else None,
    }
    last = f"{curve[-1]:.2f} % after the last epoch, " if curve else ""
    return record, f"{last}{progress.wall_s:.1f} s"


def describe_micro_batch(model: nn.Module, size: int | None) -> dict[str, Any] | None:
    """Return, for the record, how many samples were processed at a time and whether that changed the arithmetic; None for whole batches.

    The gradients of the parts add up to that of the batch, but batch normalisation computes its statistics per part.
    """
    if size is None:
        return None
    return {"size": size, "batch_norm": any(isinstance(layer, _BATCH_NORMS) for layer in model.modules())}


def read_noisy(data: Path) -> np.ndarray | None:
    """Return the ids (M,) of the noisy samples of a prepared pool, for the record only; None for a pool without noise."""
    path = data.parent / "pool" / NOISY
    return read_array(path) if path.exists() else None


def evaluate_batch(arguments: "argparse.Namespace", family: Family) -> None:
    """Evaluate the trained targets of a batch that are not evaluated yet, each on its own test sets.

    Parameters
    ----------
    arguments : arguments of the command: spec, data, made_from and manifest
    family : family of the targets
    """
    spec: EvaluationSpec = arguments.spec
    contents, folder = read_sealed(arguments.data[0])["splits"], Path(spec["folder"])
    clean = spec["id_test_set"]
    wanted = sorted({clean, *(name for run in spec["runs"] for name in run["test_sets"])})
    pools = {name: family.open_split(name) for name in wanted}
    model, _ = family.build((spec["role"],))
    shared = abridge_spec(spec)
    trained = {run["id"]: read_run(folder, run["id"], TRAIN) for run in spec["runs"]}

    def make_origin(run: EvaluatedRun) -> "EvaluationOrigin":
        tests = {name: digest_value(contents[name]) for name in (clean, *run["test_sets"])}
        train = trained[run["id"]]
        return {"run": run["id"], "spec": shared, "training": train["key"], "weights": train["sha256"][WEIGHTS], "tests": tests}

    def work(run: EvaluatedRun) -> tuple[dict[str, Any], str]:
        clock = time.perf_counter()
        family.write_state(model, read_weights(find_weights(folder, run["id"]), family.device))
        test = measure_tests(model, pools, clean, run["test_sets"])
        line = ", ".join(f"{name} {result['top1']:.2f} %" for name, result in test.items())
        return {"test": test, "wall_s": time.perf_counter() - clock}, line

    runs = [run for run in spec["runs"] if trained[run["id"]]["status"] == "ok"]
    for run in runs:
        if not read_finished(folder, run["id"], EVALUATE, digest_value(make_origin(run))):
            check_trained(folder, run["id"], trained[run["id"]]["sha256"][WEIGHTS])
    batch: BatchSpec[EvaluatedRun] = {"runs": runs, "folder": spec["folder"], "code": spec["code"]}
    run_batch(EVALUATE, batch, arguments.manifest, arguments.made_from, describe_device(family.device), make_origin, work)


def find_weights(folder: Path, run_id: str) -> Path:
    """Return the path of a run's trained weights."""
    return record_path(folder, run_id, TRAIN).with_name(WEIGHTS)


def check_trained(folder: Path, run_id: str, digest: str) -> None:
    """Raise unless the trained weights of a run are those that its record describes.

    Raises
    ------
    RecordError
        They are missing, as after an import, or were altered.
    """
    path = find_weights(folder, run_id)
    problem = "missing" if not path.exists() else "not the weights of the record beside it" if digest_file(path) != digest else None
    if problem:
        raise RecordError(f"{path}: {problem}; delete {path.parent} and the manifest of its batch and run again")

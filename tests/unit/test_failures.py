"""Failures are data: insufficient memory, unreadable data, and the remains of a kill."""

import argparse
import functools
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import training_fixtures
from torch import nn

from selectbench import dynamic
from selectbench.errors import DataError, RunFailedError
from selectbench.models.factory import build_model
from selectbench.records.files import read_sealed, write_arrays, write_sealed
from selectbench.records.records import TRAIN, read_record, record_path, write_record
from selectbench.seeds import isolated_torch_rng
from selectbench.stages import _batch, _targets
from selectbench.stages._batch import is_out_of_memory
from selectbench.stages._targets import Family, make_sampler_choice, train_batch, train_within_memory
from selectbench.training.choices import SubsetChoice
from selectbench.training.engine import Checkpoint, train_model

NUM, PART = 70, 5  # batches of 16 and a last one of 6: parts of 5, 5, 6 and of 6
RECIPE = replace(training_fixtures.RECIPE, label_smoothing=0.1)
VIT = {"library": "selectbench", "name": "vit", "width": 8, "depth": 1, "heads": 2, "patch": 4}
CONVNET = {"library": "selectbench", "name": "convnet", "width": 4}
SAMPLERS = [name for name in dynamic.available_samplers() if name not in ("full", "no_training")]


@pytest.fixture
def pool(tmp_path):
    return training_fixtures.make_pool(tmp_path, NUM)


def make_model(entry=VIT, seed=0) -> nn.Module:
    with isolated_torch_rng(seed):
        return build_model(entry, "small", (1, 8, 8), 3)


def train(pool, tmp_path, choice, micro_batch=None):
    """Train a fresh model without batch normalisation."""
    model, choice.micro_batch = make_model(), micro_batch
    progress = train_model(
        model,
        pool,
        choice.visit(pool, RECIPE, "equal_epochs"),
        RECIPE,
        stream=("test", 0),
        batch_loss=choice.weigh_losses(pool, RECIPE, ("test", 0)),
        on_epoch_end=lambda epoch, model, progress: None,
        checkpoint=Checkpoint(tmp_path / f"{micro_batch}.pt", "key"),
    )
    return model, progress


def assert_close(one: dict, other: dict) -> None:
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def make_choice(name):
    if name == "subset":
        return SubsetChoice(np.arange(NUM), {}, 0)
    return make_sampler_choice({"name": name, "seed": 3, "parameters": {}}, NUM, "0.5", RECIPE.epochs)


@pytest.mark.parametrize("name", ["subset", *SAMPLERS])
def test_learning_in_parts_is_learning_from_whole_batches(pool, tmp_path, name):
    whole, parts = make_choice(name), make_choice(name)
    model, progress = train(pool, tmp_path, whole)
    again, progress_again = train(pool, tmp_path, parts, PART)
    assert_close(model.state_dict(), again.state_dict())
    assert progress_again.final_loss == pytest.approx(progress.final_loss, rel=1e-4)
    assert (progress_again.step, progress_again.sample_visits) == (progress.step, progress.sample_visits)
    if name != "subset":  # the sampler observes whole batches, so an agent takes the same steps
        for row, row_again in zip(whole.sampler.trace, parts.sampler.trace, strict=True):
            assert row_again == pytest.approx(row, rel=1e-3)


def test_a_loss_in_parts_that_is_no_number_still_ends_the_run(pool, tmp_path):
    choice = make_choice("top_loss")
    choice.micro_batch = PART
    loss, model = choice.weigh_losses(pool, RECIPE, ("test", 0)), make_model()
    model.head.weight.data.fill_(torch.nan)
    choice.sampler.set_epoch(0)
    with pytest.raises(RunFailedError, match="no longer finite in epoch 1"):
        next(loss.parts(model, np.arange(16), 0))


class Small(nn.Module):
    """A model on a device that holds only this many samples at a time."""

    def __init__(self, model: nn.Module, most: int) -> None:
        super().__init__()
        self.model, self.most, self.calls = model, most, 0

    def forward(self, images):
        self.calls += 1
        if self.training and len(images) > self.most:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to hold {len(images)} images.")
        return self.model(images)

    def forward_features(self, images):
        self.forward(images)
        return self.model.forward_features(images)

    def forward_head(self, maps, pre_logits=False):
        return self.model.forward_head(maps, pre_logits)

    def get_classifier(self):
        return self.model.get_classifier()


@pytest.fixture
def batch(pool, tmp_path):
    """Return a function that trains runs: names and samples that fit into memory at each attempt → records and the models built."""
    subset = tmp_path / "subset.npz"
    write_arrays(subset, {"0.5": np.arange(35)})
    described = {"failure": None, "cost": {"sources": {}}, "sha256": "1", "class_counts": []}
    write_record(subset.with_suffix(".json"), {"status": "ok", "seed": 0, "subsets": {"0.5": described}})
    write_sealed(tmp_path / "manifest.json", {"splits": {"pool": {"num": NUM}}})

    def work(names: str, memory: list[int], entry=VIT) -> tuple[dict[str, dict], list[Small]]:
        sampler, models = {"name": "data_agent", "seed": 3, "parameters": {}}, []

        def build(stream):
            models.append(Small(make_model(entry), memory[len(models)]))
            return models[-1], {}

        runs = [
            {"id": name, "seed": 0, "keep": "0.5"}
            | ({"subset": None, "sampler": sampler} if "sampler" in name else {"subset": str(subset), "sampler": None})
            for name in names.split()
        ]
        spec = {"role": "target", "dataset": "toy", "model": entry, "recipe": asdict(RECIPE), "regime": "equal_epochs", "runs": runs}
        spec |= {"id_test_set": "test", "folder": str(tmp_path / "results"), "code": "code"}
        family = Family(
            device=torch.device("cpu"),
            open_split=lambda name: pool,
            build=build,
            warm_start=lambda model: None,
            start=None,
            read_state=lambda model: model.state_dict(),
            write_state=lambda model, state: model.load_state_dict(state),
        )
        arguments = argparse.Namespace(spec=spec, data=[tmp_path / "manifest.json"], made_from={}, manifest=tmp_path / "trained.json")
        train_batch(arguments, family)
        assert len(models) == len(memory)
        return {name: read_record(record_path(tmp_path / "results", name, TRAIN)) for name in names.split()}, models

    return work


def read_weights(tmp_path, name) -> dict:
    return torch.load(record_path(tmp_path / "results", name, TRAIN).with_name("model.pt"), weights_only=True)


@pytest.mark.parametrize("kind", ["subset", "sampler"])
def test_out_of_memory_is_retried_once_in_parts_and_then_a_failed_record_and_the_batch_goes_on(batch, tmp_path, kind):
    plenty, tight, none, last = (f"{kind}-{name}" for name in ("plenty", "tight", "none", "last"))
    records, _ = batch(f"{plenty} {tight} {none} {last}", [16, 4, 4, 3, 3, 16])  # one attempt, two, two, one
    assert [record["status"] for record in records.values()] == ["ok", "ok", "failed", "ok"]
    assert [records[name]["training"]["micro_batch"] for name in (plenty, tight, last)] == [None, {"size": 4, "batch_norm": False}, None]
    reason = "out of memory with batches of 16, and again with 4 samples at a time: CUDA out of memory. Tried to hold 4 images."
    assert records[none]["failure"]["reason"] == reason
    assert_close(read_weights(tmp_path, plenty), read_weights(tmp_path, tight))
    for count in ("steps", "sample_visits", "epochs"):
        assert records[tight]["training"][count] == records[plenty]["training"][count]
    assert set(read_sealed(tmp_path / "trained.json")["runs"]) == set(records)


def test_a_record_says_that_batch_normalisation_saw_parts(batch):
    records, _ = batch("subset", [4, 4], CONVNET)
    assert records["subset"]["training"]["micro_batch"] == {"size": 4, "batch_norm": True}


def test_other_errors_are_not_taken_for_lack_of_memory():
    for error in (MemoryError(), torch.OutOfMemoryError("…"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …")):
        assert is_out_of_memory(error)
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported …"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    attempts = []

    def train(micro_batch):
        attempts.append(micro_batch)
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        train_within_memory(train, 16, "run")
    assert attempts == [None]


def test_a_batch_of_two_is_not_split():
    def train(micro_batch):
        assert micro_batch is None
        raise MemoryError

    with pytest.raises(RunFailedError, match="^out of memory with batches of 2, which are too small to be split: MemoryError$"):
        train_within_memory(train, 2, "run")


def test_a_bug_is_no_result(batch, monkeypatch):
    def fail(*_arguments):
        raise ValueError("a bug")

    monkeypatch.setattr(_targets, "train_target", fail)
    with pytest.raises(ValueError, match="a bug"):
        batch("subset", [])


def test_unreadable_data_are_a_failed_record_and_the_batch_goes_on(batch, monkeypatch, tmp_path):
    whole = _targets.train_target

    def train_target(family, spec, run, *others):
        if run["id"] == "subset-1":
            raise DataError("cat.jpg: unreadable image; 2 of 35 images cannot be read, too many to go on")
        return whole(family, spec, run, *others)

    monkeypatch.setattr(_targets, "train_target", train_target)
    records, _ = batch("subset-1 subset-2", [16])
    assert [record["status"] for record in records.values()] == ["failed", "ok"]
    assert records["subset-1"]["failure"]["reason"].startswith("cat.jpg: unreadable image")
    monkeypatch.undo()
    (tmp_path / "subset.npz").unlink()
    (tmp_path / "results" / "runs" / "subset-2" / "train.json").unlink()
    records, _ = batch("subset-2 sampler", [16])
    assert [record["status"] for record in records.values()] == ["failed", "ok"]
    assert records["subset-2"]["failure"]["reason"] == f"{tmp_path / 'subset.npz'}: no such file"


def test_two_processes_never_work_on_one_batch(batch, tmp_path, capfd):
    """Jobs whose Snakemake was killed continue; the jobs of the next one wait for them and keep their results."""
    program = (
        "import sys, time; from pathlib import Path; from selectbench.records.leases import try_lock;assert try_lock(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", f"{program}; print(flush=True); time.sleep(float(sys.argv[2]))", tmp_path / ".trained.json.lock", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline()
        batch("subset", [16])
        assert other.wait() == 0
    first, second = capfd.readouterr().err.splitlines()
    assert first == f"waiting: another process is working on {tmp_path / 'trained.json'}"
    assert second.startswith("[train] subset: ")
    batch("subset", [])
    assert capfd.readouterr().err == "[train] subset: already done\n"


@pytest.mark.parametrize(
    ("before", "after", "calls"),
    [
        ([16], [16], 3),  # the last epoch's batches of 16, 16 and 3 samples
        ([4, 4], [4, 4], 9),  # its parts: four, four and one
        ([4, 4], [16], 8 * 3),  # there is room now: whole batches from the first epoch on, since no training mixes the two ways
    ],
)
def test_a_kill_before_the_record_is_written_costs_no_more_than_the_last_epoch(batch, monkeypatch, tmp_path, before, after, calls):
    monkeypatch.setattr(_targets, "Checkpoint", functools.partial(Checkpoint, every_s=-1))
    write, state = _batch.write_run, tmp_path / "results/state/runs/subset.pt"

    def kill(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(_batch, "write_run", kill)
    with pytest.raises(KeyboardInterrupt):
        batch("subset", before)
    assert state.exists()
    monkeypatch.setattr(_batch, "write_run", write)
    records, models = batch("subset", after)
    assert records["subset"]["status"] == "ok" and not state.exists()
    assert models[-1].calls == calls
    unbroken, _ = batch("subset-again", after)
    weights, whole = read_weights(tmp_path, "subset"), read_weights(tmp_path, "subset-again")
    assert all(torch.equal(value, whole[name]) for name, value in weights.items())
    for name in ("steps", "micro_batch", "final_loss"):
        assert records["subset"]["training"][name] == unbroken["subset-again"]["training"][name]

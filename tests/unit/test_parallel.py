"""Data-parallel training: two processes of the real stage, and the arithmetic of splitting batches."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from selectbench.data.prepare import prepare_dataset
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import to_json
from selectbench.records.files import write_sealed
from selectbench.records.records import TRAIN, read_record, record_path
from selectbench.stages._subsets import find_subset
from selectbench.stages._target_stages import describe_trained
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.score_samples import ScoreSamples
from selectbench.stages.select_subsets import SelectSubsets
from selectbench.stages.train_targets import TrainTargets
from selectbench.training.parallel import Crew

EPOCHS = 3


def test_shares_cut_a_batch_and_small_batches_are_everybodys():
    positions = np.arange(10, 21)
    shares = [Crew(rank, 3).share(positions) for rank in range(3)]
    assert sorted(np.concatenate([own for own, _ in shares]).tolist()) == positions.tolist()
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert all(share == len(own) / 11 for own, share in shares)
    small = [Crew(rank, 3).share(positions[:5]) for rank in range(3)]
    assert all(own.tolist() == positions[:5].tolist() and share == 1 / 3 for own, share in small)
    assert Crew().share(positions)[1] == 1 and Crew().share(positions)[0] is positions


EXACT = """
import torch
from torch import nn
from selectbench.training.parallel import enter_crew, find_crew, share_norms
enter_crew(2, "unused")
crew = find_crew()
generator = torch.Generator().manual_seed(0)
whole = torch.randn(7, 3, 4, 4, generator=generator) * 3 + 1
targets = torch.randn(7, 3, 4, 4, generator=generator)
own, share = crew.share(torch.arange(7).numpy())
assert torch.equal(crew.gather(whole[own], 7), whole) and crew.gather(None, 7) is None
assert torch.equal(crew.gather(torch.arange(7)[own], 7), torch.arange(7))
assert crew.agree(torch.full((2,), crew.rank).numpy()).tolist() == [0, 0]
alone, shared = nn.BatchNorm2d(3), share_norms(nn.Sequential(nn.BatchNorm2d(3)), crew)
assert type(shared[0]) is not nn.BatchNorm2d
for norm in (alone, shared[0]):
    norm.weight.data.copy_(torch.tensor([1.0, 2.0, 3.0]))
inputs = [whole.clone().requires_grad_(), whole[own].clone().requires_grad_()]
(alone(inputs[0]) * targets).sum().backward()
result = shared(inputs[1])
(result * targets[own]).sum().backward()
crew.add_gradients(shared)
close = dict(rtol=1e-4, atol=1e-5)
torch.testing.assert_close(inputs[1].grad, inputs[0].grad[own], **close)
for name, value in alone.named_parameters():
    torch.testing.assert_close(getattr(shared[0], name).grad, value.grad, **close)
for name, value in alone.named_buffers():
    torch.testing.assert_close(getattr(shared[0], name), value, **close)
torch.testing.assert_close(shared.eval()(whole), alone.eval()(whole), **close)
"""


def test_gathering_and_shared_norms_are_exact_in_two_processes(tmp_path):
    script = tmp_path / "exact.py"
    script.write_text(EXACT, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """Train targets with the real stage in one process and in two; return both folders and their runs."""
    base, folders = tmp_path_factory.mktemp("parallel"), {}
    plan = load_plan(
        root, {"scale": "smoke", "resources": str(base / "resources"), "results": str(base / "results"), "papers": ["data_agent"]}
    )
    data = Path(PrepareData("digits").find_output(plan, "manifest"))
    write_sealed(data, prepare_dataset("digits", plan.config.datasets["digits"], base / "resources", ["test"]))
    batches = {runs[0].target: name for name, runs in plan.batches["train"].items() if runs[0].dataset == "digits"}
    chosen = [
        run for run in plan.runs.values() if run.dataset == "digits" and run.seed == 0 and run.target == "convnet" and run.keep == "0.5"
    ]
    chosen = {run.method: run for run in chosen if run.method in ("random", "infobatch", "data_agent")}
    scores = base / "scores.npz"
    chooser, name = find_subset(plan, chosen["random"])
    subsets = Path(chooser.find_output(plan, name))
    run_stage(
        "score_samples",
        ScoreSamples("digits", "none", "random", "0").specify(plan),
        data=data,
        signals=None,
        scores=scores,
        record=base / "scores.json",
    )
    select = SelectSubsets("digits", "none", "random", "0").specify(plan)
    run_stage("select_subsets", select, scores=scores, subsets=subsets, record=subsets.with_suffix(".json"))
    for processes in (1, 2):
        folder = base / f"in-{processes}"
        spec = TrainTargets.for_batch(batches["convnet"]).specify(plan)
        runs = [describe_trained(plan, run) for run in chosen.values()]
        # at full learning rates, two orders of the same sum drift apart within an epoch
        recipe = spec["recipe"] | {"epochs": EPOCHS, "processes": processes, "learning_rate": 0.003}
        spec |= {"runs": runs, "folder": str(folder), "recipe": recipe}
        run_stage("train_targets", spec, data=data, subsets=subsets, manifest=folder / "manifest.json")
        folders[processes] = folder
    return folders, chosen


def run_stage(stage, spec, **files):
    arguments = [part for name, path in files.items() for part in (f"--{name}", *([] if path is None else [str(path)]))]
    command = [sys.executable, "-m", f"selectbench.stages.{stage}", "--spec", to_json(spec), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("method", ["random", "infobatch", "data_agent"])
def test_two_processes_give_what_one_gives(trained, method):
    folders, chosen = trained
    paths = [record_path(folders[processes], chosen[method].id, TRAIN) for processes in (1, 2)]
    (one, two), (weights, others) = map(read_record, paths), (torch.load(path.with_name("model.pt"), weights_only=True) for path in paths)
    assert one["status"] == two["status"] == "ok" and two["recipe"]["processes"] == 2
    for name in ("steps", "sample_visits", "epochs"):
        assert one["training"][name] == two["training"][name]
    assert two["training"]["final_loss"] == pytest.approx(one["training"]["final_loss"], rel=1e-3)
    assert two["training"]["test_top1_by_epoch"] == pytest.approx(one["training"]["test_top1_by_epoch"], abs=1.0)
    assert weights.keys() == others.keys()
    for name, value in weights.items() if method != "infobatch" else ():  # a loss at the mean's very edge may fall on either side of it
        torch.testing.assert_close(value, others[name], rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    trajectory = one["selection"].get("trajectory")
    if trajectory is not None:
        assert two["selection"]["trajectory"]["kept"] == trajectory["kept"] and len(set(trajectory["kept"])) > 1
        assert two["selection"]["trajectory"]["loss"] == pytest.approx(trajectory["loss"], rel=1e-3)


def test_the_first_process_alone_writes(trained):
    folders, chosen = trained
    for folder in folders.values():
        runs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["runs"]
        assert set(runs) == {run.id for run in chosen.values()}
        assert {path.name for path in folder.rglob(".*")} <= {".manifest.json.lock"} and not list((folder / "state").rglob("*.pt"))

"""Replicates of a proxy: what is recorded of them, how methods average over them, and who pays for what."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from training_fixtures import RECIPE, make_pool

import selectbench as sb
from selectbench.methods import make_method
from selectbench.models.factory import build_model, features_and_logits
from selectbench.planning.plan import load_plan
from selectbench.planning.stage import Network
from selectbench.seeds import derive_seed, hash_ids, isolated_torch_rng
from selectbench.stages._replicates import finish_replicate
from selectbench.stages.measure_gradients import read_clean
from selectbench.stages.score_samples import ScoreSamples, describe_source
from selectbench.stages.train_proxy import TrainProxy
from selectbench.stages.train_replicates import TrainReplicates
from selectbench.training.engine import Checkpoint
from selectbench.training.recipes import Recipe
from selectbench.training.replicates import record_early, train_replicate

SIGNAL_OF = {"el2n": "errors", "grand": "last_layer_norms", "grand_full": "gradient_norms"}
RECORD = {
    "source": "early_replicates",
    "key": "k",
    "seeds": {},
    "context": {},
    "peak_memory_mb": 5,
    "costs": 3
    * [
        {"share": 0.0, "signal": "", "wall_s": 4.0, "sample_visits": 400, "forward_visits": 0},
        {"share": 0.0, "signal": "", "wall_s": 1.0, "sample_visits": 0, "forward_visits": 300},
        {"share": 0.0, "signal": "gradient_norms", "wall_s": 2.0, "sample_visits": 100, "forward_visits": 0},
    ],
}


@pytest.fixture
def pool(tmp_path):
    return make_pool(tmp_path, 41)


@pytest.fixture
def plan(root):
    return load_plan(root, {"scale": "tiny"})


def make_model(seed):
    with isolated_torch_rng(seed):
        return build_model({"library": "selectbench", "name": "convnet", "width": 4}, "small", (1, 8, 8), 3)


def train(model, pool, epochs, folder, recipe=RECIPE):
    return train_replicate(model, pool, recipe, epochs, ("test",), Checkpoint(folder / "state.pt", "test"))


def test_an_early_replicate_is_the_beginning_of_a_whole_one(pool, tmp_path):
    early, whole, short = make_model(0), make_model(0), make_model(0)
    correct, cost = train(early, pool, 3, tmp_path)
    assert correct.shape == (3, 41) and correct.dtype == torch.bool
    assert (cost["sample_visits"], cost["forward_visits"], cost["signal"]) == (3 * 41, 0, "")
    np.testing.assert_array_equal(correct, train(whole, pool, RECIPE.epochs, tmp_path)[0][:3])
    train(short, pool, 3, tmp_path, replace(RECIPE, epochs=3))
    (before, compressed) = (torch.cat([value.flatten() for value in model.parameters()]) for model in (early, short))
    assert not torch.equal(before, compressed)  # whose schedule ends after three epochs


def test_correctness_is_that_of_the_training_pass_before_the_update(pool, tmp_path):
    model, seen = make_model(1), []

    def spy(module, _, logits):
        if module.training:
            seen.append(logits.detach().clone())

    model.register_forward_hook(spy)
    correct, _ = train(model, pool, 2, tmp_path)
    for epoch, logits in enumerate(torch.cat(seen).split(41)):
        order = np.argsort(hash_ids(np.arange(41), derive_seed("test", "order", epoch)), kind="stable")
        np.testing.assert_array_equal(correct[epoch][order], logits.argmax(dim=1) == pool.labels[order])


def test_norms_of_a_replicate_are_those_of_a_loop_over_samples(pool, tmp_path):
    model = make_model(2)
    train(model, pool, 1, tmp_path)
    rows, (clean, backward) = record_early(model, pool, lambda: read_clean(pool))
    assert (clean["signal"], clean["sample_visits"], clean["forward_visits"]) == ("", 0, 41)
    assert (backward["signal"], backward["sample_visits"], backward["forward_visits"]) == ("gradient_norms", 41, 0)
    ((images, labels),) = read_clean(pool)
    last = {id(value) for value in list(model.parameters())[-2:]}  # weights and biases of the classifier
    for sample in range(41):
        _, logits = features_and_logits(model, images[sample : sample + 1])
        error = logits.detach().double().softmax(dim=1)[0]
        error[labels[sample]] -= 1
        gradients = torch.autograd.grad(nn.functional.cross_entropy(logits, labels[sample : sample + 1]), list(model.parameters()))
        squares = [value.double().square().sum().item() for value in gradients]
        lasts = [square for square, value in zip(squares, model.parameters(), strict=True) if id(value) in last]
        expected = {"errors": error.norm().item(), "gradient_norms": sum(squares) ** 0.5, "last_layer_norms": sum(lasts) ** 0.5}
        assert {name: row[sample].item() for name, row in rows.items()} == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("method", "signal"), SIGNAL_OF.items())
def test_scores_are_means_over_replicates_and_ignore_what_one_run_recorded(method, signal, signals):
    rows = np.random.default_rng(1).gamma(2.0, size=(10, len(signals)))
    replicated = replace(signals, **{signal: rows}, recorded_at=None)
    found = sb.score(method, replicated, replicates=True)
    assert found == pytest.approx([sum(column) / 10 for column in rows.T.tolist()])
    order = np.random.default_rng(2).permutation(len(signals))
    moved = sb.Signals(labels=signals.labels[order], ids=signals.ids[order], **{signal: rows[:, order]})
    assert sb.score(method, moved, replicates=True) == pytest.approx(found[order])
    kept = [sb.select(method, one, 0.3, replicates=True).ids.tolist() for one in (replicated, moved)]
    assert kept[0] == kept[1]


def test_events_of_replicates_are_added_up(signals):
    runs = np.random.default_rng(3).random((5, 6, len(signals))) < 0.7
    expected = []
    for sample in range(len(signals)):
        histories = runs[:, :, sample].tolist()
        expected.append(sum(sum(now and not after for now, after in itertools.pairwise(one)) if any(one) else 6 for one in histories))
    assert sb.score("forgetting", replace(signals, correct=runs), replicates=True).tolist() == expected


def test_methods_name_where_their_signals_come_from():
    sources = {
        ("el2n", True): ("early_replicates",),
        ("grand", True): ("early_replicates",),
        ("grand_full", True): ("early_replicates",),
        ("forgetting", True): ("whole_replicates",),
        ("d2", True): ("whole_replicates", "proxy"),  # its features are those of the one run
        ("el2n", False): ("proxy",),
        ("grand", False): ("proxy",),
        ("grand_full", False): ("gradient_norms",),
        ("forgetting", False): ("proxy",),
        ("d2", False): ("proxy",),
    }
    for (name, replicates), expected in sources.items():
        method = make_method(name, {"replicates": replicates})
        assert method.sources() == expected and method.needs_proxy(), name
        assert method.proxy_share == (1.0 if {"proxy", "gradient_norms"} & set(expected) else 0.0), name
    with pytest.raises(sb.MissingSignal, match="'grand' needs the signal 'last_layer_norms'"):
        sb.score("grand", sb.Signals(labels=[0, 1], features=np.eye(2), logits=np.eye(2)), replicates=True)
    with pytest.raises(sb.SelectbenchError, match=r"until: 0\.2 does not go with replicates"):
        make_method("el2n", {"until": 0.2, "replicates": True})


@pytest.mark.parametrize(("name", "visits", "wall_s"), [("el2n", 3 * (400 + 100), 15.0), ("grand_full", 3 * (400 + 100 + 100), 21.0)])
def test_replicates_are_charged_in_full_save_for_the_signals_of_others(name, visits, wall_s):
    method = make_method(name, {"replicates": True})
    paid = describe_source(RECORD, method.proxy_share, method.reads)
    assert paid["sample_visits"] == pytest.approx(visits)
    assert paid["wall_s"] == pytest.approx(wall_s)


@pytest.mark.parametrize("source", ["early_replicates", "whole_replicates"])
def test_a_finished_replicate_is_not_trained_again_and_differs_from_the_others(source, pool, tmp_path, root, plan):
    spec = {
        **TrainReplicates("digits", "convnet", source, "0").specify(plan),
        **{"state": str(tmp_path / "state"), "trained_epochs": 2, "num_classes": 3},
    }
    first, second = (finish_replicate(spec, pool, index, "key") for index in range(2))
    assert first["init"] != second["init"]
    assert any(not torch.equal(first["rows"][name], second["rows"][name]) for name in first["rows"])
    again = finish_replicate(spec, pool, 0, "key")
    assert again["costs"] == first["costs"]  # with their seconds: nothing was trained
    (tmp_path / "state" / "0-finished.pt").write_bytes(b"half")
    repeated = finish_replicate(spec, pool, 0, "key")
    for name, row in first["rows"].items():
        np.testing.assert_array_equal(repeated["rows"][name], row)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["0-finished.pt", "1-finished.pt"]


def test_one_job_serves_all_methods_and_its_visits_are_counted(plan):
    read = {
        name: ScoreSamples("digits", "convnet", name, "0").list_inputs(plan)["signals"]
        for name in plan.config.methods
        if name in ("el2n", "grand", "grand_full", "el2n_quota", "forgetting", "d2", "el2n_single")
    }
    early, whole = (TrainReplicates("digits", "convnet", source, "0") for source in ("early_replicates", "whole_replicates"))
    proxy = TrainProxy("digits", "convnet", "0")
    expected = {name: [early] for name in ("el2n", "grand", "grand_full", "el2n_quota")} | {"forgetting": [whole], "d2": [whole, proxy]}
    assert {name: [output.job for output in outputs] for name, outputs in read.items()} == expected | {"el2n_single": [proxy]}
    network, visits = early.count_visits(plan)
    assert network == Network("convnet", "small", "digits")
    assert visits == pytest.approx(896 * 10 * (4 + 1 + 1 / 3))
    assert whole.count_visits(plan).visits == 896 * 10 * 12
    assert early.estimate_bytes(plan, None) == 8 * 3 * 10 * 896
    assert whole.estimate_bytes(plan, None) == 10 * 12 * 896 // 8
    assert Recipe.from_config(early.specify(plan)["recipe"]).epochs == 12

"""The contract of every registered method. A new file in methods/ is tested here automatically."""

import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

import selectbench as sb
from conftest import AXES
from selectbench import signals as signals_module
from selectbench.methods import GreedyMethod, load_method, make_method
from selectbench.policy import class_quotas, count_kept

METHODS = [name for name in sb.available_methods() if not load_method(name).learned]  # agents: test_learned.py
SELECTING = [name for name in METHODS if name != "full"]
GREEDY = [name for name in METHODS if issubclass(load_method(name), GreedyMethod)]
SIGNALS = {*AXES, "errors", "recorded_at", "step_sizes", "validation_embeddings"}
KEEPS = ["0.01", "0.1", "0.25", "1/3", "0.5", "0.7", "0.9", "0.999", "1"]


def permute(signals: sb.Signals, order: np.ndarray) -> sb.Signals:
    """Return the same signals with the samples, and their ids, in another order."""
    axes = {"labels": 0, "ids": 0, **AXES}
    return replace(signals, **{name: np.take(getattr(signals, name), order, axis=axis) for name, axis in axes.items()})


def as_user_keep(keep: str) -> str | float:
    return keep if "/" in keep else float(keep)


@pytest.mark.parametrize("name", METHODS)
def test_is_documented_and_cited(name):
    method = load_method(name)
    assert method.__doc__
    assert method.citation
    assert method.score.__doc__
    assert set(method.needs) <= SIGNALS


@pytest.mark.parametrize("name", METHODS)
def test_parameters_of_the_wrong_kind_are_named(name):
    for field in fields(load_method(name)):
        with pytest.raises(sb.SelectbenchError, match=f"^{field.name}: "):
            load_method(name)(**{field.name: ["nonsense"]})


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("name", METHODS)
def test_keeps_exactly_k_unique_ids_in_range(name, keep, signals):
    if name == "full" and count_kept(keep, 203) != 203:
        with pytest.raises(sb.SelectbenchError, match="keeps all 203"):
            sb.select(name, signals, as_user_keep(keep))
        return
    subset = sb.select(name, signals, as_user_keep(keep), seed=3)
    assert len(subset.ids) == count_kept(keep, 203)
    assert subset.ids.dtype == np.int64
    assert len(np.unique(subset.ids)) == len(subset.ids)
    assert np.isin(subset.ids, signals.ids).all()
    assert subset.scores.shape == (203,)
    assert np.isfinite(subset.scores[np.isin(signals.ids, subset.ids)]).all()


@pytest.mark.parametrize("name", SELECTING)
def test_same_seed_same_answer_in_another_process(name, signals, tmp_path):
    path = tmp_path / "signals.npz"
    signals.save(path)
    program = (
        "import sys, json, selectbench as sb;"
        "print(json.dumps(sb.select(sys.argv[1], sb.Signals.load(sys.argv[2]), 0.3, seed=5).ids.tolist()))"
    )
    answers = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program, name, str(path)], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
            ).stdout
        )
        for seed in ("1", "2")
    ]
    here = sb.select(name, signals, 0.3, seed=5).ids.tolist()
    assert answers == [here, here]


@pytest.mark.parametrize("name", SELECTING)
def test_permuting_the_data_permutes_the_answer(name, signals):
    order = np.random.default_rng(1).permutation(len(signals))
    moved = permute(signals, order)
    here, there = sb.select(name, signals, 0.3, seed=2), sb.select(name, moved, 0.3, seed=2)
    np.testing.assert_allclose(there.scores, here.scores[order], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(there.ids, here.ids)


@pytest.mark.parametrize("most", ["0.01", "0.1", "1/3", "0.7"])
@pytest.mark.parametrize("quota", ["none", "proportional", "equal"])
@pytest.mark.parametrize("name", GREEDY)
def test_stopping_early_changes_no_selection_that_is_complete_by_then(name, quota, most, signals):
    whole, made = sb.score(name, signals, seed=2, quota=quota), make_method(name, {"quota": quota})
    largest = count_kept(most, len(signals))
    scores = sb.score(name, signals, keep=most, seed=2, quota=quota)
    reached = np.isfinite(scores)
    np.testing.assert_array_equal(scores[reached], whole[reached])
    assert (scores[~reached] == -np.inf).all()
    for num_kept in range(1, largest + 1):
        positions = made.choose(scores, signals, num_kept, 2)
        np.testing.assert_array_equal(positions, made.choose(whole, signals, num_kept, 2))
    np.testing.assert_array_equal(sb.select(name, signals, most, seed=2, quota=quota).ids, signals.ids[positions])


@pytest.mark.parametrize("name", GREEDY)
def test_greedy_methods_stop_early(name, signals):
    scores = sb.score(name, signals, keep=0.1, seed=2)
    assert np.isfinite(scores).sum() <= count_kept(0.1, len(signals)) + len(np.unique(signals.labels))


@pytest.mark.parametrize("name", GREEDY)
def test_other_tails_order_everything(name, signals):
    for tail in ("low", "middle"):
        assert np.isfinite(sb.score(name, signals, keep=0.1, seed=2, tail=tail)).all()


@pytest.mark.parametrize("name", GREEDY)
def test_more_than_was_ordered_is_one_clear_line(name, signals):
    scores = sb.score(name, signals, keep=0.1, seed=2)
    message = r"^scores: only \d+ of 203 samples are ordered \(the others have −∞\), too few to keep 102; score for a larger keep$"
    with pytest.raises(sb.SelectbenchError, match=message):
        make_method(name, {}).choose(scores, signals, 102, 2)
    with pytest.raises(sb.SelectbenchError, match=message):
        sb.take(scores, 0.5, seed=2)


@pytest.mark.parametrize("name", SELECTING)
def test_block_size_changes_nothing(name, signals, monkeypatch):
    whole = sb.score(name, signals, seed=2)
    monkeypatch.setattr(signals_module, "_BLOCK", 5)
    np.testing.assert_array_equal(sb.score(name, replace(signals), seed=2), whole)


@pytest.mark.parametrize("quota", ["proportional", "equal"])
@pytest.mark.parametrize("name", SELECTING)
def test_class_quotas_are_met_to_the_sample(name, quota, signals):
    subset = sb.select(name, signals, 0.3, seed=2, quota=quota)
    label_of = dict(zip(signals.ids.tolist(), signals.labels.tolist(), strict=True))
    kept = np.bincount([label_of[sample] for sample in subset.ids.tolist()], minlength=4)
    assert dict(enumerate(kept.tolist())) == class_quotas(signals.labels, count_kept(0.3, 203), quota)


@pytest.mark.parametrize("name", [name for name in SELECTING if load_method(name).ranked])
def test_prefers_what_it_scored_higher(name, signals):
    subset = sb.select(name, signals, 0.4, seed=2, quota="none")
    score_of = dict(zip(signals.ids.tolist(), subset.scores.tolist(), strict=True))
    kept = [score_of[sample] for sample in subset.ids.tolist()]
    dropped = [score_of[sample] for sample in set(signals.ids.tolist()) - set(subset.ids.tolist())]
    assert min(kept) >= max(dropped)
    assert kept == sorted(kept, reverse=True)


@pytest.mark.parametrize("name", METHODS)
def test_a_missing_signal_is_named(name, signals):
    for needed in load_method(name).needs:
        dropped = {"logits": None, "errors": None} if needed == "errors" else {needed: None}
        shown = "logits" if needed == "errors" else needed
        with pytest.raises(sb.MissingSignal, match=f"'{name}' needs the signal '{shown}'"):
            sb.select(name, replace(signals, **dropped, recorded_at=None), 0.3)


@pytest.mark.parametrize("name", METHODS)
def test_needs_only_what_it_declares(name, signals):
    declared = {"labels", "ids", *load_method(name).needs}
    declared |= {"logits", "recorded_at"} if "errors" in declared else set()
    lean = replace(signals, **dict.fromkeys(SIGNALS - declared))
    keep = 1 if name == "full" else 0.3
    np.testing.assert_array_equal(sb.select(name, lean, keep).ids, sb.select(name, signals, keep).ids)


@pytest.mark.parametrize("name", SELECTING)
def test_all_equal_signals_still_give_k_ids(name):
    labels = np.repeat([0, 1], [15, 5])
    flat = sb.Signals(
        labels=labels,
        features=np.ones((20, 3)),
        logits=np.zeros((2, 20, 2)),
        correct=np.zeros((4, 20), dtype=bool),
        inputs=np.ones((20, 4)),
        aum=np.full(20, -0.5),
        divergences=np.zeros((3, 20)),
        gradient_norms=np.zeros((2, 20)),
        alignments=np.full((3, 20), -1.0),
        step_sizes=np.full(3, 0.1),
        embeddings=np.ones((20, 3)),
        first_features=np.ones((20, 3)),
        validation_embeddings=np.ones((4, 3)),
        lengths=np.full(20, 7),
        rarities=np.ones(20),
        perplexities=np.full(20, 30.0),
        influences=np.zeros(20),
    )
    one, other = (sb.select(name, flat, 0.5, seed=seed, quota="none") for seed in (0, 1))
    assert len(np.unique(one.ids)) == len(np.unique(other.ids)) == 10
    assert np.isfinite(one.scores[one.ids]).all()


@pytest.mark.parametrize("name", METHODS)
def test_global_random_states_are_left_alone(name, signals):
    state = np.random.get_state()[1].copy()
    sb.select(name, signals, 1 if name == "full" else 0.3, seed=9)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("name", METHODS)
def test_importing_a_method_imports_no_torch(name):
    program = f"import sys; from selectbench.methods import load_method; load_method({name!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

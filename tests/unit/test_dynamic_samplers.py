"""Every sampler's rule against a simple reference, and the contract of all samplers."""

import copy
import io
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import selectbench as sb
from selectbench.dynamic import available_samplers, load_sampler
from selectbench.errors import SelectbenchError
from selectbench.seeds import derive_seed, hash_ids

ALL = ["data_agent", "epsilon_greedy", "full", "infobatch", "random_dynamic", "top_loss", "ucb"]
EVERY = sorted([*ALL, "full_fewer"])  # which trains for fewer epochs than all others
SELECTING = [name for name in ALL if name != "full"]
EXACT = [name for name in SELECTING if name != "infobatch"]  # keep exactly k in an epoch that prunes
NUM = 40


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name, *, num=NUM, keep=0.5, epochs=8, **parameters):
    return sb.dynamic.make(name, num_samples=num, keep=1 if name == "full" else keep, epochs=epochs, **parameters)


def scripted(ids, epoch):
    """Losses, logits and features that depend only on sample and epoch."""
    rng = np.random.default_rng(epoch)
    losses, logits, features = rng.gamma(1.0, size=6000), rng.normal(size=(6000, 4)), rng.normal(size=(6000, 6))
    return losses[ids], logits[ids], features[ids]


def run_epoch(sampler, batch_size=16, script=scripted):
    """Visit an epoch in batches, observe each, and return the ids in order."""
    ids = np.array(list(sampler))
    for start in range(0, len(ids), batch_size):
        batch = ids[start : start + batch_size]
        losses, logits, features = script(batch, sampler.epoch)
        sampler.observe(batch, losses, logits, features)
    return ids


def constant(losses):
    """Losses that never change; the model is certain about samples without loss and undecided about all others."""

    def script(ids, epoch):
        return losses[ids], np.where(losses[ids, None] == 0, [9.0, 0.0, 0.0], 0.0), np.ones((len(ids), 2))

    return script


def observe_all(sampler, losses):
    """One epoch with these losses (N,), in one batch."""
    run_epoch(sampler, len(losses), constant(np.asarray(losses, dtype=float)))


# ---- the registry, and invalid parameters


def test_the_samplers_are_the_files():
    assert available_samplers() == sorted([*EVERY, "no_training"])
    assert {load_sampler(name).__doc__.split()[0] for name in available_samplers()} <= {"Keep", "Visit", "Draw", "Drop"}
    assert all(load_sampler(name).citation for name in available_samplers())


def test_unknown_names_come_with_the_closest():
    with pytest.raises(SelectbenchError, match="unknown sampler 'info_batch'; did you mean 'infobatch'"):
        make("info_batch")
    with pytest.raises(SelectbenchError, match="sampler 'epsilon_greedy' has no parameter 'epsilom'; did you mean 'epsilon'"):
        make("epsilon_greedy", epsilom=0.1)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("ucb", {"keep": 0}, "keep: 0 is outside"),
        ("ucb", {"keep": 0.001}, "keeps none"),
        ("ucb", {"num": 0}, "num_samples: 0 is less than 1"),
        ("ucb", {"epochs": 2.5}, "epochs: 2.5 is not a whole number"),
        ("ucb", {"warmup": -1}, "warmup: -1 is less than 0"),
        ("ucb", {"anneal": 0.0}, "anneal: 0.0 is outside"),
        ("ucb", {"loss_weight": "inverse"}, "did you mean 'inverse_keep'"),
        ("ucb", {"c": -1.0}, "c: -1.0 is negative"),
        ("ucb", {"alpha": 0.0}, "alpha: 0.0 is outside"),
        ("epsilon_greedy", {"alpha": 1.5}, "alpha: 1.5 is outside"),
        ("epsilon_greedy", {"epsilon": 1.1}, "epsilon: 1.1 is outside"),
        ("infobatch", {"ratio": 1.0}, "ratio: 1.0 is outside"),
        ("data_agent", {"variant": "code"}, "variant: unknown 'code'"),
        ("data_agent", {"reward": "diffculty"}, "did you mean 'difficulty'"),
        ("data_agent", {"adaptive": 1}, "adaptive: 1 is not true or false"),
        ("data_agent", {"learns": np.int64(1)}, "learns: 1 is not true or false"),
        ("ucb", {"num": np.float64(40)}, "num_samples: 40.0 is not a whole number"),
        ("ucb", {"seed": "x"}, "seed: 'x' is not a whole number"),
        ("ucb", {"seed": 3.0}, "seed: 3.0 is not a whole number"),
        ("ucb", {"loss_weight": np.array(["rule"])}, "loss_weight: unknown array"),
        ("ucb", {"c": np.float32("nan")}, "c: nan is not a number"),
    ],
)
def test_values_that_cannot_be_used_are_told_in_one_line(name, parameters, message):
    with pytest.raises(SelectbenchError, match=message) as caught:
        make(name, **parameters)
    assert "\n" not in str(caught.value)


def test_full_keeps_everything_or_says_so():
    with pytest.raises(SelectbenchError, match="'full' keeps all 40 samples, not 20; use keep 1"):
        sb.dynamic.make("full", num_samples=NUM, keep=0.5, epochs=8)
    sampler = make("full")
    assert all(sorted(run_epoch(sampler)) == list(range(NUM)) for _ in range(8))


def test_numpys_numbers_are_numbers():
    plain = make("ucb", num=40, keep=0.3, epochs=9, seed=2, warmup=1, anneal=0.9, alpha=0.7)
    own = {"num": np.ones(40, bool).sum(), "keep": np.float32(0.3), "epochs": np.uint8(9), "seed": np.int64(2), "warmup": np.int8(1)}
    given = make("ucb", **own, anneal=np.float32(0.9), alpha=np.float16(0.7))
    for epoch in range(9):
        plain.set_epoch(epoch), given.set_epoch(np.int16(epoch))
        assert run_epoch(plain).tolist() == run_epoch(given).tolist()
    assert settle(given.state_dict())["parameters"] == plain.state_dict()["parameters"]
    assert {type(value) for value in given.state_dict()["parameters"].values()} == {int, float, str}
    assert make("data_agent", adaptive=np.False_).adaptive is False


# ---- full data for fewer epochs


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 0.7, 1])
@pytest.mark.parametrize(("num", "epochs", "warmup", "anneal"), [(40, 8, 1, 0.875), (97, 12, 1, 0.875), (97, 12, 3, 1), (50, 5, 0, 1)])
def test_full_fewer_visits_as_many_samples_as_a_pruned_training(num, keep, epochs, warmup, anneal):
    same = {"num": num, "keep": keep, "epochs": epochs, "warmup": warmup, "anneal": anneal}
    sampler, pruned = make("full_fewer", **same), make("random_dynamic", **same)
    for each in (sampler, pruned):
        for _ in range(each.num_epochs):
            list(each)
    assert sampler.visits == sampler.planned_visits == pruned.visits == pruned.planned_visits
    *whole, last = (row["kept"] for row in sampler.trace)
    assert set(whole) <= {num} and 0 < last <= num
    assert sampler.visit_counts.max() - sampler.visit_counts.min() <= 1
    assert sampler.num_epochs < epochs or keep == 1
    with pytest.raises(SelectbenchError, match=f"past the last one, {sampler.num_epochs - 1}; the sampler was made for"):
        list(sampler)


def test_full_fewer_compresses_the_schedule_to_its_visits():
    sampler = make("full_fewer", num=10, keep=0.5, epochs=8)  # 50 visits: 5 epochs
    assert [sampler.locate(epoch) for epoch in range(6)] == pytest.approx([0, 1.6, 3.2, 4.8, 6.4, 8])
    sampler = make("full_fewer", num=10, keep=0.3, epochs=8)  # 38 visits: 3 epochs and 8 samples
    assert [sampler.locate(epoch) for epoch in range(5)] == pytest.approx([0, 80 / 38, 160 / 38, 240 / 38, 8])
    assert [make("ucb").locate(epoch) for epoch in (0, 3, 8)] == [0, 3, 8]


def test_no_training_has_no_epoch():
    sampler = make("no_training")
    assert sampler.planned_visits == sampler.num_epochs == sampler.visits == 0
    with pytest.raises(SelectbenchError, match="the sampler was made for 0 epochs"):
        next(iter(sampler))


def test_full_fewer_has_no_epoch_that_prunes():
    with pytest.raises(SelectbenchError, match="'inverse_keep' weighs the epochs that prune, and 'full_fewer' prunes none"):
        make("full_fewer", loss_weight="inverse_keep")


# ---- when it prunes


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(
    ("epochs", "warmup", "anneal", "pruned"),
    [(8, 1, 0.875, range(1, 7)), (10, 2, 0.875, range(2, 8)), (4, 0, 1, range(4)), (10, 1, 0.7, range(1, 7))],
)
def test_prunes_after_warm_up_until_annealing_without_being_told_the_epoch(name, epochs, warmup, anneal, pruned):
    sampler = make(name, epochs=epochs, warmup=warmup, anneal=anneal)
    lengths = []
    for _ in range(epochs):
        ids = run_epoch(sampler)
        assert len(set(ids)) == len(ids) == len(sampler) == sampler.trace[-1]["kept"]
        lengths.append(len(ids))
    assert lengths == [NUM // 2 if epoch in pruned else NUM for epoch in range(epochs)]


def test_infobatch_prunes_in_the_same_epochs():
    sampler = make("infobatch", epochs=10)
    assert [len(run_epoch(sampler)) < NUM for _ in range(10)] == [False] + 7 * [True] + 2 * [False]


@pytest.mark.parametrize("name", SELECTING)
def test_a_training_in_which_no_epoch_would_prune_is_refused(name):
    with pytest.raises(SelectbenchError, match="none of 2 is pruned with warmup 1 and anneal 0.875"):
        make(name, epochs=2)
    assert make(name, epochs=2, anneal=1).prunes(1)
    assert make(name, epochs=2, keep=1).num_kept == NUM


@pytest.mark.parametrize(("num", "keep", "kept"), [(25, 0.1, 2), (35, 0.1, 4), (10, 0.3, 3), (7, "1/3", 2), (3, 0.5, 2)])
@pytest.mark.parametrize("name", EXACT)
def test_keeps_exactly_round_half_even(name, num, keep, kept):
    sampler = make(name, num=num, keep=keep)
    run_epoch(sampler)
    assert len(run_epoch(sampler)) == kept


@pytest.mark.parametrize("name", [name for name in SELECTING if name != "random_dynamic"])
def test_a_loop_that_forgets_to_observe_is_told(name):
    sampler = make(name)
    list(sampler)
    with pytest.raises(SelectbenchError, match=f"{name} has nothing to choose epoch 1 from; call observe"):
        list(sampler)


# ---- order, seeds and streams


def test_order_is_a_function_of_seed_epoch_and_id_alone():
    samplers = [make(name) for name in EVERY]
    first = [run_epoch(sampler).tolist() for sampler in samplers]
    assert all(order == first[0] for order in first)
    rank = hash_ids(np.arange(NUM), derive_seed("dynamic", "order", 0, 1))
    for sampler in samplers:
        ids = run_epoch(sampler)
        assert ids.tolist() == sorted(ids.tolist(), key=lambda sample: rank[sample])
    assert first[0] != sorted(first[0]) != run_epoch(make("full", seed=1)).tolist()


@pytest.mark.parametrize("name", EVERY)
def test_order_differs_between_epochs_and_user_seeds(name):
    one, two = make(name, seed=1), make(name, seed=2)
    orders = [tuple(run_epoch(sampler)) for sampler in (one, two) for _ in range(4)]
    assert len(set(orders)) == 8


@pytest.mark.parametrize("name", ["random_dynamic", "epsilon_greedy", "infobatch", "data_agent"])
def test_two_user_seeds_choose_differently_and_one_seed_alike(name):
    def choices(seed):
        sampler = make(name, seed=seed, num=200)
        return [frozenset(run_epoch(sampler).tolist()) for _ in range(6)]

    assert choices(3) == choices(3)
    assert all(one != two for one, two in zip(choices(3)[1:], choices(4)[1:], strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_global_generators_are_neither_read_nor_written(name):
    chosen = []
    for global_seed in (0, 1):
        random.seed(global_seed)
        np.random.seed(global_seed)
        torch.manual_seed(global_seed)
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        sampler = make(name)
        chosen.append([run_epoch(sampler).tolist() for _ in range(5)])
        sampler.load_state_dict(sampler.state_dict())
        after = random.getstate(), np.random.get_state(), torch.get_rng_state()
        assert before[0] == after[0] and torch.equal(before[2], after[2])
        assert all(np.array_equal(one, two) for one, two in zip(before[1], after[1], strict=True))
    assert chosen[0] == chosen[1]


# ---- the rules


def test_random_dynamic_covers_as_independent_draws_do():
    sampler = make("random_dynamic", num=4000, keep=0.3, epochs=6, warmup=0, anneal=1)
    for epoch in range(6):
        list(sampler)
        assert sampler.seen_fraction == pytest.approx(1 - 0.7 ** (epoch + 1), abs=0.025)


def test_top_loss_keeps_the_highest_last_losses():
    rng = np.random.default_rng(0)
    sampler, last = make("top_loss", keep=0.3, epochs=20), np.full(NUM, np.inf)
    for _ in range(17):
        expected = set(np.argsort(-last)[:12]) if sampler.epoch >= 0 else set(range(NUM))
        ids = np.array(list(sampler))
        assert set(ids) == expected
        last[ids] = rng.gamma(1.0, size=len(ids))
        sampler.observe(ids, last[ids])


def test_equal_losses_take_turns():
    sampler = make("top_loss", keep=0.25, epochs=30, anneal=1)
    observe_all(sampler, np.ones(NUM))
    before = sampler.visit_counts
    for _ in range(29):
        run_epoch(sampler, script=constant(np.ones(NUM)))
    assert (sampler.visit_counts > before).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.25, 0.3, 1.0])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.7])
def test_epsilon_greedy_counts_are_exact(epsilon, keep):
    num, losses = 200, np.random.default_rng(0).permutation(200).astype(float)
    sampler = make("epsilon_greedy", num=num, keep=keep, epsilon=epsilon)
    observe_all(sampler, losses)
    kept = round(keep * num)
    num_highest = round((1 - epsilon) * kept)
    ids = list(sampler)
    highest = set(np.argsort(-losses)[:num_highest])
    assert len(set(ids)) == len(ids) == kept
    assert highest <= set(ids)
    assert len(set(ids) - highest) == kept - num_highest


def test_epsilon_greedy_draws_the_rest_uniformly():
    losses, counts = np.arange(NUM, dtype=float), np.zeros(NUM)
    for seed in range(400):
        sampler = make("epsilon_greedy", epsilon=0.5, seed=seed)  # 10 highest, 10 of the other 30
        observe_all(sampler, losses)
        counts[list(sampler)] += 1
    assert (counts[30:] == 400).all()
    assert counts[:30].mean() == pytest.approx(400 / 3)
    assert abs(counts[:30] - 400 / 3).max() < 4 * np.sqrt(400 * (1 / 3) * (2 / 3))


def test_epsilon_greedy_draws_the_rest_uniformly_among_ties_too():
    counts = np.zeros(NUM)
    for seed in range(400):
        sampler = make("epsilon_greedy", epsilon=0.5, seed=seed)
        observe_all(sampler, np.where(np.arange(NUM) < 20, 0.0, 1.0))  # 10 of the 20 tied highest, then 10 of any 30
        counts[list(sampler)] += 1
    assert abs(counts[:20] - 400 / 3).max() < 4 * np.sqrt(400 * (1 / 3) * (2 / 3))
    assert abs(counts[20:] - 400 * 2 / 3).max() < 4 * np.sqrt(400 * (1 / 3) * (2 / 3))


@pytest.mark.parametrize("name", ["epsilon_greedy", "ucb"])
def test_means_and_spreads_are_those_of_exponential_weights(name):
    alpha, history = 0.3, np.random.default_rng(1).gamma(1.0, size=(6, NUM))
    sampler = make(name, epochs=20, keep=1, alpha=alpha)
    for losses in history:
        observe_all(sampler, losses)
    weights = alpha * (1 - alpha) ** np.arange(5, -1, -1)
    weights[0] /= alpha
    assert weights.sum() == pytest.approx(1)
    means = weights @ history
    np.testing.assert_allclose(sampler.means, means)
    if name == "ucb":
        np.testing.assert_allclose(sampler.variances, weights @ (history - means) ** 2)


def test_ucb_keeps_the_highest_bounds():
    chosen = {}
    for c in (0.0, 5.0):
        sampler = make("ucb", c=c, keep=0.25, warmup=3, anneal=1)
        for swing in (-30, 30, -30):
            observe_all(sampler, np.arange(NUM) + np.where(np.arange(NUM) < 5, swing, 0))
        chosen[c] = set(sampler)
        assert chosen[c] == set(np.argsort(-(sampler.means + c * np.sqrt(sampler.variances)))[:10])
    assert chosen[0.0] == set(range(30, 40))
    assert chosen[5.0] == {0, 1, 2, 3, 4, 35, 36, 37, 38, 39}


def test_ucb_bonus_vanishes_on_constant_losses():
    sampler = make("ucb", epochs=40, keep=1, alpha=0.3)
    losses = np.random.default_rng(0).gamma(1.0, size=NUM)
    for _ in range(5):
        observe_all(sampler, losses)
        assert (sampler.bonus == 0).all()
    observe_all(sampler, losses + 1)
    jump = sampler.bonus.copy()
    assert (jump > 0.1).all()
    for _ in range(30):
        observe_all(sampler, losses)
    assert (sampler.bonus < 0.01 * jump).all()


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.95])
def test_infobatch_drops_below_the_mean_and_its_weights_sum_to_all(ratio):
    num = 5003
    losses = np.random.default_rng(0).gamma(0.7, size=num)
    sampler = make("infobatch", num=num, ratio=ratio, epochs=8)
    assert len(run_epoch(sampler)) == num
    observe_all(sampler, losses)  # epoch 1 was chosen by other losses; its own replace them for the samples it visited
    known = sampler.losses.copy()
    below = known < known.mean()
    ids = np.array(list(sampler))
    weights = sampler.weights(ids)
    assert set(np.flatnonzero(~below)) <= set(ids)
    assert (weights[~below[ids]] == 1).all()
    assert len(ids) == num - round(ratio * below.sum())
    np.testing.assert_allclose(weights[below[ids]], 1 / (1 - ratio), rtol=0.01)
    assert len(set(weights)) == 2
    assert abs(weights.sum(dtype=float) - num) < 1


def test_infobatch_is_unbiased():
    losses, total = np.random.default_rng(0).gamma(1.0, size=60), np.zeros(60)
    for seed in range(1500):
        sampler = make("infobatch", num=60, ratio=0.5, seed=seed)
        observe_all(sampler, losses)
        ids = np.array(list(sampler))
        total[ids] += sampler.weights(ids)
    np.testing.assert_allclose(total / 1500, 1.0, atol=4 / np.sqrt(1500))


def test_infobatch_reads_its_ratio_off_the_keep_fraction():
    assert make("infobatch", keep=0.7).drop_share == pytest.approx(0.6)
    assert make("infobatch", keep=0.3).drop_share == 0.9
    assert make("infobatch", keep=0.3, ratio=0.4).drop_share == 0.4
    sampler = make("infobatch", num=1000, keep=0.7)
    observe_all(sampler, np.random.default_rng(0).normal(5, 1, size=1000))  # half lie below the mean
    assert len(list(sampler)) == pytest.approx(700, abs=15)


def test_infobatch_says_which_keep_fraction_its_cap_stands_for():
    reached = {keep: make("infobatch", keep=keep).reached_keep for keep in (0.2, 0.3, 0.5, 0.55, 0.7)}
    assert reached == {0.2: 0.55, 0.3: 0.55, 0.5: 0.55, 0.55: pytest.approx(0.55), 0.7: pytest.approx(0.7)}
    assert make("infobatch", keep=0.3, ratio=0.4).reached_keep == pytest.approx(0.8)
    trainings = []
    for keep in (0.3, 0.5):
        sampler = make("infobatch", keep=keep)
        trainings.append([(ids := run_epoch(sampler)).tolist() + sampler.weights(ids).tolist() for _ in range(8)])
    assert trainings[0] == trainings[1]
    assert all(make(name, keep=0.3).reached_keep == 0.3 for name in EXACT)


def test_infobatch_never_drops_all_below_the_mean_nor_any_of_equal_losses():
    sampler = make("infobatch", ratio=0.95)
    observe_all(sampler, np.where(np.arange(NUM) < 3, 0.0, 1.0))
    ids = np.array(list(sampler))
    assert (ids < 3).sum() == 1
    assert sampler.weights(ids)[ids < 3] == 3
    for value in (0.1, 0.3, 1e-9, 7.7):
        sampler = make("infobatch", num=1001, ratio=0.95)
        observe_all(sampler, np.full(1001, value))
        assert len(list(sampler)) == 1001


# ---- samples that may never be revisited


@pytest.mark.parametrize("name", ["top_loss", "epsilon_greedy", "ucb"])
def test_what_was_never_observed_comes_first(name):
    sampler = make(name, keep=0.5, warmup=0, anneal=1, **({"epsilon": 0.0} if name == "epsilon_greedy" else {}))
    first = run_epoch(sampler, script=constant(np.full(NUM, 1e6)))
    second = run_epoch(sampler, script=constant(np.full(NUM, 1e6)))
    assert set(first) | set(second) == set(range(NUM))


STARVES = {
    "random_dynamic": ({}, False),
    "epsilon_greedy": ({"epsilon": 0.2}, False),
    "infobatch": ({"ratio": 0.5}, False),
    "top_loss": ({}, True),
    "ucb": ({}, True),
    "data_agent": ({"agent": "none", "reward": "uncertainty"}, True),
}


@pytest.mark.parametrize("name", SELECTING)
def test_who_leaves_easy_samples_out_for_ever(name):
    parameters, starves = STARVES[name]
    losses = np.where(np.arange(NUM) < 15, 0.0, 1.0)
    sampler = make(name, epochs=100, anneal=0.99, **parameters)
    observe_all(sampler, losses)
    for _ in range(98):
        run_epoch(sampler, batch_size=NUM, script=constant(losses))
    assert (sampler.visit_counts[:15] == 1).all() if starves else (sampler.visit_counts[:15] > 3).all()
    run_epoch(sampler, script=constant(losses))  # annealing: all data
    assert (sampler.visit_counts >= 2).all()


def test_a_left_out_sample_returns_when_others_fall_below_its_old_loss():
    sampler = make("top_loss", keep=0.5, epochs=10)
    observe_all(sampler, np.where(np.arange(NUM) < 20, 1.0, 2.0))
    assert set(run_epoch(sampler, script=constant(np.full(NUM, 0.5)))) == set(range(20, 40))
    assert set(sampler) == set(range(20))


# ---- weights


@pytest.mark.parametrize("name", SELECTING)
@pytest.mark.parametrize("loss_weight", ["none", "inverse_keep"])
def test_declared_weights_are_alike_for_every_sampler(name, loss_weight):
    sampler = make(name, keep=0.4, loss_weight=loss_weight)
    for epoch in range(8):
        ids = run_epoch(sampler)
        expected = 2.5 if loss_weight == "inverse_keep" and 1 <= epoch < 7 else 1.0
        assert (sampler.weights(ids) == np.float32(expected)).all()


@pytest.mark.parametrize("name", [name for name in ALL if name != "infobatch"])
def test_rules_without_weights_weigh_one(name):
    sampler = make(name)
    for _ in range(8):
        assert (sampler.weights(run_epoch(sampler)) == 1).all()


def test_weights_come_back_as_the_ids_came():
    sampler = make("infobatch", ratio=0.5)
    run_epoch(sampler)
    ids = list(sampler)
    array, tensor = sampler.weights(ids), sampler.weights(torch.tensor(ids))
    assert isinstance(array, np.ndarray) and array.dtype == np.float32 and array.shape == (len(ids),)
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32
    assert tensor.tolist() == array.tolist() and len(set(array)) == 2
    tensor.mul_(0)
    assert sampler.weights(ids).all()
    dropped = next(iter(set(range(NUM)) - set(ids)))
    with pytest.raises(SelectbenchError, match=f"weights: sample {dropped} is not in epoch 1"):
        sampler.weights([ids[0], dropped])


# ---- epochs


@pytest.mark.parametrize("name", ALL)
def test_setting_the_epoch_changes_nothing_but_may_skip_or_repeat(name):
    free, told = make(name), make(name)
    for epoch in range(6):
        told.set_epoch(epoch)
        length = len(told)
        ids = run_epoch(free)
        assert run_epoch(told).tolist() == ids.tolist() and length == len(ids)
    told.set_epoch(5)
    assert list(told) == ids.tolist()
    told.set_epoch(7)
    assert len(told) == NUM and told.epoch == 7
    assert [row["epoch"] for row in told.trace] == [0, 1, 2, 3, 4, 5, 7]


def test_epochs_end():
    sampler = make("random_dynamic", epochs=4)
    with pytest.raises(SelectbenchError, match="set_epoch: 4 is outside 0 … 3"):
        sampler.set_epoch(4)
    sampler.set_epoch(2)
    with pytest.raises(SelectbenchError, match="set_epoch: 1 is outside 2 … 3, the remaining epochs; use load_state_dict to go back"):
        sampler.set_epoch(1)
    list(sampler)
    list(sampler)
    with pytest.raises(SelectbenchError, match="epoch 4 is past the last one, 3; the sampler was made for 4 epochs"):
        list(sampler)


def test_an_iterator_that_nobody_reads_costs_no_epoch():
    sampler = make("random_dynamic")
    assert len(sampler) == NUM and len(sampler.epoch_ids) == NUM
    iter(sampler)
    iter(sampler)
    assert list(sampler) == sampler.epoch_ids.tolist()
    assert sampler.epoch == 0 and all(type(sample) is int for sample in sampler)
    with pytest.raises(ValueError, match="read-only"):
        sampler.epoch_ids[0] = 3


def test_accounts():
    sampler = make("top_loss", keep=0.25)
    assert (sampler.visits, sampler.seen_fraction, sampler.trace) == (0, 0.0, [])
    half = iter(sampler)
    taken = [next(half) for _ in range(10)]
    assert (sampler.visits, sampler.seen_fraction) == (10, 0.25)
    sampler.observe(taken[:4], [1.0, 2.0, 3.0, 4.0])
    sampler.observe(taken[4:6], [5.0, 6.0])
    assert sampler.trace == [{"epoch": 0, "kept": 40, "observed": 6, "batches": 2, "loss": pytest.approx(3.5)}]
    list(half)
    list(sampler)
    assert (sampler.visits, sampler.seen_fraction, sampler.trace[1]["kept"], sampler.trace[1]["loss"]) == (50, 1.0, 10, None)
    assert sampler.visit_counts.sum() == 50
    spent = sampler.overhead_s
    sampler.observe([0], [1.0])
    assert 0 < spent < sampler.overhead_s < 5


# ---- observe


@pytest.mark.parametrize(
    ("ids", "losses", "message"),
    [
        ([0, 1], [1.0], r"losses \(1,\) do not match ids \(2,\); give one loss per sample"),
        ([0, 1], 1.0, r"losses \(\) do not match ids \(2,\)"),
        ([0, NUM], [1.0, 1.0], "observe: id 40 is outside 0 … 39"),
        ([-1, 0], [1.0, 1.0], "observe: id -1 is outside"),
        ([0.0, 1.0], [1.0, 1.0], "must be .B,. whole numbers, not .2,. of float64"),
        ([[0, 1]], [[1.0, 1.0]], "must be .B,. whole numbers"),
        ([3, 7], [1.0, np.nan], "the loss of sample 7 is nan"),
        ([3, 7], [np.inf, 1.0], "the loss of sample 3 is inf"),
        ([3, 7], [[1.0], [1.0, 2.0]], "observe: losses: its rows have different lengths"),
        ([3, 7], ["high", "low"], r"observe: losses: holds text \('high'\), not numbers"),
        (["a", "b"], [1.0, 1.0], r"observe: ids: holds text \('a'\), not numbers"),
        ([3, 7], np.ma.masked_array([1.0, 2.0], [False, True]), "observe: losses: has masked entries"),
    ],
)
def test_observations_that_cannot_be_used_are_told(ids, losses, message):
    sampler = make("top_loss")
    with pytest.raises(SelectbenchError, match=message):
        sampler.observe(ids, losses)
    assert np.isnan(sampler.losses).all()


@pytest.mark.parametrize("name", ["top_loss", "epsilon_greedy", "ucb", "infobatch"])
def test_tensors_of_any_precision_and_arrays_teach_the_same(name):
    ids, losses = np.arange(NUM), np.arange(NUM) / 8
    memories = []
    for given in (losses.tolist(), losses, torch.tensor(losses, requires_grad=True), torch.tensor(losses, dtype=torch.bfloat16)):
        sampler = make(name)
        sampler.observe(torch.tensor(ids) if hasattr(given, "detach") else ids, given)
        sampler.observe([], [])
        memories.append([getattr(sampler, memory).tolist() for memory in sampler.memory])
    assert all(memory == memories[0] for memory in memories)


@pytest.mark.parametrize("name", ["infobatch", "top_loss"])
def test_a_validation_loop_cannot_teach_the_sampler(name):
    sampler = make(name)
    run_epoch(sampler)
    ids = np.array(list(sampler))
    others, before = np.setdiff1d(np.arange(NUM), ids), sampler.losses.copy()
    with pytest.raises(SelectbenchError, match=f"observe: sample {others[0]} is not in epoch 1; give only ids that the sampler hands out"):
        sampler.observe(np.arange(NUM), np.zeros(NUM))
    np.testing.assert_array_equal(sampler.losses, before)
    assert sampler.trace[1]["observed"] == 0


# ---- passes that are left before their end


@pytest.mark.parametrize("name", EVERY)
def test_a_look_at_a_batch_costs_no_epoch(name):
    sampler, other = make(name), make(name)
    next(iter(sampler))
    again = r"epoch 0 was left after 1 of 40 samples, and none of them was observed; call set_epoch\(0\) to repeat it, or set_epoch\(1\)"
    for _ in range(2):
        with pytest.raises(SelectbenchError, match=again):
            next(iter(sampler))
    sampler.set_epoch(0)
    for _ in range(other.num_epochs):
        assert run_epoch(sampler).tolist() == run_epoch(other).tolist()


def test_an_epoch_that_is_left_early_on_purpose_is_one():
    sampler = make("top_loss")
    first = next(iter(sampler))
    sampler.observe([first], [0.5])
    assert len(list(sampler)) == NUM // 2 and sampler.epoch == 1
    sampler = make("random_dynamic")
    for epoch in range(8):
        sampler.set_epoch(epoch)
        next(iter(sampler))
    assert sampler.visits == 8
    with pytest.raises(SelectbenchError, match=r"epoch 7 was left after 1 of 40 .* call set_epoch\(7\) to repeat it$"):
        next(iter(sampler))


# ---- threads and processes


@pytest.mark.parametrize("name", ["data_agent", "infobatch"])
def test_threads_may_share_a_sampler(name):
    sampler = make(name, num=6000, keep=1)
    ids = np.array(list(sampler))
    with ThreadPoolExecutor(6) as threads:
        batches = np.split(ids, 600)
        list(threads.map(lambda batch: sampler.observe(batch, *scripted(batch, 0)), batches))
        weights = list(threads.map(sampler.weights, batches))
    assert (sampler.trace[0]["observed"], sampler.trace[0]["batches"]) == (6000, 600)
    assert not np.isnan(sampler.scores if name == "data_agent" else sampler.losses).any()
    assert all((weight == 1).all() for weight in weights)
    if name == "data_agent":
        assert sampler.trace[0]["updates"] == 60


def test_a_sampler_can_be_copied_and_pickled():
    sampler = make("data_agent")
    run_epoch(sampler)
    for other in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert run_epoch(other).tolist() == run_epoch(copy.deepcopy(sampler)).tolist()


RANKS = """
import sys
import torch
import selectbench as sb
sampler = sb.dynamic.make("top_loss", num_samples=20, keep=0.5, epochs=8)
if sys.argv[1] == "connected":
    store = torch.distributed.FileStore(sys.argv[3], 2)
    torch.distributed.init_process_group("gloo", store=store, rank=int(sys.argv[2]), world_size=2)
try:
    next(iter(sampler))
except sb.SelectbenchError as error:
    print(error)
sampler.whole_batches = True
print(len(list(sampler)))
"""


@pytest.mark.parametrize("way", ["connected", "announced"])
def test_more_than_one_process_is_refused_unless_each_observes_whole_batches(way, tmp_path):
    announced = {"RANK": "0", "WORLD_SIZE": "2"} if way == "announced" else {}
    commands = [[sys.executable, "-c", RANKS, way, str(rank), str(tmp_path / "store")] for rank in range(2 if way == "connected" else 1)]
    started = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True, env=os.environ | announced) for each in commands]
    for process in started:
        refused, length = process.communicate()[0].splitlines()
        assert refused.startswith("top_loss: samplers do not share observations between the 2 processes of this training; use one process")
        assert length == "20" and process.returncode == 0


def test_a_state_of_one_process_is_no_way_around(monkeypatch):
    sampler, restored = make("top_loss"), make("top_loss")
    run_epoch(sampler)
    restored.load_state_dict(sampler.state_dict())
    restored.set_epoch(0)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(SelectbenchError, match="do not share observations between the 8 processes"):
        next(iter(restored))


# ---- state


def settle(state):
    """A state after saving to and loading from a file."""
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def spell(state):
    """All numbers of a state."""
    if isinstance(state, dict):
        return {key: spell(value) for key, value in state.items()}
    if isinstance(state, list):
        return [spell(value) for value in state]
    return str(state.tolist()) if isinstance(state, torch.Tensor) else state


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("batches", [0, 2])
def test_a_restored_sampler_continues_identically(name, batches):
    sampler, restored = make(name, num=90, epochs=9), make(name, num=90, epochs=9)
    for _ in range(3):
        run_epoch(sampler, batch_size=7)
    ids = np.array(list(sampler))
    for start in range(0, len(ids), 7):
        if start == 7 * batches:
            restored.load_state_dict(settle(sampler.state_dict()))
        for one in (sampler, restored) if start >= 7 * batches else (sampler,):
            one.observe(ids[start : start + 7], *scripted(ids[start : start + 7], 3))
    for _ in range(4, sampler.num_epochs):
        one, two = run_epoch(sampler, batch_size=7), run_epoch(restored, batch_size=7)
        assert one.tolist() == two.tolist()
        assert sampler.weights(one).tolist() == restored.weights(two).tolist()
    assert restored.trace == sampler.trace and len(sampler.trace) == sampler.num_epochs > 5
    assert restored.visits == sampler.visits and (restored.visit_counts == sampler.visit_counts).all()


@pytest.mark.parametrize("name", EVERY)
def test_a_state_is_a_copy(name):
    sampler, restored = make(name), make(name)
    for _ in range(2):
        run_epoch(sampler, batch_size=7)
    state = sampler.state_dict()
    before = spell(state)
    restored.load_state_dict(state)
    for _ in range(3):
        run_epoch(sampler, batch_size=7)
        run_epoch(restored, batch_size=7)
    assert spell(state) == before


@pytest.mark.parametrize("name", EVERY)
def test_a_state_taken_inside_an_epoch_asks_what_to_do(name):
    sampler, restored = make(name), make(name)
    run_epoch(sampler)
    half = iter(sampler)
    batch = np.array([next(half) for _ in range(5)])
    sampler.observe(batch, *scripted(batch, 1))
    restored.load_state_dict(settle(sampler.state_dict()))
    kept = len(sampler)
    with pytest.raises(
        SelectbenchError, match=rf"the state was taken inside epoch 1, after 5 of {kept} samples; call set_epoch\(1\) to repeat"
    ):
        next(iter(restored))
    restored.set_epoch(1)
    assert list(restored) == sampler.epoch_ids.tolist()


def test_a_state_taken_while_workers_are_ahead_asks_too():
    sampler, restored = make("infobatch"), make("infobatch")
    ids = np.array(list(sampler))  # all handed out, and only two of five batches observed
    for batch in (ids[:8], ids[8:16]):
        sampler.observe(batch, *scripted(batch, 0)[:1])
    restored.load_state_dict(sampler.state_dict())
    with pytest.raises(SelectbenchError, match="the state was taken inside epoch 0, after 16 of 40 samples"):
        next(iter(restored))
    for start in (16, 24, 32):
        sampler.observe(ids[start : start + 8], *scripted(ids[start : start + 8], 0)[:1])
    restored.load_state_dict(sampler.state_dict())
    assert list(restored) == list(sampler) and restored.epoch == 1


def test_an_interrupted_epoch_can_be_repeated():
    sampler, restored = make("random_dynamic"), make("random_dynamic")
    list(sampler)
    half = iter(sampler)
    for _ in range(5):
        next(half)
    restored.load_state_dict(sampler.state_dict())
    restored.set_epoch(1)
    assert list(restored) == sampler.epoch_ids.tolist()
    assert restored.visits == NUM + 5 + 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num": 41}, "num_samples is 40 in the state and 41 here"),
        ({"keep": 0.4}, "keep is 0.5 in the state and 0.4 here"),
        ({"epochs": 9}, "epochs is 8 in the state and 9 here"),
        ({"seed": 1}, "seed is 0 in the state and 1 here"),
        ({"c": 2.0}, "c is 1.0 in the state and 2.0 here"),
    ],
)
def test_a_state_of_another_training_is_refused(change, message):
    with pytest.raises(SelectbenchError, match=message):
        make("ucb", **change).load_state_dict(make("ucb").state_dict())
    with pytest.raises(SelectbenchError, match="the state belongs to sampler 'ucb', not 'top_loss'"):
        make("top_loss").load_state_dict(make("ucb").state_dict())


def damage(state, path, change):
    """A copy of a state in which the entry at a path is changed, or removed if the change is None."""
    state = copy.deepcopy(state)
    *parents, last = path
    place = state
    for parent in parents:
        place = place[parent]
    if change is None:
        del place[last]
    else:
        place[last] = change(place.get(last) if isinstance(place, dict) else place[last])
    return state


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (["sampler"], None, "not the state of a sampler"),
        (["version"], None, "has version None, and this selectbench reads 1"),
        (["version"], lambda version: version + 1, "has version 2, and this selectbench reads 1"),
        (["epoch"], None, "epoch is missing; the state is damaged"),
        (["epohc"], lambda _: 3, "unknown epohc; did you mean 'epoch'"),
        (["epoch"], lambda _: 8, r"epoch: 8 is outside -1 … 7"),
        (["epoch"], lambda _: "1", "epoch: '1' is not a whole number"),
        (["started"], lambda _: 1, "started: 1 is not true or false"),
        (["num_handed"], lambda _: 41, "num_handed: 41 is outside 0 … 40"),
        (["parameters", "c"], None, "parameters.c is missing"),
        (["parameters", "d"], lambda _: 1.0, "unknown parameters.d"),
        (["parameters"], lambda _: [], "parameters: not a mapping"),
        (["ids"], lambda ids: ids[:3], "ids: holds 3 ids of epoch 1, but its trace ends with 40 of epoch 1"),
        (["ids"], lambda ids: ids.double(), "ids: .* of float64 instead of"),
        (["ids"], lambda ids: ids.clamp(max=5), "ids: not different ids in 0 … 39"),
        (["weights"], lambda weights: weights[:3], r"weights: \(3,\) of float32 instead of \(40,\)"),
        (["weights"], lambda weights: 0 * weights, "weights: not all positive"),
        (["counts"], lambda counts: counts[:32], r"counts: \(32,\) of int64 instead of \(40,\)"),
        (["counts"], lambda counts: counts[None], r"counts: \(1, 40\)"),
        (["rule", "means"], lambda means: means[:3], r"rule.means: \(3,\) of float64 instead of \(40,\)"),
        (["rule", "means"], None, "rule.means is missing"),
        (["rule", "losses"], lambda _: 1, "unknown rule.losses"),
        (["trace"], lambda trace: trace[:1], "its trace ends with 40 of epoch 0"),
        (["counts"], lambda counts: -counts, "counts: not all positive or zero"),
        (["num_observed"], lambda _: -1, "num_observed or overhead_s is negative"),
        (["rule", "means"], lambda means: means / 0, "rule.means: holds NaN or infinity"),
        (["parameters", "c"], lambda _: np.ones(2), r"c is array\(\[1., 1.\]\) in the state and 1.0 here"),
        (["trace", 0, "loss"], lambda _: "low", "trace: not a list of rows"),
        (["trace", 0], lambda row: {"epoch": 0}, "trace: not a list of rows with batches, epoch"),
    ],
)
def test_a_damaged_state_is_refused_before_anything_changes(path, change, message):
    sampler, restored = make("ucb", keep=1), make("ucb", keep=1)
    for _ in range(2):
        run_epoch(sampler)
    run_epoch(restored)
    before = spell(restored.state_dict())
    with pytest.raises(SelectbenchError, match=f"load_state_dict: .*({message})") as caught:
        restored.load_state_dict(damage(settle(sampler.state_dict()), path, change))
    assert "\n" not in str(caught.value)
    assert spell(restored.state_dict()) == before
    with pytest.raises(SelectbenchError, match="not the state of a sampler"):
        restored.load_state_dict([sampler.state_dict()])


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (["agent"], None, "agent is missing"),
        (["means", "count"], None, "means.count is missing"),
        (["means", "sum"], lambda _: 1.0, "unknown means.sum"),
        (["agent", "updates"], None, "agent.updates is missing"),
        (["agent", "width"], lambda _: 7, "agent: does not fit"),
        (["agent", "width"], lambda _: 0, "agent: not the state of an agent"),
        (["agent", "generator"], lambda generator: generator[:9], "agent: does not fit"),
        (["agent", "net", "heads.weight"], lambda weight: weight[:, :3], "agent: does not fit"),
        (["agent", "optimisers", 0, "state", 0, "exp_avg"], lambda moment: moment[:3], "a first moment has the shape"),
        (["agent", "optimisers", 1, "state"], lambda _: {}, "an optimiser holds 0 of"),
        (["agent", "optimisers"], lambda optimisers: optimisers[:1], "agent: does not fit"),
        (["agent", "rollout", 0, "values"], lambda values: values[:2], "values has the shape"),
        (["agent", "rollout", 0, "values"], None, "a batch of the rollout has"),
        (["agent", "moments", "mean"], lambda mean: mean[:3], "moments.mean has the shape"),
        (["agent", "moments"], lambda _: None, "moments of features are given or missing"),
        (["rule", "scores"], lambda scores: scores[:3], r"rule.scores: \(3,\) of float64 instead of \(40,\)"),
    ],
)
def test_a_damaged_state_of_an_agent_is_refused_before_anything_changes(path, change, message):
    sampler, restored = make("data_agent", standardise=True), make("data_agent", standardise=True)
    run_epoch(sampler, batch_size=3)
    run_epoch(restored, batch_size=3)
    before = spell(restored.state_dict())
    with pytest.raises(SelectbenchError, match=f"load_state_dict: .*({message})"):
        restored.load_state_dict(damage(settle(sampler.state_dict()), path, change))
    assert spell(restored.state_dict()) == before


def test_a_missing_package_is_told_before_the_training():
    code = """
import sys
sys.modules["torch"] = None
import selectbench as sb
print(len(list(sb.dynamic.make("infobatch", num_samples=20, keep=0.5, epochs=8))))
try:
    sb.dynamic.make("data_agent", num_samples=20, keep=0.5, epochs=8)
except sb.SelectbenchError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "20",
        """sampler 'data_agent' needs torch, which is not installed; run `pip install "selectbench[library]"`""",
    ]


def test_torch_is_not_needed():
    code = """
import sys
import numpy as np
import selectbench as sb
for name in ("random_dynamic", "top_loss", "epsilon_greedy", "ucb", "infobatch"):
    one, two = (sb.dynamic.make(name, num_samples=30, keep=0.5, epochs=5) for _ in "ab")
    for epoch in range(3):
        ids = np.array(list(one))
        one.observe(ids, ids / 7)
    state = one.state_dict()
    two.load_state_dict(state)
    assert list(one) == list(two) and isinstance(state["counts"], np.ndarray), name
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

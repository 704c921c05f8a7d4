import numpy as np
import pytest

import selectbench as sb
from selectbench.methods import herding
from selectbench.methods.herding import herd, prefers_gram


def brute_force(features: np.ndarray) -> list[int]:
    """Evaluate ‖(t+1)·μ − Σ chosen − x‖ for every remaining x at every step."""
    mean, chosen = features.mean(axis=0), []
    for step in range(len(features)):
        target = (step + 1) * mean - features[chosen].sum(axis=0)
        left = [row for row in range(len(features)) if row not in chosen]
        chosen.append(min(left, key=lambda row: np.linalg.norm(target - features[row])))
    return chosen


def gaps(features: np.ndarray, order: np.ndarray) -> np.ndarray:
    """‖mean of the first k − mean of all‖ for k = 1 … n."""
    means = np.cumsum(features[order], axis=0) / np.arange(1, len(order) + 1)[:, None]
    return np.linalg.norm(means - features.mean(axis=0), axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_equals_brute_force(seed):
    features = np.random.default_rng(seed).normal(size=(60, 9)) + 3
    assert herd(features, 60).tolist() == brute_force(features)


@pytest.mark.parametrize("seed", range(3))
def test_a_gram_matrix_gives_the_same_order(seed, monkeypatch):
    features = np.random.default_rng(seed).normal(size=(300, 9)) + 3
    plain = herd(features, 200)
    monkeypatch.setattr(herding, "prefers_gram", lambda num, count: True)
    np.testing.assert_array_equal(herd(features, 200), plain)


def test_a_gram_matrix_is_made_where_it_saves_time_and_stays_small():
    assert prefers_gram(5000, 1500)
    assert not prefers_gram(5000, 50)  # so few steps cost less
    assert not prefers_gram(90, 90)  # such features lie in the cache
    assert not prefers_gram(50_000, 50_000)  # 20 GB


def test_the_gap_to_the_mean_falls_like_one_over_k():
    features = np.random.default_rng(0).normal(size=(600, 8))
    ks = np.arange(5, 200)
    slope = np.polyfit(np.log(ks), np.log(gaps(features, herd(features, 600))[ks - 1]), 1)[0]
    shuffled = [gaps(features, np.random.default_rng(seed).permutation(600))[ks - 1] for seed in range(50)]
    random_slope = np.polyfit(np.log(ks), np.log(np.mean(shuffled, axis=0)), 1)[0]
    assert slope == pytest.approx(-1, abs=0.2)
    assert random_slope == pytest.approx(-0.5, abs=0.15)


def test_beats_every_random_subset_until_the_pool_is_nearly_empty():
    features = np.random.default_rng(1).normal(size=(120, 6))
    herded = gaps(features, herd(features, 120))
    for seed in range(50):
        shuffled = gaps(features, np.random.default_rng(seed).permutation(120))
        assert (herded[:108] <= shuffled[:108]).all()


def test_the_wrong_sign_is_worse_than_random():
    """The published code maximises the distance and ends far above random; ours is far below."""
    features = np.random.default_rng(2).normal(size=(400, 16))
    mean, chosen = features.mean(axis=0), []
    for step in range(20):
        distance = np.linalg.norm((step + 1) * mean - features[chosen].sum(axis=0) - features, axis=1)
        distance[chosen] = -np.inf
        chosen.append(int(distance.argmax()))
    inverted = np.linalg.norm(features[chosen].mean(axis=0) - mean)
    random = np.mean([gaps(features, np.random.default_rng(seed).permutation(400))[19] for seed in range(50)])
    assert gaps(features, herd(features, 20))[19] < random / 3 < random * 3 < inverted * 3
    assert inverted > random


def test_is_done_inside_each_class_and_nests(signals):
    subset = sb.select("herding", signals, 0.5)
    position_of = {sample: position for position, sample in enumerate(signals.ids.tolist())}
    kept = np.array([position_of[sample] for sample in subset.ids.tolist()])
    for label in range(3):
        members = np.flatnonzero(signals.labels == label)
        mine = [position for position in kept if signals.labels[position] == label]
        features = signals.features[members]
        herded = gaps(features, np.array([np.flatnonzero(members == position)[0] for position in mine]))[len(mine) - 1]
        ideal = gaps(features, herd(features, len(mine)))[len(mine) - 1]
        assert herded == pytest.approx(ideal, rel=1e-6)
    small = sb.select("herding", signals, 0.2, quota="none").ids
    np.testing.assert_array_equal(small, sb.select("herding", signals, 0.5, quota="none").ids[: len(small)])


def test_with_unit_features_wellings_form_takes_the_same_steps():
    features = np.random.default_rng(3).normal(size=(50, 5))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    mean, w, chosen = features.mean(axis=0), features.mean(axis=0).copy(), []
    for _ in range(50):
        value = features @ w
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
        w += mean - features[chosen[-1]]
    assert herd(features, 50).tolist() == chosen
    one_class = sb.Signals(labels=np.zeros(50, dtype=int), features=7.0 * features)
    np.testing.assert_array_equal(
        sb.select("herding", one_class, 0.3, normalise=True).ids,
        sb.select("herding", sb.Signals(labels=one_class.labels, features=features), 0.3).ids,
    )

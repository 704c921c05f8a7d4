import numpy as np
import pytest

import selectbench as sb
from selectbench.methods import glister
from selectbench.methods.glister import add_bias, add_greedily
from selectbench.policy import class_quotas
from selectbench.signals import softmax_residuals


def make_problem(num=24, dimensions=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(num, dimensions)), rng.integers(0, classes, num)
    weights = rng.normal(size=(classes, dimensions + 1))
    biased = np.c_[features, np.ones(num)]
    return features, labels, weights, biased, biased @ weights.T


def validation_loss(weights, biased, labels):
    logits = biased @ weights.T
    logits -= logits.max(axis=1, keepdims=True)
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]).mean()


def test_each_step_takes_the_steepest_finite_difference():
    """Explicit weights and gradients, and the loss itself instead of closed forms."""
    _, labels, weights, biased, logits = make_problem()
    gradients = np.einsum("nc,nd->ncd", softmax_residuals(logits, labels), biased)
    order, current, epsilon = add_greedily(logits, biased, labels, 0.1, 1, 24), weights.copy(), 1e-6
    left = list(range(len(labels)))
    for chosen in order[:-1]:
        drop = [validation_loss(current - epsilon * gradients[i], biased, labels) for i in left]
        gain = [validation_loss(current + epsilon * gradients[i], biased, labels) - low for i, low in zip(left, drop, strict=True)]
        assert left[int(np.argmax(gain))] == chosen
        left.remove(chosen)
        current = current - 0.1 * gradients[chosen]


@pytest.mark.parametrize("per_round", [2, 7])  # fewer and more samples than classes
def test_rounds_equal_the_explicit_form(per_round):
    _, labels, weights, biased, logits = make_problem(num=30, seed=1)
    gradients = np.einsum("nc,nd->ncd", softmax_residuals(logits, labels), biased)
    current, expected, left = weights.copy(), [], np.ones(30, dtype=bool)
    while left.any():
        slope = softmax_residuals(biased @ current.T, labels).T @ biased / 30
        gains = np.where(left, np.einsum("ncd,cd->n", gradients, slope), -np.inf)
        chosen = np.argsort(-gains, kind="stable")[: min(per_round, left.sum())]
        left[chosen] = False
        expected += chosen.tolist()
        current = current - 0.3 * gradients[chosen].sum(axis=0)
    assert add_greedily(logits, biased, labels, 0.3, per_round, 30).tolist() == expected


def test_duplicates_are_spread_where_a_static_ranking_takes_one_cluster():
    """Two clusters pull in different directions; with gains that are never recomputed, only the stronger one is chosen."""
    biased = np.repeat([[3.0, 0.0, 1.0], [0.0, 2.9, 1.0]], 20, axis=0)
    labels = np.repeat([0, 1], 20)
    logits = np.zeros((40, 2))
    static = add_greedily(logits, biased, labels, 0.2, 40, 20)
    greedy = add_greedily(logits, biased, labels, 0.2, 1, 20)
    assert len(set(labels[static])) == 1
    assert np.bincount(labels[greedy]).min() >= 8


def test_within_classes_each_class_is_ranked_for_its_own_loss():
    features, labels, _, _, logits = make_problem(num=40, seed=2)
    signals = sb.Signals(labels=labels, logits=logits, features=features, ids=np.random.default_rng(0).permutation(40))
    subset = sb.select("glister", signals, 0.5, within="class", quota="proportional", step_size=0.3)
    kept = labels[np.isin(signals.ids, subset.ids)]
    assert dict(enumerate(np.bincount(kept).tolist())) == class_quotas(labels, 20, "proportional")
    for label in range(3):
        members = labels == label
        alone = sb.Signals(labels=labels[members], logits=logits[members], features=features[members], ids=signals.ids[members])
        own = sb.select("glister", alone, 1, step_size=0.3).ids.tolist()
        assert [sample for sample in subset.ids.tolist() if sample in own] == own[: (kept == label).sum()]
    assert sb.select("glister", signals, 0.5, quota="proportional", step_size=0.3).ids.tolist() != subset.ids.tolist()


def test_features_are_converted_block_by_block(monkeypatch):
    features, members = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), np.arange(39, 4, -2)
    monkeypatch.setattr(glister, "_BLOCK_BYTES", 100)
    np.testing.assert_array_equal(add_bias(features, members), np.c_[features[members].astype(np.float64), np.ones(18)])


def test_bad_parameters_are_named():
    signals = sb.Signals(labels=[0, 1], logits=np.zeros((2, 2)), features=np.eye(2))
    with pytest.raises(sb.SelectbenchError, match="step_size: 0 is not positive"):
        sb.score("glister", signals, step_size=0)
    with pytest.raises(sb.SelectbenchError, match="rounds: 1.5 is not a whole number"):
        sb.score("glister", signals, rounds=1.5)

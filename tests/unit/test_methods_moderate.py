import numpy as np
import pytest

import selectbench as sb
from selectbench.rl.geometry import distances_to_prototype


def distances(signals, reduce):
    values = np.empty(len(signals))
    for label in np.unique(signals.labels):
        rows = signals.features[signals.labels == label]
        values[signals.labels == label] = np.sqrt(np.square(rows - reduce(rows, axis=0)).sum(axis=1))
    return values


@pytest.mark.parametrize(("prototype", "reduce"), [("mean", np.mean), ("median", np.median)])
def test_distances_equal_numpys(signals, prototype, reduce):
    np.testing.assert_allclose(distances_to_prototype(signals.features, signals.labels, prototype), distances(signals, reduce), rtol=1e-12)


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 0.83, 1])
def test_kept_ranks_are_one_block_around_the_median(keep):
    rng = np.random.default_rng(0)
    signals = sb.Signals(labels=rng.integers(0, 3, 301), features=rng.normal(size=(301, 6)))
    rank = np.empty(301)
    rank[np.argsort(distances(signals, np.mean))] = np.arange(301)
    kept = np.sort(rank[sb.select("moderate", signals, keep).ids])
    assert kept[-1] - kept[0] == len(kept) - 1
    assert abs(kept.mean() - 150) <= 0.5


def test_a_monotone_change_of_distance_changes_nothing():
    rng = np.random.default_rng(1)
    radii, directions = rng.exponential(size=200), rng.normal(size=(200, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    mirrored = np.concatenate([directions, -directions])  # the class mean stays at 0 for any radii
    plain, cubed = (
        sb.Signals(labels=np.zeros(400, dtype=int), features=mirrored * np.tile(radius, 2)[:, None]) for radius in (radii, radii**3)
    )
    one, other = (sb.select("moderate", signals, 0.3).ids for signals in (plain, cubed))
    assert len(np.intersect1d(one % 200, other % 200)) == len(np.unique(one % 200))


def test_one_ranking_over_all_classes_can_starve_a_spread_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [700, 300])
    features = rng.normal(size=(1000, 16)) * np.where(labels == 0, 1.0, 3.0)[:, None]
    counts = np.bincount(labels[sb.select("moderate", sb.Signals(labels=labels, features=features), 0.2).ids], minlength=2)
    assert counts.tolist() == [200, 0]
    balanced = sb.select("moderate", sb.Signals(labels=labels, features=features), 0.2, quota="proportional").ids
    assert np.bincount(labels[balanced]).tolist() == [140, 60]


def test_a_singleton_class_lies_on_its_prototype(signals):
    (lonely,) = np.flatnonzero(signals.labels == 3)
    assert distances_to_prototype(signals.features, signals.labels, "median")[lonely] == 0


def test_labels_need_not_start_at_zero():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    one, other = (sb.select("moderate", sb.Signals(labels=given, features=features), 0.4).ids for given in (labels, 10 - 7 * labels))
    np.testing.assert_array_equal(one, other)


def test_an_unknown_prototype_is_named(signals):
    with pytest.raises(sb.SelectbenchError, match="prototype: unknown 'men'; did you mean 'mean'"):
        sb.score("moderate", signals, prototype="men")

import numpy as np
import pytest

import selectbench as sb
from selectbench.methods.ccs import assign_strata


def make_pool(num=400, seed=0):
    rng = np.random.default_rng(seed)
    return sb.Signals(labels=rng.integers(0, 4, num), aum=rng.beta(5, 1.5, num) * 2 - 1)


def test_strata_have_equal_width_and_both_ends_inside():
    scores = np.array([-3.0, -2.5, -2.0, -1.0, -1.0001])
    assert assign_strata(scores, 2).tolist() == [0, 0, 1, 1, 1]
    assert assign_strata(np.full(4, -7.0), 50).tolist() == [0] * 4


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.6, 0.95])
def test_budgets_are_even_and_add_up(keep):
    pool = make_pool()
    subset = sb.select("ccs", pool, keep, cut=0.1, strata=10)
    assert len(np.unique(subset.ids)) == round(keep * 400)
    num_cut = min(40, 400 - len(subset))
    left = np.argsort(pool.aum)[num_cut:]
    assert np.isin(subset.ids, left).all()
    stratum = assign_strata(pool.aum[left], 10)
    size = np.bincount(stratum, minlength=10)
    kept = np.bincount(stratum[np.isin(left, subset.ids)], minlength=10)
    assert (kept <= size).all()
    highest = kept.max()
    assert all(kept[index] == size[index] or kept[index] >= highest - 1 for index in range(10))


def test_inside_a_stratum_every_sample_is_as_likely():
    pool = make_pool(60)
    counts = np.zeros(60)
    for seed in range(2000):
        counts[sb.select("ccs", pool, 0.3, cut=0, strata=3, seed=seed).ids] += 1
    for index, members in ((i, np.flatnonzero(assign_strata(pool.aum, 3) == i)) for i in range(3)):
        share = counts[members].mean() / 2000
        assert np.abs(counts[members] - 2000 * share).max() <= 4.5 * np.sqrt(2000 * share * (1 - share)) + 1e-9, index


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (1.0, -50.0), (0.25, 7.0)])
def test_scaling_and_shifting_scores_changes_nothing(scale, shift):
    """Also for all-negative scores, where the published code loses the maximum."""
    pool = make_pool(128)
    quarters = np.round(pool.aum * 64) / 64  # exact in binary, so that rounding moves no sample to another stratum
    moved = [sb.Signals(labels=pool.labels, aum=values) for values in (quarters, quarters * scale + shift)]
    one, other = (sb.select("ccs", signals, 0.4, strata=8).ids for signals in moved)
    np.testing.assert_array_equal(one, other)
    assert len(sb.select("ccs", moved[1], 1).ids) == 128


def test_an_outlier_leaves_most_strata_empty_and_the_count_right():
    aum = np.r_[np.linspace(0, 0.01, 99), 1.0]
    subset = sb.select("ccs", sb.Signals(labels=np.zeros(100, dtype=int), aum=aum), 0.5, cut=0)
    assert len(subset) == 50
    assert 99 in subset.ids


def test_unequal_classes_get_their_own_quota():
    """The published class-balanced branch gives every class the size of the last one."""
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    pool = sb.Signals(labels=labels, aum=np.random.default_rng(0).uniform(-1, 1, 1000))
    ids = sb.select("ccs", pool, 0.5, quota="proportional").ids
    assert np.bincount(labels[ids]).tolist() == [450, 45, 5]

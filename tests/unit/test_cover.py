import numpy as np
import pytest
from scipy.stats import spearmanr

import selectbench as sb
from selectbench.rl import cover


def brute_force(features, labels):
    sums = np.zeros(len(labels))
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] == labels[j]:
                sums[i] += np.sqrt(np.square(features[i].astype(float) - features[j].astype(float)).sum())
    return sums


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_equals_brute_force_also_in_single_precision_and_far_from_the_origin(dtype, offset):
    rng = np.random.default_rng(0)
    features, labels = (rng.normal(size=(90, 7)) + offset).astype(dtype), rng.integers(0, 4, 90)
    np.testing.assert_allclose(sb.sample_cover(features, labels), brute_force(features, labels), rtol=1e-10)


def test_blocks_change_nothing_but_rounding(monkeypatch):
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(120, 5)), rng.integers(0, 2, 120)
    whole = sb.sample_cover(features, labels)
    monkeypatch.setattr(cover, "_BLOCK_BYTES", 8 * 60 * 7)
    np.testing.assert_allclose(sb.sample_cover(features, labels), whole, rtol=1e-13)


def test_duplicates_singletons_and_equal_samples():
    twins = np.repeat(np.random.default_rng(0).normal(size=(5, 3)), 2, axis=0)
    sums = sb.sample_cover(twins, np.zeros(10, dtype=int))
    np.testing.assert_allclose(sums, brute_force(twins, np.zeros(10)), rtol=1e-7)
    assert sb.sample_cover(twins, np.arange(10)).tolist() == [0.0] * 10
    assert sb.sample_cover(np.ones((4, 2)), np.zeros(4, dtype=int)).tolist() == [0.0] * 4


def test_one_mode_ranks_like_the_distance_to_the_mean_and_two_modes_do_not():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(300, 64))
    centre_distance = np.linalg.norm(one - one.mean(axis=0), axis=1)
    assert spearmanr(sb.sample_cover(one, np.zeros(300, dtype=int)), centre_distance).statistic > 0.99
    two = rng.normal(size=(300, 8)) + 4.0 * (np.arange(300) < 50)[:, None]
    kept = sb.select("cover_topk", sb.Signals(labels=np.zeros(300, dtype=int), features=two), 0.2).ids
    assert (kept < 50).mean() > 50 / 300 * 1.5  # the minority mode is over-kept


def test_top_k_of_cover_maximises_the_redundancy_reward():
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(14, 3)), rng.integers(0, 2, 14)
    sums = brute_force(features, labels)
    kept = sb.select("cover_topk", sb.Signals(labels=labels, features=features), 6 / 14).ids
    from itertools import combinations

    assert sums[kept].sum() == pytest.approx(max(sums[list(choice)].sum() for choice in combinations(range(14), 6)))


def test_normalising_takes_the_class_size_out():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [180, 20])
    signals = sb.Signals(labels=labels, features=rng.normal(size=(200, 6)))
    plain, fair = (sb.select("cover_topk", signals, 0.2, normalise=normalise).ids for normalise in (False, True))
    assert (labels[plain] == 1).sum() == 0
    assert (labels[fair] == 1).sum() > 0

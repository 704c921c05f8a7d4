import numpy as np

import selectbench as sb
from selectbench.seeds import derive_seed

POOL = sb.Signals(labels=np.repeat([0, 1, 2], [30, 20, 10]))


def test_every_id_is_kept_as_often_as_the_keep_fraction_says():
    draws, keep = 2000, 0.3
    counts = np.zeros(60)
    for seed in range(draws):
        counts[sb.select("random", POOL, keep, seed=seed).ids] += 1
    spread = np.sqrt(draws * keep * (1 - keep))
    assert np.abs(counts - draws * keep).max() < 4 * spread
    # without replacement, the counts' variance is that of the binomial times N/(N−1)
    chi_squared = np.square(counts - draws * keep).sum() / (draws * keep * (1 - keep)) * 59 / 60
    assert abs(chi_squared - 59) < 4 * np.sqrt(2 * 59)


def test_class_counts_are_hypergeometric():
    kept = np.array([np.bincount(POOL.labels[sb.select("random", POOL, 0.3, seed=seed).ids], minlength=3) for seed in range(2000)])
    share = np.array([30, 20, 10]) / 60
    mean, variance = 18 * share, 18 * share * (1 - share) * (60 - 18) / 59
    assert (np.abs(kept.mean(axis=0) - mean) < 4 * np.sqrt(variance / 2000)).all()
    np.testing.assert_allclose(kept.var(axis=0), variance, rtol=0.15)


def test_balanced_random_levels_classes_and_is_uniform_inside_them():
    counts = np.zeros(60)
    for seed in range(2000):
        ids = sb.select("random_balanced", POOL, 0.5, seed=seed).ids
        assert np.bincount(POOL.labels[ids]).tolist() == [10, 10, 10]
        counts[ids] += 1
    expected = 2000 * np.array([1 / 3, 1 / 2, 1])[POOL.labels]
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected * (1 - expected / 2000))).all()


def test_seeds_are_different_streams():
    chosen = {tuple(sb.select("random", POOL, 0.5, seed=derive_seed("selection", seed)).ids) for seed in range(50)}
    assert len(chosen) == 50


def test_a_floor_is_kept_and_the_rest_is_uniform():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    pool = sb.Signals(labels=labels)
    kept = np.array([np.bincount(labels[sb.select("random_floor", pool, 0.2, seed=seed).ids], minlength=3) for seed in range(500)])
    assert (kept.sum(axis=1) == 20).all()
    assert (kept.min(axis=0) >= [6, 3, 1]).all()
    free = np.array([np.bincount(labels[sb.select("random", pool, 0.2, seed=seed).ids], minlength=3) for seed in range(500)])
    assert free.min(axis=0)[2] == 0
    whole = sb.select("random_floor", pool, 0.2, floor=1).ids
    assert np.bincount(labels[whole]).tolist() == [12, 6, 2]
    np.testing.assert_array_equal(
        np.sort(sb.select("random_floor", pool, 0.2, floor=0).ids), np.sort(sb.take(sb.score("random_floor", pool), 0.2).ids)
    )

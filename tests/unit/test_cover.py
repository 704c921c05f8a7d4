import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr

import selectbench as sb
from selectbench.rl import cover
from selectbench.rl.cover import cover_counts, cover_relation, coverage, greedy_cover, pair_distances

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


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
    monkeypatch.setattr(cover, "_LEAST_ROWS", 7)
    monkeypatch.setattr(cover, "_SUM_BYTES", 8)
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
    assert sums[kept].sum() == pytest.approx(max(sums[list(choice)].sum() for choice in itertools.combinations(range(14), 6)))


def test_normalising_takes_the_class_size_out():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [180, 20])
    signals = sb.Signals(labels=labels, features=rng.normal(size=(200, 6)))
    plain, fair = (sb.select("cover_topk", signals, 0.2, normalise=normalise).ids for normalise in (False, True))
    assert (labels[plain] == 1).sum() == 0
    assert (labels[fair] == 1).sum() > 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_tensor_gives_what_an_array_gives(dtype, device):
    rng = np.random.default_rng(3)
    features, labels = torch.from_numpy(rng.normal(size=(200, 9)) + 30.0).to(dtype), rng.integers(0, 4, 200)
    features[:5] = features[5:10]
    expected = sb.sample_cover(features.numpy(), labels)
    for given in (labels, torch.from_numpy(labels).to(device)):
        sums = sb.sample_cover(features.to(device).requires_grad_(), given)
        assert sums.dtype == torch.float64 and sums.device.type == device and not sums.requires_grad
        np.testing.assert_allclose(sums.cpu().numpy(), expected, rtol=1e-9)


def test_blocks_of_a_tensor_change_nothing_but_rounding(monkeypatch):
    rng = np.random.default_rng(1)
    features, labels = torch.from_numpy(rng.normal(size=(120, 5))), rng.integers(0, 2, 120)
    whole = sb.sample_cover(features, labels)
    monkeypatch.setattr(cover, "_BLOCK_BYTES", 8 * 60 * 7)
    torch.testing.assert_close(sb.sample_cover(features, labels), whole, rtol=1e-13, atol=0)


def test_a_tensor_that_does_not_fit_or_holds_nan_is_refused():
    with pytest.raises(sb.SelectbenchError, match=r"features: shape \(3, 2\) does not fit 4 labels"):
        sb.sample_cover(torch.ones(3, 2), np.zeros(4, dtype=int))
    with pytest.raises(sb.SelectbenchError, match="features: holds NaN"):
        sb.sample_cover(torch.full((4, 2), torch.nan), np.zeros(4, dtype=int))


def test_importing_it_imports_no_torch():
    program = "import sys, selectbench.rl.cover; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def make_lattice(num, offset, dtype, seed=0):
    """Integer points with duplicates and many equal distances, which are exact in any precision."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 5, (num, 3)) + offset).astype(dtype), rng.integers(0, 3, num)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 10_000])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 2.0, math.sqrt(5), 3.0, 1e6])
def test_the_relation_is_exact_at_ties_and_for_duplicates(epsilon, offset, dtype):
    features, labels = make_lattice(100, offset, dtype)
    relation = cover_relation(features, labels, epsilon)
    expected = (cdist(features.astype(float), features.astype(float)) <= epsilon) & (labels[:, None] == labels)
    np.fill_diagonal(expected, False)
    np.testing.assert_array_equal(relation.toarray(), expected)
    assert relation.dtype == bool and relation.has_sorted_indices
    np.testing.assert_array_equal(cover_counts(relation), expected.sum(axis=1))


def test_the_relation_is_symmetric_for_any_radius_that_is_a_distance():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(80, 40)).astype(np.float32) + 1e4, np.zeros(80, dtype=int)
    first, second = np.triu_indices(80, 1)
    for epsilon in pair_distances(features, first, second)[::97]:
        relation = cover_relation(features, labels, epsilon).toarray()
        np.testing.assert_array_equal(relation, relation.T)
        np.testing.assert_array_equal(relation[first, second], pair_distances(features, first, second) <= epsilon)


def test_the_relation_grows_with_the_radius():
    features, labels = make_lattice(100, 0, np.float64)
    counts = [cover_counts(cover_relation(features, labels, epsilon)) for epsilon in (0, 0.5, 1, 1.5, 3, 9)]
    for small, large in itertools.pairwise(counts):
        assert (small <= large).all()
    np.testing.assert_array_equal(counts[-1], np.bincount(labels)[labels] - 1)


def test_blocks_do_not_change_the_relation(monkeypatch):
    features, labels = make_lattice(100, 10_000, np.float32)
    whole = cover_relation(features, labels, 2.0)
    for size in (8, 8 * 40 * 3):
        monkeypatch.setattr(cover, "_BLOCK_BYTES", size)
        assert (whole != cover_relation(features, labels, 2.0)).nnz == 0


@pytest.mark.parametrize("epsilon", [-1.0, math.nan, math.inf])
def test_a_radius_that_is_no_distance_is_refused(epsilon):
    with pytest.raises(sb.SelectbenchError, match="epsilon: .* is not a distance"):
        cover_relation(np.ones((3, 2)), np.zeros(3, dtype=int), epsilon)


def test_coverage_by_brute_force_and_of_everything_by_everything():
    features, labels = make_lattice(60, 0, np.float64)
    relation = cover_relation(features, labels, 1.0)
    reached = relation.toarray() | np.eye(60, dtype=bool)
    rng = np.random.default_rng(0)
    for num in (0, 1, 5, 20):
        subset = rng.permutation(60)[:num]
        assert coverage(relation, subset) == reached[subset].any(axis=0).mean()
    assert coverage(relation, np.arange(60)) == 1.0
    assert coverage(cover_relation(np.eye(4), np.arange(4), 9.0), np.array([2])) == 0.25


def cover_plainly(relation, keys):
    reached = relation.toarray() | np.eye(len(keys), dtype=bool)
    covered, order = np.zeros(len(keys), dtype=bool), []
    while not covered.all():
        gains = (reached & ~covered).sum(axis=1)
        best = np.flatnonzero(gains == gains.max())
        order.append(best[np.argmin(keys[best])])
        covered |= reached[order[-1]]
    return order


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 2.0, 9.0])
def test_the_greedy_cover_with_a_heap_takes_the_steps_of_the_plain_one(epsilon, seed):
    features, labels = make_lattice(80, 0, np.float64, seed)
    keys = np.random.default_rng(seed).permutation(80)
    relation = cover_relation(features, labels, epsilon)
    order = greedy_cover(relation, keys)
    assert order.tolist() == cover_plainly(relation, keys)
    assert coverage(relation, order) == 1.0
    assert coverage(relation, order[:-1]) < 1.0


def test_the_greedy_cover_is_at_most_1_plus_ln_n_times_the_smallest():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        features, num = rng.normal(size=(12, 2)), 12
        relation = cover_relation(features, rng.integers(0, 2, num), np.quantile(pdist(features), 0.3))
        smallest = next(
            size
            for size in range(1, num + 1)
            if any(coverage(relation, np.array(subset)) == 1.0 for subset in itertools.combinations(range(num), size))
        )
        assert smallest <= len(greedy_cover(relation, np.arange(num))) <= (1 + math.log(num)) * smallest

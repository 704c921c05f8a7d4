import itertools

import numpy as np
import pytest

import selectbench as sb
from selectbench.methods.k_center import traverse_farthest_first


def radius(features, centres):
    return np.linalg.norm(features[:, None] - features[list(centres)][None], axis=2).min(axis=1).max()


@pytest.mark.parametrize("seed", range(5))
def test_equals_brute_force(seed):
    features = np.random.default_rng(seed).normal(size=(50, 5))
    chosen = [0]
    while len(chosen) < 50:
        distances = np.linalg.norm(features[:, None] - features[chosen][None], axis=2).min(axis=1)
        distances[chosen] = -1
        chosen.append(int(distances.argmax()))
    assert traverse_farthest_first(features, 0, 50).tolist() == chosen


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_rows_left_out_by_the_bound_change_nothing(scale, offset):
    """Grids and duplicates tie exactly; far from the origin the bound is too loose to leave out any row."""
    rng = np.random.default_rng(0)
    features = scale * (np.r_[rng.integers(0, 4, (60, 3)), rng.normal(size=(60, 3))] + offset)
    order, nearest = [5], np.full(120, np.inf)
    for _ in range(119):
        differences = features - features[order[-1]]
        nearest = np.minimum(nearest, np.einsum("nd,nd->n", differences, differences))
        nearest[order[-1]] = -np.inf
        order.append(int(nearest.argmax()))
    assert traverse_farthest_first(features, 5, 120).tolist() == order


def test_the_cover_radius_falls_and_is_at_most_twice_the_optimum():
    for seed in range(10):
        features = np.random.default_rng(seed).normal(size=(12, 2))
        order = traverse_farthest_first(features, 0, 12)
        radii = [radius(features, order[:kept]) for kept in range(1, 13)]
        assert radii == sorted(radii, reverse=True)
        best = min(radius(features, centres) for centres in itertools.combinations(range(12), 3))
        assert radii[2] <= 2 * best


def test_covers_better_than_random():
    features = np.random.default_rng(0).normal(size=(300, 4))
    order = traverse_farthest_first(features, 0, 30)
    for seed in range(20):
        assert radius(features, order) < radius(features, np.random.default_rng(seed).permutation(300)[:30])


def test_duplicates_come_last_and_one_sample_is_enough():
    features = np.repeat(np.random.default_rng(0).normal(size=(10, 3)), 2, axis=0)
    assert len({sample // 2 for sample in traverse_farthest_first(features, 0, 10)}) == 10
    one = sb.select("k_center", sb.Signals(labels=np.zeros(20, dtype=int), features=features), 0.05)
    assert len(one.ids) == 1
    central = sb.select("k_center", sb.Signals(labels=np.zeros(20, dtype=int), features=features), 0.05, start="central")
    middle = np.linalg.norm(features - features.mean(axis=0), axis=1)
    assert middle[central.ids[0]] == middle.min()

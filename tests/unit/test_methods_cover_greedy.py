import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

import selectbench as sb
from selectbench.methods.cover_greedy import cover_in_rounds, find_distance, mark_near
from selectbench.rl import cover
from selectbench.rl.cover import cover_relation, coverage, greedy_cover


def cover_plainly(near):
    """The rule as stated: most newly covered first, ties to the earlier row, then again on what is left."""
    reached, left, order = near | np.eye(len(near), dtype=bool), list(range(len(near))), []
    while left:
        uncovered = set(left)
        while uncovered:
            gains = {sample: len(uncovered & set(np.flatnonzero(reached[sample]))) for sample in left}
            best = max(gains, key=lambda sample: (gains[sample], -sample))
            order.append(best)
            uncovered -= set(np.flatnonzero(reached[best]))
        left = [sample for sample in left if sample not in order]
    return order


@pytest.mark.parametrize("quantile", [0, 0.05, 0.1, 0.5, 1])
@pytest.mark.parametrize("num", [2, 3, 21, 150])
def test_the_radius_is_the_quantile_of_all_pairs_from_above(num, quantile):
    rows = np.random.default_rng(num).normal(size=(num, 4)) + 100.0
    exact = np.quantile(pdist(rows), quantile, method="inverted_cdf")
    assert exact < find_distance(rows, quantile) <= exact * (1 + 1e-10)


def test_the_radius_of_a_single_row_of_equal_rows_and_beside_an_outlier():
    assert find_distance(np.ones((1, 3)), 0.05) == 0.0
    assert find_distance(np.ones((9, 3)), 0.05) == 0.0
    rows = np.random.default_rng(0).normal(size=(60, 3))
    rows[0] = 1e6
    assert find_distance(rows, 0.5) == pytest.approx(np.quantile(pdist(rows), 0.5, method="inverted_cdf"), abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("quantile", [0.02, 0.1, 0.4, 1.0])
def test_equals_the_rule_as_it_is_stated(quantile, seed):
    rows = np.random.default_rng(seed).integers(0, 6, (60, 3)).astype(float)
    radius = find_distance(rows, quantile)
    near = (squareform(pdist(rows)) <= radius) & ~np.eye(60, dtype=bool)
    np.testing.assert_array_equal(mark_near(rows, radius), near)
    assert cover_in_rounds(near, 60).tolist() == cover_plainly(near)


def test_the_first_round_is_the_greedy_cover_of_the_class():
    rng = np.random.default_rng(0)
    signals = sb.Signals(labels=np.zeros(200, dtype=int), features=rng.normal(size=(200, 3)))
    relation = cover_relation(signals.features, signals.labels, find_distance(signals.features, 0.05))
    smallest = len(greedy_cover(relation, np.arange(200)))
    kept = sb.select("cover_greedy", signals, (smallest + 2) / 200).ids
    assert coverage(relation, kept) == 1.0
    random = [coverage(relation, sb.select("random", signals, (smallest + 2) / 200, seed=seed).ids) for seed in range(20)]
    assert max(random) < 1.0


def test_copies_are_taken_once_before_any_is_taken_twice():
    features = np.repeat(np.random.default_rng(0).normal(size=(10, 3)), 3, axis=0)
    signals = sb.Signals(labels=np.zeros(30, dtype=int), features=features)
    kept = sb.select("cover_greedy", signals, 20 / 30, quantile=0.0).ids
    assert sorted(kept[:10] // 3) == sorted(kept[10:] // 3) == list(range(10))


def test_a_quantile_outside_0_to_1_is_refused():
    for quantile in (-0.1, 1.5):
        with pytest.raises(sb.SelectbenchError, match="quantile: .* is outside"):
            sb.select("cover_greedy", sb.Signals(labels=[0, 0], features=np.eye(2)), 0.5, quantile=quantile)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    signals = sb.Signals(labels=rng.integers(0, 3, 150), features=rng.normal(size=(150, 4)))
    whole = sb.score("cover_greedy", signals)
    monkeypatch.setattr(cover, "_BLOCK_BYTES", 8 * 50 * 3)
    np.testing.assert_array_equal(sb.score("cover_greedy", signals), whole)

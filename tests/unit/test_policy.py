import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import selectbench as sb
from selectbench.policy import centrality, class_quotas, count_kept
from selectbench.seeds import hash_ids


@pytest.mark.parametrize(
    ("keep", "num", "kept"),
    [(0.5, 5, 2), (0.5, 7, 4), ("0.15", 10, 2), (0.25, 10, 2), (0.1, 1400, 140), ("1/3", 10, 3), (1, 7, 7), (0.9, 1281167, 1153050)],
)
def test_k_rounds_half_to_even_exactly(keep, num, kept):
    assert count_kept(keep, num) == kept


@pytest.mark.parametrize("keep", [0, 1.2, -0.1, "half", "nan", True, None, "1/0", float("inf")])
def test_bad_keep_fractions_are_named(keep):
    with pytest.raises(sb.SelectbenchError, match="keep: "):
        count_kept(keep, 100)


def test_keeping_none_is_an_error():
    with pytest.raises(sb.SelectbenchError, match="0.01 of 10 samples keeps none"):
        count_kept(0.01, 10)


sizes_strategy = st.lists(st.integers(1, 60), min_size=1, max_size=8)


@given(sizes_strategy, st.floats(0.001, 1))
def test_proportional_quotas_add_up_and_are_off_by_less_than_one(sizes, share):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    kept = max(1, round(share * len(labels)))
    quotas = class_quotas(labels, kept, "proportional")
    assert sum(quotas.values()) == kept
    for label, size in enumerate(sizes):
        assert abs(quotas[label] - Fraction(kept * size, len(labels))) < 1
        assert 0 <= quotas[label] <= size


@given(sizes_strategy, st.floats(0.001, 1))
def test_equal_quotas_add_up_and_level_the_classes(sizes, share):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    kept = max(1, round(share * len(labels)))
    quotas = class_quotas(labels, kept, "equal")
    assert sum(quotas.values()) == kept
    highest = max(quotas.values())
    assert all(quotas[label] == size or quotas[label] >= highest - 1 for label, size in enumerate(sizes))
    assert all(0 <= quotas[label] <= size for label, size in enumerate(sizes))


def test_equal_quotas_are_the_max_min_share():
    sizes = (9, 2, 5, 1)
    labels = np.repeat(np.arange(4), sizes)
    for kept in range(1, 18):
        every = (q for q in itertools.product(*(range(size + 1) for size in sizes)) if sum(q) == kept)
        best = max(tuple(sorted(quota)) for quota in every)
        assert tuple(sorted(class_quotas(labels, kept, "equal").values())) == best


def test_known_quotas():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    assert class_quotas(labels, 500, "proportional") == {0: 450, 1: 45, 2: 5}
    assert class_quotas(labels, 500, "equal") == {0: 400, 1: 90, 2: 10}
    assert class_quotas(labels, 1, "proportional") == {0: 1, 1: 0, 2: 0}


def test_ties_are_broken_by_the_seeded_hash_of_the_id():
    ids = np.array([40, 10, 30, 20])
    for seed in range(5):
        expected = ids[np.argsort(hash_ids(ids, seed))]
        np.testing.assert_array_equal(sb.take(np.zeros(4), 1, ids=ids, seed=seed).ids, expected)


def test_tails():
    scores = np.array([3.0, 1.0, 4.0, 5.0, 9.0])
    assert sb.take(scores, 0.4, tail="high").ids.tolist() == [4, 3]
    assert sb.take(scores, 0.4, tail="low").ids.tolist() == [1, 0]
    assert sorted(sb.take(scores, 0.6, tail="middle").ids.tolist()) == [0, 2, 3]


@given(st.integers(1, 40))
def test_central_prefixes_are_contiguous_blocks_around_the_median(num):
    values = np.random.default_rng(num).permutation(num).astype(float)
    order = np.argsort(-centrality(values, np.arange(num), 0))
    for kept in range(1, num + 1):
        ranks = np.sort(values[order[:kept]])
        assert ranks[-1] - ranks[0] == kept - 1
        assert abs(ranks.mean() - (num - 1) / 2) <= 0.5


def test_subsets_of_one_score_nest():
    scores = np.random.default_rng(0).integers(0, 5, 100).astype(float)
    for tail in ("high", "low", "middle"):
        small, large = (sb.take(scores, keep, tail=tail, seed=1).ids for keep in (0.2, 0.6))
        np.testing.assert_array_equal(small, large[:20])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tail": "hihg"}, "tail: unknown 'hihg'; did you mean 'high'"),
        ({"quota": "proportinal", "labels": [0, 1]}, "did you mean 'proportional'"),
        ({"quota": "equal"}, "'equal' needs labels"),
        ({"ids": [1, 1]}, "1 occurs 2 times"),
        ({"ids": ["a", "b"]}, "not integers"),
        ({"labels": [0, 1, 2]}, "3 do not fit 2 scores"),
    ],
)
def test_take_explains_bad_arguments(arguments, message):
    with pytest.raises(sb.SelectbenchError, match=message):
        sb.take(np.array([1.0, 2.0]), 0.5, **arguments)


def test_nan_scores_are_refused_and_infinite_ones_ranked():
    with pytest.raises(sb.SelectbenchError, match="1 of 3 are NaN"):
        sb.take(np.array([1.0, np.nan, 2.0]), 0.5)
    assert sb.take(np.array([1.0, np.inf, -np.inf]), 0.34).ids.tolist() == [1]

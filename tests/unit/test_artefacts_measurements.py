import math

import numpy as np
import pytest
from artefact_fixtures import make_measurements

from selectbench.artefacts.measurements import (
    MOST_BINS,
    bin_points,
    finite_points,
    group_measurements,
    mean_statistic,
    read_statistic,
    spans_decades,
)
from selectbench.errors import RecordError


def test_measurements_are_grouped_by_data_set_and_seed_in_order():
    items = [item | {"dataset": dataset} for dataset in ("digits", "blobs") for item in make_measurements()[::-1]]
    groups = group_measurements([*items, {"seed": 9, "dataset": "digits", "propositions": {}}], "cover_bound")
    assert {name: list(seeds) for name, seeds in groups.items()} == {"blobs": [0, 1, 2], "digits": [0, 1, 2]}
    assert group_measurements(items, "other") == {}
    with pytest.raises(RecordError, match="two measurements of 'cover_bound' on digits with seed 2"):
        group_measurements([*items, items[0]], "cover_bound")


def test_points_that_are_not_finite_are_dropped_in_pairs():
    x, y = finite_points({"x": [1, 2, None, 4], "y": [5, math.nan, 7, 8]})
    assert (x.tolist(), y.tolist()) == ([1, 4], [5, 8])


def test_few_distinct_values_are_bins_of_their_own_by_hand():
    one = (np.array([1.0, 1, 1, 2]), np.array([1.0, 2, 9, 4]))
    two = (np.array([2.0, 3]), np.array([6.0, 7]))
    bins = bin_points([one, two])
    assert bins.centres.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(bins.medians, [[2, 4, np.nan], [np.nan, 6, 7]])
    assert (bins.lower[0, 0], bins.upper[0, 0]) == (1.5, 5.5)


def test_many_values_fall_into_bins_of_equal_count():
    x = np.arange(1000.0)
    bins = bin_points([(x, 2 * x)])
    assert len(bins.centres) == MOST_BINS
    np.testing.assert_allclose(bins.centres, 50 * np.arange(20) + 24.5)
    np.testing.assert_allclose(bins.medians[0], 2 * bins.centres)


def test_ties_never_fall_into_two_bins():
    x = np.concatenate([np.zeros(500), np.arange(1.0, 101)])
    bins = bin_points([(x, x)])
    assert bins.centres[0] == 0
    assert len(bins.centres) < MOST_BINS
    assert not np.isnan(bins.medians).any()


def test_statistics_that_are_not_finite_do_not_count():
    measured = [{"statistic": {"spearman": value}} for value in (0.5, None, 0.7)]
    mean, num_seeds = mean_statistic(measured, "spearman")
    assert mean == pytest.approx(0.6)
    assert num_seeds == 2
    assert mean_statistic(measured, "slope") is None
    assert read_statistic({"statistic": {"spearman": math.nan}}, "spearman") is None


@pytest.mark.parametrize(("values", "spans"), [([1, 101], True), ([1, 100], False), ([0, 1e9], False), ([], False)])
def test_only_positive_values_over_two_decades_are_logarithmic(values, spans):
    assert spans_decades(np.array(values, dtype=float)) is spans

"""Rank correlation compared with SciPy."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from selectbench.rl.ranks import mean_ranks, rank_correlation


@pytest.mark.parametrize("num_values", [2, 5, 1000])
def test_ranks_and_their_correlation_are_those_of_scipy(num_values):
    rng = np.random.default_rng(num_values)
    for _ in range(20):
        x = np.append(rng.integers(0, num_values, num_values - 1), -1)
        y = np.append(rng.normal(size=num_values - 1).round(1), 9.0)
        np.testing.assert_array_equal(mean_ranks(x), rankdata(x))
        assert rank_correlation(x, np.ones(num_values)) is None
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)

"""Ranks without ``scipy.stats``, whose import takes a second of every agent's job."""

import numpy as np


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks (N,) of values (N,) from 1; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return Spearman's rank correlation of two arrays (N,); None where one of the two is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(mean_ranks(x), mean_ranks(y))[0, 1])

"""Ranks without ``scipy.stats``, whose import would cost every agent's job a second."""

import numpy as np


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks (N,) of values (N,), starting at 1; tied values get their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def find_smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the smallest values (n,), smallest first, without sorting the others; ties go to the earlier position."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    candidates = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
    return candidates[np.argsort(values[candidates], kind="stable")[:count]]


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return Spearman's rank correlation of two arrays (N,); None if either is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(mean_ranks(x), mean_ranks(y))[0, 1])

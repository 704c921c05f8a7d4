"""Greedy ε-cover: repeatedly take the sample that covers the most uncovered samples of its class."""

import math
from dataclasses import dataclass

import numpy as np

from selectbench.arrays import refuse_oversized
from selectbench.errors import SelectbenchError
from selectbench.methods._base import FEWER, GreedyMethod
from selectbench.policy import Quota
from selectbench.rl.cover import cover_greedily, distance_blocks, near_blocks
from selectbench.signals import Signals

_BINS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CoverGreedy(GreedyMethod):
    """Greedy set cover with ε-balls within each class, repeated on the samples not yet taken until all are ranked.

    A class of n_c samples needs n_c² bytes, plus blocks of bounded size; what does not fit is refused at once.

    Parameters
    ----------
    quantile : float
        The ε of a class is this quantile of the distances between its pairs.
    """

    quota: Quota = "proportional"
    quantile: float = 0.05

    citation = (
        "ε-sample cover of RL-Selector, ICCV 2025, arXiv:2506.21037, without an agent; greedy rule from Chvátal, "
        "A Greedy Heuristic for the Set-Covering Problem, Mathematics of Operations Research 4(3), 1979."
    )
    needs = ("features",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.quantile <= 1:
            raise SelectbenchError(f"quantile: {self.quantile!r} is outside [0, 1]; it is a share of a class's pairs")

    def check_memory(self, labels: np.ndarray) -> None:
        """Raise if the table of pairs of the largest class does not fit into memory."""
        largest = int(np.unique(labels, return_counts=True)[1].max())
        refuse_oversized(f"cover_greedy: the table of pairs of a class of {largest:,} samples", largest**2, FEWER)

    def score_first(self, signals: Signals, seed: int, most: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n_c, where t is the step at which the sample is taken within its class; −∞ if it is not reached."""
        signals.require("cover_greedy", "features")
        features = np.asarray(signals.features)

        def take(members: np.ndarray, count: int) -> np.ndarray:
            rows = np.asarray(features[members], dtype=np.float64)
            return cover_in_rounds(mark_near(rows, find_distance(rows, self.quantile)), count)

        return self.score_classes(signals, seed, most, take)


def find_distance(rows: np.ndarray, quantile: float) -> float:
    """Return the smallest distance that a share ``quantile`` of all pairs of rows (n, d) does not exceed; 0 for a single row.

    Two histograms, the second refining one bin of the first, locate it to 10⁻¹² of the largest distance without storing all pairs.
    It is rounded up to the edge of its bin, so that the pairs that define it lie within it however their distances are rounded.
    """
    bound: float = 2.0 * np.sqrt(np.square(rows - rows.mean(axis=0)).sum(axis=1).max())
    if bound == 0:
        return 0.0
    pairs = len(rows) * (len(rows) - 1) // 2
    wanted = len(rows) + 2 * max(1, math.ceil(quantile * pairs - 1e-9))  # counted over all (i, j), n of which have i = j
    low, width = 0.0, 1.001 * bound / _BINS
    for _ in range(2):
        counts = np.zeros(_BINS + 2, dtype=np.int64)
        for _, distances in distance_blocks(rows):
            bins = np.clip(np.floor((distances - low) / width), -1, _BINS).astype(np.int32) + 1
            counts += np.bincount(bins.ravel(), minlength=_BINS + 2)
        low += (int(np.searchsorted(np.cumsum(counts), wanted)) - 1) * width
        high = low + width
        width /= _BINS
    return high


def mark_near(rows: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the (n, n) bool matrix that marks the pairs i ≠ j within ε."""
    near = np.empty((len(rows), len(rows)), dtype=bool)
    for block, marks in near_blocks(rows, epsilon):
        near[block] = marks
    return near


def cover_in_rounds(near: np.ndarray, count: int) -> np.ndarray:
    """Return the first samples (count,) that repeated greedy covers take, in order; ties go to the earlier row.

    Each round covers the samples left over by the rounds before it, using only those samples.

    Parameters
    ----------
    near : (n, n) bool, symmetric, the diagonal False
    count : how many samples are taken
    """
    left, degrees, keys = np.ones(len(near), dtype=bool), np.count_nonzero(near, axis=1), np.arange(len(near))
    rounds, wanted = [np.empty(0, dtype=np.int64)], count
    while wanted:
        rounds.append(cover_greedily(lambda sample: np.flatnonzero(near[sample]), left, degrees, keys, wanted))
        wanted -= len(rounds[-1])
        left[rounds[-1]] = False
        for sample in rounds[-1]:
            degrees -= near[sample]
    return np.concatenate(rounds)

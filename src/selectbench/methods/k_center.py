"""k-center greedy: repeatedly take the sample farthest from all samples taken so far."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.methods._base import GreedyMethod
from selectbench.policy import Quota
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class KCenter(GreedyMethod):
    """Farthest-first traversal of the features within each class; needs O(n) memory besides the features of a class.

    Parameters
    ----------
    start : {"random", "central"}
        The first sample of a class: drawn at random from the seed, or the one nearest to the class mean.
    """

    quota: Quota = "proportional"
    start: Literal["random", "central"] = "random"

    citation = "Sener & Savarese, Active Learning for CNNs: A Core-Set Approach, ICLR 2018, Algorithm 1; Gonzalez 1985."
    needs = ("features",)

    def score_first(self, signals: Signals, seed: int, most: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n_c, where t is the step at which the sample is taken within its class; −∞ if it is not reached."""
        signals.require("k_center", "features")
        features = np.asarray(signals.features)

        def traverse(members: np.ndarray, count: int) -> np.ndarray:
            rows = np.asarray(features[members], dtype=np.float64)
            first = 0 if self.start == "random" else int(squared_distances(rows, rows.mean(axis=0)).argmin())
            return traverse_farthest_first(rows, first, count)

        return self.score_classes(signals, seed, most, traverse)


def traverse_farthest_first(features: np.ndarray, first: int, count: int) -> np.ndarray:
    """Return the first rows of a farthest-first traversal; ties go to the earlier row.

    One matrix–vector product per step bounds all distances to the new centre from below. Only rows whose bound is below their distance
    to the nearest centre so far are measured, so the result is that of measuring all.

    Parameters
    ----------
    features : (n, d) float64
    first : the row to start from
    count : how many rows are taken

    Returns
    -------
    (count,) positions in the order in which they are taken.
    """
    squares = np.einsum("nd,nd->n", features, features)
    slack = 16.0 * (features.shape[1] + 8) * np.finfo(np.float64).eps * squares.max()  # more than all roundings of either form
    order = np.empty(count, dtype=np.int64)
    nearest = np.full(len(features), np.inf)
    chosen = first
    for step in range(count):
        order[step] = chosen
        bounds = features @ (-2.0 * features[chosen])
        bounds += squares
        bounds += squares[chosen] - slack
        closer = np.flatnonzero(~(bounds >= nearest))
        nearest[closer] = np.minimum(nearest[closer], squared_distances(features[closer], features[chosen]))
        nearest[chosen] = -np.inf
        chosen = int(nearest.argmax())
    return order


def squared_distances(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return ‖x − point‖² for every row, computed from differences, so that equal rows are at distance exactly 0."""
    differences = rows - point
    distances: np.ndarray = np.einsum("nd,nd->n", differences, differences)
    return distances

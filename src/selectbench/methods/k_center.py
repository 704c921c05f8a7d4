"""k-center greedy: repeatedly take the sample farthest from all samples taken so far."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import Quota, score_class_orders
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class KCenter(Method):
    """Farthest-first traversal of the features within each class; needs O(n) memory besides the features.

    Parameters
    ----------
    start : {"random", "central"}
        The first sample of a class: drawn at random from the seed, or the one nearest to the class mean.
    """

    quota: Quota = "proportional"
    start: Literal["random", "central"] = "random"

    citation = "Sener & Savarese, Active Learning for CNNs: A Core-Set Approach, ICLR 2018, Algorithm 1; Gonzalez 1985."
    needs = ("features",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n_c, where t is the step at which the sample is taken within its class."""
        signals.require("k_center", "features")
        features = np.asarray(signals.features, dtype=np.float64)

        def traverse(members: np.ndarray) -> np.ndarray:
            rows = features[members]
            first = 0 if self.start == "random" else int(squared_distances(rows, rows.mean(axis=0)).argmin())
            return traverse_farthest_first(rows, first)

        return score_class_orders(signals.labels, signals.ids, seed, traverse)


def traverse_farthest_first(features: np.ndarray, first: int) -> np.ndarray:
    """Return the order of a farthest-first traversal of all rows (n, d); ties go to the earlier row."""
    order = np.empty(len(features), dtype=np.int64)
    nearest = np.full(len(features), np.inf)
    chosen = first
    for step in range(len(features)):
        order[step] = chosen
        np.minimum(nearest, squared_distances(features, features[chosen]), out=nearest)
        nearest[chosen] = -np.inf
        chosen = int(nearest.argmax())
    return order


def squared_distances(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return ‖x − point‖² for every row, computed from differences, so that equal rows are at distance exactly 0."""
    differences = rows - point
    distances: np.ndarray = np.einsum("nd,nd->n", differences, differences)
    return distances

"""Herding: greedily keep the mean of the chosen features close to the class mean."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import GreedyMethod
from selectbench.policy import Quota
from selectbench.signals import Signals

_GRAM_BYTES, _GRAM_ROWS, _GRAM_SHARE = 1 << 28, 1000, 1 / 4  # where a Gram matrix of a class fits, and where it is faster


@dataclass(frozen=True, kw_only=True)
class Herding(GreedyMethod):
    """Within each class, repeatedly take the x that minimises ‖(t+1)·μ − Σ chosen − x‖ (iCaRL's form; DeepCore's code maximises it).

    Parameters
    ----------
    normalise : bool
        Scale features to unit norm first; Welling's form, argmax ⟨w, x⟩, then selects in the same order.
    """

    quota: Quota = "proportional"
    normalise: bool = False

    citation = "Welling, Herding Dynamical Weights to Learn, ICML 2009; greedy form of Rebuffi et al., iCaRL, CVPR 2017, Algorithm 4."
    needs = ("features",)

    def score_first(self, signals: Signals, seed: int, most: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n_c, where t is the step at which the sample is taken within its class; −∞ if it is not reached."""
        signals.require("herding", "features")
        features = np.asarray(signals.features)

        def take(members: np.ndarray, count: int) -> np.ndarray:
            rows = np.asarray(features[members], dtype=np.float64)
            if self.normalise:
                norms = np.linalg.norm(rows, axis=1, keepdims=True)
                rows = rows / np.where(norms > 0, norms, 1.0)
            return herd(rows, count)

        return self.score_classes(signals, seed, most, take)


def herd(features: np.ndarray, count: int) -> np.ndarray:
    """Return the first rows of the herding order; ties go to the earlier row.

    ‖w − x‖² = ‖w‖² + ‖x‖² − 2⟨w, x⟩ with w = (t+1)μ − Σ chosen, and ⟨w, x⟩ changes by ⟨μ, x⟩ − ⟨chosen, x⟩: one
    matrix–vector product per step, or one row of the Gram matrix where ``prefers_gram`` says so. The two round differently, which can
    only matter to rows that tie to the last digits.

    Parameters
    ----------
    features : (n, d) float64
    count : how many rows are taken

    Returns
    -------
    (count,) positions in the order in which they are taken.
    """
    features = features - features.mean(axis=0)
    squared_norms = np.einsum("nd,nd->n", features, features)
    alignment = np.zeros(len(features))
    gram = features @ features.T if prefers_gram(len(features), count) else None
    order = np.empty(count, dtype=np.int64)
    for step in range(count):
        order[step] = chosen = int((squared_norms - 2.0 * alignment).argmin())
        squared_norms[chosen] = np.inf
        alignment -= features @ features[chosen] if gram is None else gram[chosen]
    return order


def prefers_gram(num: int, count: int) -> bool:
    """Tell whether the Gram matrix of a class fits into memory and saves time: it replaces ``count`` passes over the features."""
    return num >= _GRAM_ROWS and count >= _GRAM_SHARE * num and 8 * num**2 <= _GRAM_BYTES

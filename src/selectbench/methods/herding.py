"""Herding: greedily keep the mean of the chosen features close to the class mean."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import Quota, score_class_orders
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Herding(Method):
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

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n_c, where t is the step at which the sample is taken within its class."""
        signals.require("herding", "features")
        features = np.asarray(signals.features, dtype=np.float64)
        if self.normalise:
            norms = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.where(norms > 0, norms, 1.0)
        return score_class_orders(signals.labels, signals.ids, seed, lambda members: herd(features[members]))


def herd(features: np.ndarray) -> np.ndarray:
    """Return the herding order of all rows; ties go to the earlier row.

    ‖w − x‖² = ‖w‖² + ‖x‖² − 2⟨w, x⟩ with w = (t+1)μ − Σ chosen, and ⟨w, x⟩ changes by ⟨μ, x⟩ − ⟨chosen, x⟩: one
    matrix–vector product per step and no copy of the matrix.

    Parameters
    ----------
    features : (n, d) float64

    Returns
    -------
    (n,) positions in the order in which they are taken.
    """
    features = features - features.mean(axis=0)
    squared_norms = np.einsum("nd,nd->n", features, features)
    alignment = np.zeros(len(features))
    order = np.empty(len(features), dtype=np.int64)
    taken = np.zeros(len(features), dtype=bool)
    for step in range(len(features)):
        distance = np.where(taken, np.inf, squared_norms - 2.0 * alignment)
        order[step] = chosen = int(distance.argmin())
        taken[chosen] = True
        alignment -= features @ features[chosen]
    return order

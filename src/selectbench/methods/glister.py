"""GLISTER: greedily add the sample whose gradient step lowers the validation loss most."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.policy import score_class_orders
from selectbench.seeds import hash_ids
from selectbench.signals import Signals, softmax_residuals


@dataclass(frozen=True, kw_only=True)
class Glister(Method):
    """Gain of sample i: ⟨g_i, ∇L_val(θ − η Σ_chosen g_s)⟩ with last-layer gradients; ∇L_val is updated as samples are added.

    Gradients are never formed: g_i = δ_i h̃_iᵀ, so the gain is δ_iᵀ G h̃_i with a single C×(d+1) matrix G, and a step shifts the
    validation logits by a rank-one matrix. The pool itself serves as validation set, because no other labels may be read.

    Parameters
    ----------
    step_size : float
        η of the one-step look-ahead.
    rounds : int
        How often G is recomputed while the whole pool (or class) is ranked; 0 recomputes it after every sample.
    within : {"pool", "class"}
        Whether the whole pool is ranked for the loss on the whole pool (the paper and its code), or each class for the loss on that class
        (DeepCore, which also divides the places among classes: ``quota: proportional``).
    """

    step_size: float = 0.1
    rounds: int = 0
    within: Literal["pool", "class"] = "pool"

    citation = "Killamsetty et al., GLISTER: Generalization based Data Subset Selection, AAAI 2021, Equation 4 and Algorithm 1."
    needs = ("logits", "features")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size <= 0:
            raise SelectbenchError(f"step_size: {self.step_size} is not positive")
        if self.rounds < 0:
            raise SelectbenchError(f"rounds: {self.rounds} is negative")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n, where t is the step at which the sample is added, of n in the pool or in its class."""
        signals.require("glister", "logits", "features")
        logits = np.asarray(signals.logits)[-1].astype(np.float64, copy=False)
        features = np.asarray(signals.features, dtype=np.float64)

        def add(members: np.ndarray) -> np.ndarray:
            per_round = 1 if self.rounds == 0 else -(-len(members) // self.rounds)
            return add_greedily(logits[members], features[members], signals.labels[members], self.step_size, per_round)

        if self.within == "class":
            return score_class_orders(signals.labels, signals.ids, seed, add)
        order = np.argsort(hash_ids(signals.ids, seed), kind="stable")
        scores = np.empty(len(signals))
        scores[order[add(order)]] = 1.0 - np.arange(len(signals)) / len(signals)
        return scores


def add_greedily(logits: np.ndarray, features: np.ndarray, labels: np.ndarray, step_size: float, per_round: int) -> np.ndarray:
    """Return the order in which all samples are added; ties go to the earlier row.

    Parameters
    ----------
    logits : (N, C) float64
    features : (N, d) float64
    labels : (N,) in 0 … C−1
    step_size : η
    per_round : samples added before the validation gradient is recomputed

    Returns
    -------
    (N,) positions
    """
    biased = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    residuals = softmax_residuals(logits, labels)
    shifted = logits.copy()
    left = np.ones(len(logits), dtype=bool)
    order: list[int] = []
    while len(order) < len(logits):
        gradient = softmax_residuals(shifted, labels).T @ biased / len(logits)
        gains = np.einsum("nc,nc->n", residuals, biased @ gradient.T)
        gains[~left] = -np.inf
        room = min(per_round, len(logits) - len(order))
        chosen = np.argsort(-gains, kind="stable")[:room]
        left[chosen] = False
        order += chosen.tolist()
        shifted -= step_size * (biased @ biased[chosen].T) @ residuals[chosen]
    return np.array(order)

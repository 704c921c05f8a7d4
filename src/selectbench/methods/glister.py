"""GLISTER: greedily add the sample whose gradient step lowers the validation loss most."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import GreedyMethod
from selectbench.rl.cover import split_rows
from selectbench.rl.ranks import find_smallest
from selectbench.signals import Signals, softmax_residuals

_BLOCK_BYTES = 1 << 22  # of features that are converted


@dataclass(frozen=True, kw_only=True)
class Glister(GreedyMethod):
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

    def score_first(self, signals: Signals, seed: int, most: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n, t the step at which the sample is added, of n in the pool or its class; −∞ if it is not reached."""
        signals.require("glister", "logits", "features")
        logits, features = np.asarray(signals.logits)[-1], np.asarray(signals.features)

        def add(members: np.ndarray, count: int) -> np.ndarray:
            per_round = 1 if self.rounds == 0 else -(-len(members) // self.rounds)
            own = logits[members].astype(np.float64, copy=False)
            return add_greedily(own, add_bias(features, members), signals.labels[members], self.step_size, per_round, count)

        score = self.score_classes if self.within == "class" else self.score_pool
        return score(signals, seed, most, add)


def add_bias(features: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the features (n, d + 1) of some samples in float64, with a last column of ones; no other copy of them is made."""
    biased = np.ones((len(members), features.shape[1] + 1))
    for block in split_rows(len(members), features.shape[1], _BLOCK_BYTES):
        biased[block, :-1] = features[members[block]]
    return biased


def add_greedily(logits: np.ndarray, biased: np.ndarray, labels: np.ndarray, step_size: float, per_round: int, count: int) -> np.ndarray:
    """Return the samples that are added first, in order; ties go to the earlier row.

    Parameters
    ----------
    logits : (N, C) float64
    biased : (N, d + 1) float64, features with a last column of ones
    labels : (N,) in 0 … C−1
    step_size : η
    per_round : samples added before the validation gradient is recomputed
    count : how many samples are wanted

    Returns
    -------
    (count,) positions
    """
    residuals = softmax_residuals(logits, labels)
    shifted = logits.copy()
    left = np.ones(len(logits), dtype=bool)
    order: list[int] = []
    while len(order) < count:
        gradient = softmax_residuals(shifted, labels).T @ biased / len(logits)
        gains = np.einsum("nc,nc->n", residuals, biased @ gradient.T)
        gains[~left] = -np.inf
        chosen = find_smallest(-gains, min(per_round, len(logits) - len(order)))
        left[chosen] = False
        order += chosen.tolist()
        if per_round > logits.shape[1]:  # fewer multiplications in this order
            shifted -= step_size * (biased @ (biased[chosen].T @ residuals[chosen]))
        else:
            shifted -= step_size * (biased @ biased[chosen].T) @ residuals[chosen]
    return np.array(order[:count], dtype=np.int64)

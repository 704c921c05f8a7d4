"""MoSo: how much the empirical risk would rise if the sample were moved out of the training set."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import Quota
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class MoSo(Method):
    """Σ_t η_t ⟨∇L(w_t), ∇ℓ_i(w_t)⟩ over checkpoints w_t of one training run on the pool: the first-order effect of leaving out i.

    The paper's form has ∇L(S∖i) instead of ∇L(S); the two differ by a term in ‖∇ℓ_i‖²/N, which is omitted.
    """

    quota: Quota = "equal"

    citation = "Tan et al., Data Pruning via Moving-one-Sample-out, NeurIPS 2023, Equation 4."
    needs = ("alignments", "step_sizes")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) risk differences, up to a common positive factor."""
        signals.require("moso", "alignments", "step_sizes")
        alignments = np.asarray(signals.alignments, dtype=np.float64)
        scores: np.ndarray = np.einsum("m,mn->n", np.asarray(signals.step_sizes), alignments) / len(signals)
        return scores

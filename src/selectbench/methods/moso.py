"""MoSo: how much the empirical risk would rise if the sample were moved out of the training set."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import Quota
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class MoSo(Method):
    """Σ_t η_t ⟨∇L(w_t), ∇ℓ_i(w_t)⟩ over checkpoints w_t of one training on the pool: the effect of leaving i out, to first order.

    The exact first-order form has ∇L(S∖i) in place of ∇L(S); they differ by a term in ‖∇ℓ_i‖²/N, which is left out.
    """

    quota: Quota = "equal"

    citation = "Tan et al., Data Pruning via Moving-one-Sample-out, NeurIPS 2023, Equation 4."
    needs = ("alignments", "step_sizes")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) risk differences, up to a common positive factor."""
        signals.require("moso", "alignments", "step_sizes")
        return np.einsum("m,mn->n", signals.step_sizes, np.asarray(signals.alignments, dtype=np.float64)) / len(signals)

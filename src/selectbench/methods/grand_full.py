"""GraNd, full-parameter form: the norm of the loss gradient with respect to all parameters, early in training."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import EarlyReplicatedMethod
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class GraNdFull(EarlyReplicatedMethod):
    """Mean over checkpoints or replicates of ‖∇_θ ℓ_i‖₂ over all parameters of the proxy.

    Not interchangeable with the last-layer form. At initialisation it reflects little more than the norm of the input.
    """

    citation = "Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet, NeurIPS 2021, Definition 2.1."
    needs = ("gradient_norms",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) mean gradient norms."""
        signals.require("grand_full", "gradient_norms")
        norms = signals.select_early(np.asarray(signals.gradient_norms), self.until, "grand_full")
        scores: np.ndarray = np.asarray(norms, dtype=np.float64).mean(axis=0)
        return scores

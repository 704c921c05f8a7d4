"""EL2N: the L2 norm of the prediction error early in training."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import EarlyReplicatedMethod
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class EL2N(EarlyReplicatedMethod):
    """Mean over checkpoints or replicates of ‖softmax(z) − onehot(y)‖₂ (a mean of norms, not the norm of a mean)."""

    citation = "Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet, NeurIPS 2021, Definition 2.2."
    needs = ("errors",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores in [0, √2]."""
        signals.require("el2n", "errors")
        scores: np.ndarray = signals.select_early(signals.prediction_errors, self.until, "el2n").mean(axis=0)
        return scores

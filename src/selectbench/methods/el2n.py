"""EL2N: the norm of the prediction error, early in training."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class EL2N(Method):
    """Mean over checkpoints or replicates of ‖softmax(z) − onehot(y)‖₂ (the mean of norms, not the norm of a mean).

    Parameters
    ----------
    until : float
        Use the checkpoints recorded up to this share of the proxy's training; 1 uses every row of ``logits``.
    """

    until: float = 1.0

    citation = "Paul, Ganguli & Dziugaite, Deep Learning on a Data Diet, NeurIPS 2021, Definition 2.2."
    needs = ("errors",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.until <= 1:
            raise SelectbenchError(f"until: {self.until!r} is outside (0, 1]; it is a share of the proxy's training")

    @property
    def proxy_share(self) -> float:
        """Training after ``until`` is not needed and not charged."""
        return self.until

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores in [0, √2]."""
        signals.require("el2n", "errors")
        if self.until == 1:
            return signals.prediction_errors.mean(axis=0)
        signals.require("el2n", "recorded_at")
        early = signals.recorded_at <= self.until + 1e-9
        if not early.any():
            raise SelectbenchError(
                f"el2n: no checkpoint was recorded up to until={self.until}; the first is at {signals.recorded_at.min():g}"
            )
        return signals.prediction_errors[early].mean(axis=0)

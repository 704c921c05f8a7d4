"""TDDS: how strongly a sample's outputs fluctuate, within windows of epochs and over the course of training."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import EarlyMethod
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class TDDS(EarlyMethod):
    """The norm of the divergences' deviations from their mean within each window of epochs, averaged exponentially over windows.

    The last window has weight ``decay``, the one before it ``decay · (1 − decay)``, and so on.

    Parameters
    ----------
    window : int
        J, the number of epochs in a window, with J − 1 divergences between them.
    decay : float
        β, the weight of the latest window in the exponential average.
    """

    window: int = 4
    decay: float = 0.9

    citation = "Zhang et al., Spanning Training Progress: Temporal Dual-Depth Scoring, CVPR 2024, Equations 5 to 8."
    needs = ("divergences",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 3:
            raise SelectbenchError(f"window: {self.window} is less than 3; a single divergence does not deviate from its mean")
        if not 0 < self.decay <= 1:
            raise SelectbenchError(f"decay: {self.decay} is outside (0, 1]")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) non-negative scores."""
        signals.require("tdds", "divergences")
        divergences = np.asarray(signals.divergences)
        epochs = round(self.until * (len(divergences) + 1))
        if epochs < self.window:
            raise SelectbenchError(f"tdds: the first {epochs} epochs hold no window of {self.window}; set window or until")
        scores = np.zeros(len(signals))
        for start in range(epochs - self.window + 1):
            inside = np.asarray(divergences[start : start + self.window - 1], dtype=np.float64)
            lag = epochs - self.window - start
            scores += self.decay * (1.0 - self.decay) ** lag * np.linalg.norm(inside - inside.mean(axis=0), axis=0)
        return scores

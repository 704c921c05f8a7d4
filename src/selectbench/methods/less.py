"""LESS: keep the samples whose gradients align with those of the validation samples."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Less(Method):
    """Rank samples by the cosine similarity of their Adam updates to the validation gradient, summed over warm-up checkpoints."""

    citation = "Xia et al., LESS: selecting influential data for targeted instruction tuning, ICML 2024, arXiv 2402.04333, Section 4."
    needs = ("influences",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) influences."""
        signals.require("less", "influences")
        return np.asarray(signals.influences, dtype=np.float64)

"""Forgetting: how often a sample was learnt and lost again."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Forgetting(Method):
    """Number of epochs t with the sample right at t and wrong at t + 1, summed over runs.

    A sample that a run never got right counts as maximally forgotten, T events, as in the paper (DeepCore and CCS count it 0).
    """

    citation = "Toneva et al., An Empirical Study of Example Forgetting, ICLR 2019, Section 3."
    needs = ("correct",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) event counts."""
        signals.require("forgetting", "correct")
        return count_forgetting(signals.correct)


def count_forgetting(correct: np.ndarray) -> np.ndarray:
    """Return (N,) float64 event counts of (T, N) or (R, T, N) correctness, summed over runs."""
    runs = correct if correct.ndim == 3 else correct[None]
    events = (runs[:, :-1] & ~runs[:, 1:]).sum(axis=1)
    events[~runs.any(axis=1)] = runs.shape[1]
    return events.sum(axis=0).astype(np.float64)

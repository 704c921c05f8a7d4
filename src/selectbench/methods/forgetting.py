"""Forgetting: how often a sample was learnt and then forgotten."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import ReplicatedMethod
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Forgetting(ReplicatedMethod):
    """Number of epochs t such that the sample is classified correctly at t and wrongly at t + 1, summed over runs.

    A sample that a run never classifies correctly counts as T events, the maximum, as in the paper (DeepCore and CCS count 0).
    """

    citation = "Toneva et al., An Empirical Study of Example Forgetting, ICLR 2019, Section 3."
    needs = ("correct",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) numbers of forgetting events."""
        signals.require("forgetting", "correct")
        return count_forgetting(np.asarray(signals.correct))


def count_forgetting(correct: np.ndarray) -> np.ndarray:
    """Return the (N,) float64 numbers of forgetting events in correctness (T, N) or (R, T, N), summed over runs."""
    runs = correct if correct.ndim == 3 else correct[None]
    events: np.ndarray = (runs[:, :-1] & ~runs[:, 1:]).sum(axis=1)
    events[~runs.any(axis=1)] = runs.shape[1]
    counts: np.ndarray = events.sum(axis=0).astype(np.float64)
    return counts

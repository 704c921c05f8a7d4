"""Nearest to validation: keep the samples whose embeddings lie closest to those of validation samples."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.rl.geometry import normalise_rows
from selectbench.signals import Signals

_BLOCK = 1 << 22  # similarities computed at a time


@dataclass(frozen=True, kw_only=True)
class NearestValidation(Method):
    """Rank samples by their mean cosine similarity to the nearest validation samples.

    Parameters
    ----------
    neighbours : int
        Number of nearest validation samples to average over, at most the size of the validation set.
    """

    neighbours: int = 1

    citation = "Control: retrieval by embedding similarity (RDS in Xia et al., LESS, ICML 2024, Section 5), with one encoder throughout."
    needs = ("embeddings", "validation_embeddings")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1:
            raise SelectbenchError(f"neighbours: {self.neighbours} is less than 1")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) mean cosine similarities in [−1, 1]."""
        signals.require("nearest_validation", "embeddings", "validation_embeddings")
        rows, targets = (
            normalise_rows(np.asarray(values, dtype=np.float64)) for values in (signals.embeddings, signals.validation_embeddings)
        )
        count = min(self.neighbours, len(targets))
        scores = np.empty(len(rows))
        size = max(1, _BLOCK // len(targets))
        for start in range(0, len(rows), size):
            cosines = rows[start : start + size] @ targets.T
            scores[start : start + size] = np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1)
        return scores

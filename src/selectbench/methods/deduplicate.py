"""Deduplication: a random subset without near-duplicates."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import GreedyMethod
from selectbench.rl.geometry import normalise_rows
from selectbench.signals import Signals

_BLOCK = 256  # samples that are compared with all that are kept at a time


@dataclass(frozen=True, kw_only=True)
class Deduplicate(GreedyMethod):
    """Take samples in random order, and each one that is too similar to one taken before only once no others are left.

    Parameters
    ----------
    threshold : float
        Cosine similarity of embeddings from which on two samples are near-duplicates.
    """

    threshold: float = 0.9

    citation = (
        "Control: near-duplicate removal by embedding similarity (Abbas et al., SemDeDup, arXiv 2303.09540), here exact and sequential."
    )
    needs = ("embeddings",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 < self.threshold <= 1:
            raise SelectbenchError(f"threshold: {self.threshold!r} is outside (−1, 1]; it is a cosine similarity")

    def score_first(self, signals: Signals, seed: int, most: int) -> np.ndarray:
        """Return (N,) scores 1 − t/N, where t is the step at which a sample is taken; −∞ if it is not reached."""
        signals.require("deduplicate", "embeddings")
        rows = normalise_rows(np.asarray(signals.embeddings, dtype=np.float64))
        return self.score_pool(signals, seed, most, lambda members, count: postpone_duplicates(rows[members], self.threshold, count))


def postpone_duplicates(rows: np.ndarray, threshold: float, count: int) -> np.ndarray:
    """Return the first ``count`` rows in order, with those after all others that are too similar to an earlier one among the others.

    Parameters
    ----------
    rows : (n, d) of unit norm
    threshold : cosine similarity from which on a row is postponed
    count : how many rows are returned
    """
    taken: list[int] = []
    postponed: list[int] = []
    kept = np.empty((count, rows.shape[1]))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        nearest = (block @ kept[: len(taken)].T).max(axis=1, initial=-np.inf)
        within = block @ block.T
        for place in range(len(block)):
            if len(taken) == count:
                return np.array(taken, dtype=np.int64)
            if nearest[place] >= threshold:
                postponed.append(start + place)
                continue
            kept[len(taken)] = block[place]
            taken.append(start + place)
            np.maximum(nearest, within[place], out=nearest)
    return np.array((taken + postponed)[:count], dtype=np.int64)

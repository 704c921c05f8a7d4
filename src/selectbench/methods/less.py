"""LESS: keep the samples whose gradients align with those of the validation samples."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import order_by_score
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Less(Method):
    """Rank samples by the cosine similarity of their Adam updates to the validation gradient of a task, summed over warm-up checkpoints.

    Parameters
    ----------
    tasks : {"largest", "turns"}
        How several tasks share a subset: one ranking by the largest influence on any of them, as the paper does with the sub-tasks of one
        target task; or tasks take turns, each taking the sample with the largest influence on it, so that each gets the same number.
    similarity : {"mean_gradient", "mean_similarity"}
        Similarity to the mean gradient of a task's validation samples (paper), or the mean similarity to their single gradients (code).
    """

    tasks: Literal["largest", "turns"] = "largest"
    similarity: Literal["mean_gradient", "mean_similarity"] = "mean_gradient"

    citation = "Xia et al., LESS: selecting influential data for targeted instruction tuning, ICML 2024, arXiv 2402.04333, Section 4."
    needs = ("influences",)

    @property
    def reads(self) -> tuple[str, ...]:
        """The influences with the chosen similarity."""
        return self.needs if self.similarity == "mean_gradient" else ("sample_influences",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) largest influences; or 1 − t/N, where t is the turn in which a task takes the sample."""
        signals.require("less", *self.reads)
        influences = np.atleast_2d(np.asarray(getattr(signals, self.reads[0]), dtype=np.float64))
        if self.tasks == "largest":
            largest: np.ndarray = influences.max(axis=0)
            return largest
        scores = np.empty(len(signals))
        scores[take_turns(influences, signals.ids, seed)] = 1.0 - np.arange(len(signals)) / len(signals)
        return scores


def take_turns(influences: np.ndarray, ids: np.ndarray, seed: int) -> np.ndarray:
    """Return the order (N,) in which tasks take samples: each in turn takes what it ranks highest of those left.

    Parameters
    ----------
    influences : (S, N) of every sample on every task
    ids, seed : break ties
    """
    rankings = [iter(order_by_score(row, ids, seed).tolist()) for row in influences]
    taken = np.zeros(influences.shape[1], dtype=bool)
    order = np.empty(len(taken), dtype=np.int64)
    for step in range(len(taken)):
        order[step] = best = next(position for position in rankings[step % len(rankings)] if not taken[position])
        taken[best] = True
    return order

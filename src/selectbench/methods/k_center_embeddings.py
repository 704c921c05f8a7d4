"""k-center greedy on an encoder's embeddings, over the whole pool."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import GreedyMethod
from selectbench.methods.k_center import traverse_farthest_first
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class KCenterEmbeddings(GreedyMethod):
    """Farthest-first traversal of the embeddings regardless of class; the first sample is drawn at random from the seed."""

    citation = "Sener & Savarese, Active Learning for CNNs: A Core-Set Approach, ICLR 2018, Algorithm 1; Gonzalez 1985."
    needs = ("embeddings",)

    def score_first(self, signals: Signals, seed: int, most: int) -> np.ndarray:
        """Return (N,) scores 1 − t/N, where t is the step at which the traversal takes the sample; −∞ if it is not reached."""
        signals.require("k_center_embeddings", "embeddings")
        rows = np.asarray(signals.embeddings)

        def traverse(members: np.ndarray, count: int) -> np.ndarray:
            return traverse_farthest_first(np.asarray(rows[members], dtype=np.float64), 0, count)

        return self.score_pool(signals, seed, most, traverse)

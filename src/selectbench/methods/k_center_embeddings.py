"""k-center greedy on an encoder's embeddings, over the whole pool."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.methods.k_center import traverse_farthest_first
from selectbench.policy import score_class_orders
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class KCenterEmbeddings(Method):
    """Farthest-first traversal of the embeddings regardless of class; the first sample is drawn at random from the seed."""

    citation = "Sener & Savarese, Active Learning for CNNs: A Core-Set Approach, ICLR 2018, Algorithm 1; Gonzalez 1985."
    needs = ("embeddings",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores 1 − t/N, where t is the step at which the traversal takes the sample."""
        signals.require("k_center_embeddings", "embeddings")
        rows = np.asarray(signals.embeddings, dtype=np.float64)
        whole = np.zeros(len(rows), dtype=np.int64)
        return score_class_orders(whole, signals.ids, seed, lambda members: traverse_farthest_first(rows[members], 0))

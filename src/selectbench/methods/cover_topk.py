"""Top-k by sample cover: what RL-Selector's redundancy reward would choose without an agent."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.rl.cover import sample_cover
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class CoverTopK(Method):
    """Keep the k samples with the largest E_i = Σ_j ‖h_i − h_j‖ over their class; on frozen features this is the optimum of r2.

    Parameters
    ----------
    normalise : bool
        Divide E_i by the class size, so that large classes are not favoured.
    """

    normalise: bool = False

    citation = "Static optimum of the redundancy reward of RL-Selector, ICCV 2025, arXiv:2506.21037."
    needs = ("features",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) sums (or means) of distances."""
        signals.require("cover_topk", "features")
        sums = sample_cover(np.asarray(signals.features), signals.labels)
        if not self.normalise:
            return sums
        _, inverse, sizes = np.unique(signals.labels, return_inverse=True, return_counts=True)
        means: np.ndarray = sums / sizes[inverse]
        return means

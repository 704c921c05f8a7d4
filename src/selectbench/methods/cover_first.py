"""Top-k of sample cover with the features of the proxy's first epoch: the static choice on what an agent begins with."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.rl.cover import sample_cover
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class CoverFirst(Method):
    """The k samples with the largest E_i = Σ_j ‖h_i − h_j‖ over their class, h recorded after one epoch of training.

    The whole proxy run is charged, as one run serves all methods.
    """

    citation = "Static counterpart of RL-Selector (ICCV 2025, arXiv:2506.21037) after its warm-up epoch."
    needs = ("first_features",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) distance sums."""
        signals.require("cover_first", "first_features")
        return sample_cover(signals.first_features, signals.labels)

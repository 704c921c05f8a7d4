"""Top-k by sample cover on features from the proxy's first epoch: the static counterpart of what an agent starts from."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.rl.cover import sample_cover
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class CoverFirst(Method):
    """Keep the k samples with the largest E_i = Σ_j ‖h_i − h_j‖ over their class, with features h recorded after one epoch.

    The whole proxy run is charged, because one run serves all methods.
    """

    citation = "Static counterpart of RL-Selector (ICCV 2025, arXiv:2506.21037) after its warm-up epoch."
    needs = ("first_features",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) sums of distances."""
        signals.require("cover_first", "first_features")
        return sample_cover(np.asarray(signals.first_features), signals.labels)

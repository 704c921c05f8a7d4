"""Moderate-DS: keep the samples at a moderate distance from their class prototype."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import centrality
from selectbench.rl.geometry import distances_to_prototype
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Moderate(Method):
    """Rank all samples by the distance of their features to the class prototype and keep the middle of that ranking.

    Parameters
    ----------
    prototype : {"mean", "median"}
        The class mean (paper) or the coordinate-wise class median (released code).
    """

    prototype: Literal["mean", "median"] = "mean"

    citation = "Xia et al., Moderate Coreset, ICLR 2023, Section 3."
    needs = ("features",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) centralities of the distance ranks: largest at the median, falling on both sides."""
        signals.require("moderate", "features")
        distances = distances_to_prototype(np.asarray(signals.features), signals.labels, self.prototype)
        return centrality(distances, signals.ids, seed)

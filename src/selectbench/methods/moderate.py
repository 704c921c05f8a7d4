"""Moderate-DS: keep the samples at a middling distance from their class prototype."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import centrality
from selectbench.rl.geometry import distances_to_prototype
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Moderate(Method):
    """Distance of each feature to its class prototype; keep the central ranks of one ranking over all classes.

    Parameters
    ----------
    prototype : {"mean", "median"}
        Class mean (the paper) or coordinate-wise class median (the released code).
    """

    prototype: Literal["mean", "median"] = "mean"

    citation = "Xia et al., Moderate Coreset, ICLR 2023, Section 3."
    needs = ("features",)

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) centralities of the distance ranks: 0 at the median, falling to both sides."""
        signals.require("moderate", "features")
        distances = distances_to_prototype(signals.features, signals.labels, self.prototype)
        return centrality(distances, signals.ids, seed)

"""Moderate-DS: keep the samples at a middling distance from their class prototype."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import centrality
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


def distances_to_prototype(features: np.ndarray, labels: np.ndarray, prototype: str) -> np.ndarray:
    """Return (N,) Euclidean distances of the features (N, d) to the mean or median of their class."""
    reduce = np.mean if prototype == "mean" else np.median
    distances = np.empty(len(features))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rows = np.asarray(features[members], dtype=np.float64)
        distances[members] = np.linalg.norm(rows - reduce(rows, axis=0), axis=1)
    return distances

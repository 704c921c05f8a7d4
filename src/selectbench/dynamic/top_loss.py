"""Top-loss: keep the k samples with the highest last loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, take_highest


@dataclass(kw_only=True, eq=False)
class TopLoss(DynamicSampler):
    """Keep the k samples with the highest last losses. A sample left out keeps its old loss and returns only if fewer than k exceed it."""

    citation = "Online hard example mining (Loshchilov and Hutter 2015; Shrivastava et al. 2016), once per epoch."
    memory = ("losses",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.losses = np.full(self.num_samples, np.nan)

    def choose(self, seed: int) -> np.ndarray:
        """Return the ids of the k highest last losses."""
        return take_highest(self.losses, self.num_kept, seed)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Store the losses."""
        self.losses[batch.ids] = batch.losses
        return {}

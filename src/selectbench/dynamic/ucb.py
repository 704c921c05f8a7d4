"""UCB: the highest moving means of the loss plus a bonus for losses that vary."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, take_highest
from selectbench.errors import SelectbenchError


@dataclass(kw_only=True, eq=False)
class UCB(DynamicSampler):
    """Keep the k highest of mean + c · spread, both exponentially weighted over a sample's losses; the spread is a standard deviation.

    With d = ℓ − m against the mean *before* the update, m ← m + α·d and v ← (1 − α)·(v + α·d²). This is exactly the variance of the
    losses seen so far under the weights that make up m; it starts at 0 with the first loss and stays 0 on constant losses.

    Parameters
    ----------
    c : float
        Weight of the spread; 0 is the top-k of the means.
    alpha : float
        Weight α of the newest loss; the first loss is the first mean.
    """

    c: float = 1.0
    alpha: float = 0.8

    citation = "Raju, Daruwalla, Lipasti: Accelerating deep learning with dynamic data pruning, 2021, Section 4."
    memory = ("means", "variances")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.c < 0:
            raise SelectbenchError(f"c: {self.c!r} is negative")
        if not 0 < self.alpha <= 1:
            raise SelectbenchError(f"alpha: {self.alpha!r} is outside (0, 1]; it is the weight of the newest loss")
        self.means = np.full(self.num_samples, np.nan)
        self.variances = np.zeros(self.num_samples)

    @property
    def bonus(self) -> np.ndarray:
        """What is added to each mean (N,): c · spread."""
        return self.c * np.sqrt(self.variances)

    def choose(self, seed: int) -> np.ndarray:
        """Return the ids of the k highest bounds."""
        return take_highest(self.means + self.bonus, self.num_kept, seed)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Move means and variances."""
        means = np.where(np.isnan(self.means[batch.ids]), batch.losses, self.means[batch.ids])
        distances = batch.losses - means
        self.variances[batch.ids] = (1 - self.alpha) * (self.variances[batch.ids] + self.alpha * distances**2)
        self.means[batch.ids] = means + self.alpha * distances
        return {}

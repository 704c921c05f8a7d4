"""UCB: keep the highest moving averages of the loss plus a bonus for its variability."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, take_highest
from selectbench.errors import SelectbenchError


@dataclass(kw_only=True, eq=False)
class UCB(DynamicSampler):
    """Keep the k highest of mean + c · standard deviation, both exponentially weighted over a sample's losses.

    With d = ℓ − m relative to the mean *before* the update, m ← m + α·d and v ← (1 − α)·(v + α·d²). This v is exactly the variance of
    the losses seen so far under the weights that define m; it starts at 0 with the first loss and stays 0 for constant losses.

    Parameters
    ----------
    c : float
        Weight of the standard deviation; 0 gives the top k of the means.
    alpha : float
        Weight α of the newest loss; the mean starts at the first loss.
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
        """The bonus added to each mean (N,): c · standard deviation."""
        bonus: np.ndarray = self.c * np.sqrt(self.variances)
        return bonus

    def choose(self, seed: int) -> np.ndarray:
        """Return the ids of the k highest upper bounds."""
        return take_highest(self.means + self.bonus, self.num_kept, seed)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Update means and variances."""
        means = np.where(np.isnan(self.means[batch.ids]), batch.losses, self.means[batch.ids])
        distances = batch.losses - means
        self.variances[batch.ids] = (1 - self.alpha) * (self.variances[batch.ids] + self.alpha * distances**2)
        self.means[batch.ids] = means + self.alpha * distances
        return {}

"""ε-greedy: most places go to the highest mean losses, the others are drawn at random."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, shuffle, take_highest
from selectbench.errors import SelectbenchError
from selectbench.seeds import derive_seed


@dataclass(kw_only=True, eq=False)
class EpsilonGreedy(DynamicSampler):
    """Keep the samples with the round((1 − ε)·k) highest moving averages of the loss, plus a uniform draw from all others.

    Parameters
    ----------
    epsilon : float
        Share ε of the k places that is drawn at random; 0 gives top-k, 1 gives ``random_dynamic``.
    alpha : float
        Weight of the newest loss in the moving average, which starts at the first loss.
    """

    epsilon: float = 0.1
    alpha: float = 0.8

    citation = "Raju, Daruwalla, Lipasti: Accelerating deep learning with dynamic data pruning, 2021, Section 4."
    memory = ("means",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.epsilon <= 1:
            raise SelectbenchError(f"epsilon: {self.epsilon!r} is outside [0, 1]; it is a share of the places")
        if not 0 < self.alpha <= 1:
            raise SelectbenchError(f"alpha: {self.alpha!r} is outside (0, 1]; it is the weight of the newest loss")
        self.means = np.full(self.num_samples, np.nan)

    def choose(self, seed: int) -> np.ndarray:
        """Return the ids of the highest averages, followed by random others."""
        num_highest = round((1 - Fraction(str(self.epsilon))) * self.num_kept)
        highest = take_highest(self.means, num_highest, seed)
        others = np.delete(np.arange(self.num_samples), highest)
        return np.concatenate([highest, shuffle(others, derive_seed(seed, "others"))[: self.num_kept - num_highest]])

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Update the moving averages."""
        means = self.means[batch.ids]
        self.means[batch.ids] = np.where(np.isnan(means), batch.losses, means + self.alpha * (batch.losses - means))
        return {}

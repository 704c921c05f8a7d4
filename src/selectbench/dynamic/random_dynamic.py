"""Random, resampled every epoch: the baseline in every table of dynamic samplers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, shuffle


@dataclass(kw_only=True, eq=False)
class RandomDynamic(DynamicSampler):
    """Draw k ids uniformly without replacement, independently each epoch: after E epochs a share 1 − (1 − r)^E has been seen."""

    citation = "Control: uniform sampling without replacement, resampled every epoch."
    watches = False

    def choose(self, seed: int) -> np.ndarray:
        """Return k random ids."""
        return shuffle(np.arange(self.num_samples), seed)[: self.num_kept]

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Ignore the batch."""
        return {}

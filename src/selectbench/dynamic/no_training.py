"""No training: the model as it starts, which every training must beat to be worth its cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation


@dataclass(kw_only=True, eq=False)
class NoTraining(DynamicSampler):
    """Visit nothing, for no epoch. A pretrained model then answers as it does without training (zero-shot)."""

    citation = "Control: no training."
    watches = False

    @property
    def planned_visits(self) -> int:
        """None."""
        return 0

    @property
    def num_epochs(self) -> int:
        """None: the training is over before it begins."""
        return 0

    def choose(self, seed: int) -> np.ndarray:
        """Return no ids."""
        return np.empty(0, dtype=np.int64)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Ignore the batch."""
        return {}

"""Full data: every epoch visits all samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation
from selectbench.errors import SelectbenchError


@dataclass(kw_only=True, eq=False)
class Full(DynamicSampler):
    """Visit all samples. Any keep fraction other than 1 is an error."""

    citation = "Control: no selection."
    watches = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_kept != self.num_samples:
            raise SelectbenchError(f"sampler 'full' keeps all {self.num_samples} samples, not {self.num_kept}; use keep 1")

    def choose(self, seed: int) -> np.ndarray:
        """Return all ids."""
        return np.arange(self.num_samples)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Ignore the batch."""
        return {}

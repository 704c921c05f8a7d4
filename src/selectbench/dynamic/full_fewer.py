"""Full data for fewer epochs: the control that visits as many samples as a pruned training."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, shuffle
from selectbench.errors import SelectbenchError


@dataclass(kw_only=True, eq=False)
class FullFewer(DynamicSampler):
    """Visit all samples until as many have been visited as a sampler with these parameters plans for, and then stop.

    That number is k in each epoch that prunes and N in each of the others, with the same warm-up and annealing. If it is no multiple of
    N, the last epoch visits a random part of the samples. A learning-rate schedule over all T epochs advances with the visits: it is
    compressed, and ends with the training.
    """

    citation = "Control: full data for fewer epochs, at equal sample visits."
    watches = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss_weight == "inverse_keep":
            raise SelectbenchError("loss_weight: 'inverse_keep' weighs the epochs that prune, and 'full_fewer' prunes none")

    @property
    def planned_visits(self) -> int:
        """The sample visits of a training that prunes between warm-up and annealing."""
        num_pruned = max(0, self._annealed_from - self.warmup)
        return self.epochs * self.num_samples - num_pruned * (self.num_samples - self.num_kept)

    @property
    def num_epochs(self) -> int:
        """The number of epochs, including one that visits only a part."""
        return -(-self.planned_visits // self.num_samples)

    def locate(self, epoch: int) -> float:
        """Return the share of the planned visits that lies before an epoch, times T."""
        return min(1.0, epoch * self.num_samples / self.planned_visits) * self.epochs

    def prunes(self, epoch: int) -> bool:
        """Tell whether an epoch visits only a part of the samples, as the last one may."""
        return (epoch + 1) * self.num_samples > self.planned_visits

    def choose(self, seed: int) -> np.ndarray:
        """Return the ids of that part, drawn at random."""
        return shuffle(np.arange(self.num_samples), seed)[: self.planned_visits % self.num_samples]

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Ignore the batch."""
        return {}

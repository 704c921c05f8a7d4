"""What a training has done, and which samples each of its epochs visits."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from selectbench.training.recipes import Descent, count_steps


@dataclass
class Progress:
    """What a training has done so far; all of it is in the checkpoint."""

    epoch: int = 0
    step: int = 0
    sample_visits: int = 0
    forward_visits: int = 0
    wall_s: float = 0.0
    final_loss: float = math.nan
    extra: dict = field(default_factory=dict)


class Visits(ABC):
    """Which samples every epoch of a training visits, when it is over, and how far its schedule has come.

    Attributes
    ----------
    total_steps : the steps over which the learning rate's schedule runs
    """

    total_steps: int

    @abstractmethod
    def list_ids(self, epoch: int) -> np.ndarray:
        """Return the ids (k,) that an epoch (from 0) visits, in any order."""

    @abstractmethod
    def is_over(self, progress: Progress) -> bool:
        """Tell whether the training is done; asked before every batch."""

    @abstractmethod
    def count_schedule(self, progress: Progress, batch: int, num_batches: int) -> float:
        """Return how many of the schedule's steps are done before a batch (from 0) of an epoch."""

    def save(self, progress: Progress) -> None:  # noqa: B027  (a fixed subset has no state)
        """Put what a continuation needs into ``progress.extra``."""

    def restore(self, progress: Progress) -> None:  # noqa: B027
        """Continue from ``progress.extra``; called before the first epoch."""


@dataclass(frozen=True)
class FixedVisits(Visits):
    """The same samples every epoch, until the steps are used up; the schedule counts the steps.

    Parameters
    ----------
    ids : (k,) sample ids
    total_steps : of the whole training
    """

    ids: np.ndarray
    total_steps: int

    def list_ids(self, epoch: int) -> np.ndarray:
        """Return the ids (k,), whatever the epoch."""
        return self.ids

    def is_over(self, progress: Progress) -> bool:
        """Tell whether the steps are used up."""
        return progress.step >= self.total_steps

    def count_schedule(self, progress: Progress, batch: int, num_batches: int) -> float:
        """Return the steps taken so far."""
        return progress.step


def visit_subset(ids: np.ndarray, num_pool: int, recipe: Descent, regime: str) -> FixedVisits:
    """Return the visits of a training on a subset (k,), in the regime ``"equal_epochs"`` or ``"equal_steps"``."""
    return FixedVisits(ids, count_steps(len(ids), num_pool, recipe, regime))

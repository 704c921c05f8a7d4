"""The progress of a training run, and which samples each epoch visits."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selectbench.training.recipes import Descent, count_steps


@dataclass
class Progress:
    """What a training run has done so far; all of it is saved in checkpoints.

    Parameters
    ----------
    epoch, step : completed epochs and optimiser steps
    sample_visits, forward_visits : samples trained on, and samples in additional forward passes
    wall_s : seconds
    final_loss : mean training loss of the last epoch
    extra : whatever ``on_epoch_end`` and ``Visits.save`` add, as ``torch.load`` reads it in its safe mode
    """

    epoch: int = 0
    step: int = 0
    sample_visits: int = 0
    forward_visits: int = 0
    wall_s: float = 0.0
    final_loss: float = math.nan
    extra: dict[str, Any] = field(default_factory=dict)


class Visits(ABC):
    """Which samples each epoch of a training run visits, when the run is over, and how far its schedule has advanced.

    Attributes
    ----------
    total_steps : length of the learning rate schedule in steps
    """

    total_steps: int

    @abstractmethod
    def list_ids(self, epoch: int) -> np.ndarray:
        """Return the ids (k,) that an epoch (from 0) visits, in any order."""

    @abstractmethod
    def is_over(self, progress: Progress) -> bool:
        """Tell whether the training is over; called before every batch."""

    @abstractmethod
    def count_schedule(self, progress: Progress, batch: int, num_batches: int) -> float:
        """Return how many steps the schedule has advanced before a batch (from 0) of an epoch."""

    def save(self, progress: Progress) -> None:  # noqa: B027  (a fixed subset has no state)
        """Store what is needed to resume in ``progress.extra``."""

    def restore(self, progress: Progress) -> None:  # noqa: B027
        """Resume from ``progress.extra``; called before the first epoch."""


@dataclass(frozen=True)
class FixedVisits(Visits):
    """The same samples every epoch, for a fixed number of steps; the schedule counts steps and may be longer.

    Parameters
    ----------
    ids : (k,) sample ids
    total_steps : length of the schedule, and of the training run
    last_step : steps after which the training run ends before its schedule does, or None
    """

    ids: np.ndarray
    total_steps: int
    last_step: int | None = None

    def list_ids(self, epoch: int) -> np.ndarray:
        """Return the ids (k,), the same in every epoch."""
        return self.ids

    def is_over(self, progress: Progress) -> bool:
        """Tell whether all steps are done."""
        return progress.step >= (self.total_steps if self.last_step is None else self.last_step)

    def count_schedule(self, progress: Progress, batch: int, num_batches: int) -> float:
        """Return the steps taken so far."""
        return progress.step


def visit_subset(ids: np.ndarray, num_pool: int, recipe: Descent, regime: str) -> FixedVisits:
    """Return the visits of a training run on a subset (k,) in the regime ``"equal_epochs"`` or ``"equal_steps"``."""
    return FixedVisits(ids, count_steps(len(ids), num_pool, recipe, regime))

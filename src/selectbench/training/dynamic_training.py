"""Training with a dynamic sampler, which decides what an epoch visits and observes every batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from selectbench.training.engine import PartedLoss, TrainingDivergedError, share_foresight
from selectbench.training.epochs import Progress, Visits
from selectbench.training.parallel import Crew
from selectbench.training.pools import BatchLoss, ForeseeingLoss, SampleLosses, SampleOutput
from selectbench.training.recipes import Recipe, count_batches, split_batches

_STATE = "sampler"

Expect = Callable[[Sequence[np.ndarray], int], None]  # is told the batches of an epoch in advance


class Sampler(Protocol):
    """What training needs of a dynamic sampler; every ``dynamic.DynamicSampler`` provides it."""

    num_samples: int
    num_kept: int
    epochs: int
    seed: int
    trace: list[dict[str, float | None]]
    overhead_s: float
    whole_batches: bool

    @property
    def name(self) -> str:
        """The sampler's id."""

    @property
    def keep_fraction(self) -> float:
        """The keep fraction as a number."""

    @property
    def reached_keep(self) -> float:
        """The keep fraction that the rule's parameters stand for."""

    @property
    def num_epochs(self) -> int:
        """The number of epochs after which the training is over."""

    def locate(self, epoch: int) -> float:
        """Return the place of an epoch's beginning in a learning-rate schedule over all epochs."""

    @property
    def visit_counts(self) -> np.ndarray:
        """How often each sample was visited (N,)."""

    def __iter__(self) -> Iterator[int]:
        """Yield the ids of an epoch."""

    def __len__(self) -> int:
        """Return how many samples the current epoch visits."""

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch and choose its samples."""

    def weights(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the loss weights (B,) of a batch."""

    def observe(
        self,
        ids: np.ndarray,
        losses: torch.Tensor,
        logits: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
        uncertainty: torch.Tensor | None = None,
    ) -> None:
        """Observe the model's outputs on a batch."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a ``state_dict``."""


@dataclass(frozen=True)
class DynamicVisits(Visits):
    """The samples that a sampler chooses, epoch by epoch.

    Each batch advances the schedule by its share of the epoch, so that the schedule ends with the training however many batches there
    are, and an epoch on full data advances it as it would without a sampler. A sampler that ends the training early compresses it.

    Parameters
    ----------
    sampler : made for the recipe's epochs
    batches : number of batches of an epoch on full data
    total_steps : steps of a training run on full data
    """

    sampler: Sampler
    batches: int
    total_steps: int

    def list_ids(self, epoch: int) -> np.ndarray:
        """Return the ids (k,) that the sampler chooses for an epoch."""
        self.sampler.set_epoch(epoch)
        return np.fromiter(self.sampler, dtype=np.int64, count=len(self.sampler))

    def is_over(self, progress: Progress) -> bool:
        """Tell whether all epochs are done."""
        return progress.epoch >= self.sampler.num_epochs

    def count_schedule(self, progress: Progress, batch: int, num_batches: int) -> float:
        """Return the place in the schedule, including this epoch's batches, in steps of a training run on full data."""
        start, end = self.sampler.locate(progress.epoch), self.sampler.locate(progress.epoch + 1)
        return (start + (end - start) * (batch / num_batches)) * self.batches

    def save(self, progress: Progress) -> None:
        """Store the sampler's state in the progress."""
        progress.extra[_STATE] = self.sampler.state_dict()

    def restore(self, progress: Progress) -> None:
        """Restore the sampler's state, if there is one."""
        if _STATE in progress.extra:
            self.sampler.load_state_dict(progress.extra.pop(_STATE))


def visit_dynamically(sampler: Sampler, recipe: Recipe) -> DynamicVisits:
    """Return the visits that a sampler chooses in a training run with a recipe; it is told that all processes observe whole batches."""
    sampler.whole_batches = True
    batches = count_batches(sampler.num_samples, recipe.batch_size)
    return DynamicVisits(sampler, batches, sampler.epochs * batches)


def observed_loss(sample_losses: SampleLosses, sampler: Sampler) -> BatchLoss:
    """Return the mean of losses weighted by a sampler, which observes each batch before its optimiser step.

    Parameters
    ----------
    sample_losses : of the training pool (see ``Pool.sample_losses``)
    sampler : its ids are the pool's positions
    """

    def batch_loss(model: nn.Module, positions: np.ndarray, epoch: int) -> torch.Tensor:
        output = _compute(sample_losses, model, positions, epoch)
        sampler.observe(positions, output.losses, output.logits, output.features, output.uncertainty)
        return _weigh(output.losses, sampler, positions).mean()

    expect: Expect | None = getattr(sample_losses, "expect", None)
    return batch_loss if expect is None else ForeseeingLoss(batch_loss, expect)


def observed_parts(sample_losses: SampleLosses, sampler: Sampler, size: int | None, crew: Crew) -> PartedLoss:
    """Return ``observed_loss`` for this process's share of a batch, in parts of ``size`` samples (None: in one part).

    The sampler still observes whole batches before their optimiser step, the same in every process of a crew.
    """

    def parts(model: nn.Module, positions: np.ndarray, epoch: int) -> Iterator[torch.Tensor]:
        outputs: list[SampleOutput] = []
        own, share = crew.share(positions)
        for part in split_batches(own, size or len(own)):
            output = _compute(sample_losses, model, part, epoch)
            outputs.append(output.map(torch.Tensor.detach))
            yield _weigh(output.losses, sampler, part).sum() * (share / len(own))
        whole = _join(outputs).map(lambda value: crew.gather(value, len(positions)))
        sampler.observe(positions, whole.losses, whole.logits, whole.features, whole.uncertainty)

    return PartedLoss(parts, share_foresight(sample_losses, crew))


def _compute(sample_losses: SampleLosses, model: nn.Module, positions: np.ndarray, epoch: int) -> SampleOutput:
    output = sample_losses(model, positions, epoch)
    if not bool(output.losses.isfinite().all()):
        raise TrainingDivergedError(f"a training loss is no longer finite in epoch {epoch + 1}")
    return output


def _weigh(losses: torch.Tensor, sampler: Sampler, positions: np.ndarray) -> torch.Tensor:
    return losses * sampler.weights(torch.from_numpy(positions).to(losses.device))


def _join(outputs: Sequence[SampleOutput]) -> SampleOutput:
    """Concatenate the outputs for the parts of a batch."""
    logits = [part.logits for part in outputs if part.logits is not None]
    uncertainties = [part.uncertainty for part in outputs if part.uncertainty is not None]
    return SampleOutput(
        torch.cat([part.losses for part in outputs]),
        torch.cat([part.features for part in outputs]),
        torch.cat(logits) if logits else None,
        torch.cat(uncertainties) if uncertainties else None,
    )

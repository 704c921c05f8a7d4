"""Training beside a dynamic sampler: it says what an epoch visits, and observes every batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from selectbench.dynamic import DynamicSampler
from selectbench.training.engine import PartedLoss, TrainingDivergedError, share_foresight
from selectbench.training.epochs import Progress, Visits
from selectbench.training.parallel import Crew
from selectbench.training.pools import BatchLoss, ForeseeingLoss, SampleLosses, SampleOutput
from selectbench.training.recipes import Recipe, count_batches, split_batches

_STATE = "sampler"


@dataclass(frozen=True)
class DynamicVisits(Visits):
    """What a sampler chooses, epoch by epoch.

    The schedule runs in steps actually taken: every batch of an epoch moves it by its share of the epoch, so that it ends with the
    training however many batches there were, and an epoch on all data moves it as it does without a sampler.

    Parameters
    ----------
    sampler : made for the recipe's epochs
    batches : of an epoch on all data
    """

    sampler: DynamicSampler
    batches: int

    @property
    def total_steps(self) -> int:
        """The steps of a training on all data."""
        return self.sampler.epochs * self.batches

    def list_ids(self, epoch: int) -> np.ndarray:
        """Return the ids (k,) that the sampler hands out for an epoch."""
        self.sampler.set_epoch(epoch)
        return np.fromiter(self.sampler, dtype=np.int64, count=len(self.sampler))

    def is_over(self, progress: Progress) -> bool:
        """Tell whether all epochs are done."""
        return progress.epoch >= self.sampler.epochs

    def count_schedule(self, progress: Progress, batch: int, num_batches: int) -> float:
        """Return the epochs done, this one's batches included, in steps of a training on all data."""
        return (progress.epoch + batch / num_batches) * self.batches

    def save(self, progress: Progress) -> None:
        """Put the sampler's state into the progress."""
        progress.extra[_STATE] = self.sampler.state_dict()

    def restore(self, progress: Progress) -> None:
        """Continue with the sampler's state, if there is one."""
        if _STATE in progress.extra:
            self.sampler.load_state_dict(progress.extra.pop(_STATE))


def visit_dynamically(sampler: DynamicSampler, recipe: Recipe) -> DynamicVisits:
    """Return the visits that a sampler chooses in a training by a recipe."""
    return DynamicVisits(sampler, count_batches(sampler.num_samples, recipe.batch_size))


def observed_loss(sample_losses: SampleLosses, sampler: DynamicSampler) -> BatchLoss:
    """Return the batch loss beside a sampler: the mean of weighted losses, each batch observed before its step.

    Parameters
    ----------
    sample_losses : of the pool that is trained on (see ``Pool.sample_losses``)
    sampler : whose ids are the pool's positions
    """

    def batch_loss(model: nn.Module, positions: np.ndarray, epoch: int) -> torch.Tensor:
        said = _ask(sample_losses, model, positions, epoch)
        sampler.observe(positions, said.losses, said.logits, said.features, said.uncertainty)
        return _weigh(said.losses, sampler, positions).mean()

    return ForeseeingLoss(batch_loss, sample_losses.expect) if hasattr(sample_losses, "expect") else batch_loss


def observed_parts(sample_losses: SampleLosses, sampler: DynamicSampler, size: int | None, crew: Crew) -> PartedLoss:
    """Return ``observed_loss`` of this process's share, in parts of ``size`` samples (None: whole).

    The sampler still observes each batch whole, before its step, and in each process of a crew the same.
    """

    def parts(model: nn.Module, positions: np.ndarray, epoch: int) -> Iterator[torch.Tensor]:
        said: list[SampleOutput] = []
        own, share = crew.share(positions)
        for part in split_batches(own, size or len(own)):
            output = _ask(sample_losses, model, part, epoch)
            said.append(SampleOutput(*(None if value is None else value.detach() for value in output)))
            yield _weigh(output.losses, sampler, part).sum() * (share / len(own))
        whole = SampleOutput(*(crew.gather(value, len(positions)) for value in _join(said)))
        sampler.observe(positions, whole.losses, whole.logits, whole.features, whole.uncertainty)

    return PartedLoss(parts, share_foresight(sample_losses, crew))


def _ask(sample_losses: SampleLosses, model: nn.Module, positions: np.ndarray, epoch: int) -> SampleOutput:
    said = sample_losses(model, positions, epoch)
    if not bool(said.losses.isfinite().all()):
        raise TrainingDivergedError(f"a training loss is no longer finite in epoch {epoch + 1}")
    return said


def _weigh(losses: torch.Tensor, sampler: DynamicSampler, positions: np.ndarray) -> torch.Tensor:
    return losses * sampler.weights(torch.from_numpy(positions).to(losses.device))


def _join(said: Sequence[SampleOutput]) -> SampleOutput:
    """Put what a model said of the parts of a batch together."""
    return SampleOutput(*(None if values[0] is None else torch.cat(values) for values in zip(*said, strict=True)))

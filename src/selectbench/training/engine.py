"""The training engine: one loop for proxies and targets, device-resident small images, streams keyed by sample id."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from selectbench.errors import RunFailedError
from selectbench.seeds import derive_seed, hash_ids, isolated_torch_rng
from selectbench.training.compilation import compile_forward
from selectbench.training.epochs import Progress, Visits
from selectbench.training.optimisers import make_optimiser, set_learning_rate
from selectbench.training.parallel import Crew, find_crew
from selectbench.training.pools import (
    BatchLoss,
    Pool,
)
from selectbench.training.recipes import Descent, learning_rate_at, split_batches, uses_bfloat16

EpochEnd = Callable[[int, nn.Module, Progress], None]

_EVALUATION_BATCH = 512
_JOINED_BYTES = 1 << 26  # of outputs that stay on the device before somebody reads them


class TrainingDivergedError(RunFailedError):
    """The training loss became NaN or infinite."""


@dataclass(frozen=True)
class PartedLoss:
    """A batch loss in parts, of which one at a time is in memory with what its gradients need.

    Parameters
    ----------
    parts : (model, positions of a batch, epoch from 0) → losses that add up to the mean loss; each goes backward before the next is made
    expect : told the batches of an epoch before they come, or None
    """

    parts: Callable[[nn.Module, np.ndarray, int], Iterator[torch.Tensor]]
    expect: Callable[[Sequence[np.ndarray], int], None] | None = None


def share_foresight(loss: Callable, crew: Crew) -> Callable[[Sequence[np.ndarray], int], None] | None:
    """Return the ``expect`` of a loss that is only taken on this process's share of each batch; None if it has none."""
    expect = getattr(loss, "expect", None)
    return expect and (lambda batches, epoch: expect([crew.share(positions)[0] for positions in batches], epoch))


def cut_loss(batch_loss: BatchLoss, size: int | None, crew: Crew) -> PartedLoss:
    """Return this process's share of a mean loss in parts of ``size`` samples (None: whole), each weighed by its part of the batch.

    The gradients are those of the whole batch, up to rounding, unless layers draw (dropout) or parts are mixed by batch normalisation.
    """

    def parts(model: nn.Module, positions: np.ndarray, epoch: int) -> Iterator[torch.Tensor]:
        own, share = crew.share(positions)
        for part in split_batches(own, size or len(own)):
            yield batch_loss(model, part, epoch) * (share * len(part) / len(own))

    return PartedLoss(parts, share_foresight(batch_loss, crew))


@dataclass(frozen=True)
class Checkpoint:
    """Where a training can be taken up again: a file outside the workflow's outputs, bound to what is trained by a key."""

    path: Path
    key: str
    every_s: float = 300.0

    def restore(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> Progress:
        """Load model, optimiser and progress if the file is there, whole and of the same key."""
        if not self.path.exists():
            return Progress()
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # a half-written or foreign file only costs the work it held
            return Progress()
        if state["key"] != self.key:
            return Progress()
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        return Progress(**state["progress"])

    def save(self, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
        """Write everything that ``restore`` needs, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        torch.save(
            {"key": self.key, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "progress": vars(progress)}, temporary
        )
        temporary.replace(self.path)

    def remove(self) -> None:
        """Forget the state of a finished training."""
        self.path.unlink(missing_ok=True)


def train_model(
    model: nn.Module,
    pool: Pool,
    visits: Visits,
    recipe: Descent,
    *,
    stream: tuple[object, ...],
    batch_loss: BatchLoss | PartedLoss,
    on_epoch_end: EpochEnd,
    checkpoint: Checkpoint,
) -> Progress:
    """Train a model on samples of a pool.

    Order and augmentation of every epoch are functions of (stream, epoch, sample id): two subsets visit the samples they share
    in the same relative order, with the same crops, and an interrupted training continues exactly.

    Parameters
    ----------
    model : on the pool's device
    visits : which samples each epoch visits; see ``visit_subset``
    stream : the axes that name the random streams of this training
    batch_loss : (model, positions of a batch, epoch from 0) → mean loss, with gradients; see ``supervised_loss`` and ``cut_loss``
    on_epoch_end : called with (epoch from 1, model, progress) after each epoch; may add to ``progress.extra`` and ``forward_visits``
    checkpoint : where to save and to resume

    In a crew every process calls this alike, with a loss of its share of the batches; the first one alone writes checkpoints.

    Returns
    -------
    Progress

    Raises
    ------
    TrainingDivergedError
        The loss is no longer a number.
    """
    crew = find_crew()
    if recipe.compile:
        compile_forward(model, pool.device)
    optimiser = make_optimiser(model, recipe)
    progress = checkpoint.restore(model, optimiser)
    visits.restore(progress)
    clock = last_saved = time.perf_counter()
    while not visits.is_over(progress):
        ids = crew.agree(visits.list_ids(progress.epoch))
        order = ids[np.argsort(hash_ids(ids, derive_seed(*stream, "order", progress.epoch)), kind="stable")]
        with isolated_torch_rng(derive_seed(*stream, "layers", progress.epoch)):
            _train_epoch(model, optimiser, pool.device, order, recipe, batch_loss, visits, progress)
        progress.epoch += 1
        on_epoch_end(progress.epoch, model, progress)
        now = time.perf_counter()
        progress.wall_s += now - clock
        clock = now
        if now - last_saved > checkpoint.every_s and not visits.is_over(progress):
            visits.save(progress)
            if crew.rank == 0:
                checkpoint.save(model, optimiser, progress)
            last_saved = now
    return progress


def _train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    device: torch.device,
    order: np.ndarray,
    recipe: Descent,
    batch_loss: BatchLoss | PartedLoss,
    visits: Visits,
    progress: Progress,
) -> None:
    """Visit the samples once (or until the training is over) and add to the progress."""
    model.train()
    loss_sum = torch.zeros((), device=device)
    batches = list(split_batches(order, recipe.batch_size))
    num_visited, num_batches = 0, len(batches)
    autocast = torch.autocast(device.type, dtype=torch.bfloat16) if uses_bfloat16(recipe, device) else nullcontext()
    if expect := getattr(batch_loss, "expect", None):
        expect(batches, progress.epoch)
    for batch, positions in enumerate(batches):
        if visits.is_over(progress):
            break
        done = visits.count_schedule(progress, batch, num_batches)
        set_learning_rate(optimiser, learning_rate_at(done, visits.total_steps, recipe))
        optimiser.zero_grad(set_to_none=True)
        loss = _add_gradients(model, positions, progress.epoch, batch_loss, autocast)
        optimiser.step()
        loss_sum += loss * len(positions)
        num_visited += len(positions)
        progress.step += 1
    progress.sample_visits += num_visited
    progress.final_loss = loss_sum.item() / num_visited
    if not math.isfinite(progress.final_loss):
        raise TrainingDivergedError(f"the training loss is {progress.final_loss} after epoch {progress.epoch + 1}")


def _add_gradients(
    model: nn.Module, positions: np.ndarray, epoch: int, batch_loss: BatchLoss | PartedLoss, autocast: AbstractContextManager
) -> torch.Tensor:
    """Add the gradients of a batch's mean loss to the weights' and return that loss, detached; a crew's are summed."""
    if not isinstance(batch_loss, PartedLoss):
        with autocast:
            loss = batch_loss(model, positions, epoch)
        loss.backward()
        return loss.detach()
    crew = find_crew()
    shares, parts = [], batch_loss.parts(model, positions, epoch)
    while True:
        with autocast:
            share = next(parts, None)
        if share is None:
            crew.add_gradients(model)
            return crew.add(torch.stack(shares).sum())
        share.backward()
        shares.append(share.detach())


@torch.no_grad()
def predict(model: nn.Module, pool: Pool, batch_size: int = _EVALUATION_BATCH) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield (positions, features, logits) of a whole split, in canonical order: evaluation mode, clean images, float32."""
    model.eval()
    batches = np.split(np.arange(len(pool)), range(batch_size, len(pool), batch_size))
    pool.expect(batches)
    for positions in batches:
        start = int(positions[0])
        features, logits = pool.forward(model, positions)
        yield slice(start, start + len(positions)), features, logits


def join_predictions(
    predictions: Iterable[tuple[slice, torch.Tensor, torch.Tensor]], most_bytes: int = _JOINED_BYTES
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield what ``predict`` yields in few large pieces, so that a GPU is waited for once a piece and not once a batch."""
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    start = size = 0
    for where, features, logits in predictions:
        parts.append((features, logits))
        size += features.nbytes + logits.nbytes
        if size >= most_bytes:
            yield slice(start, where.stop), *map(torch.cat, zip(*parts, strict=True))
            parts, start, size = [], where.stop, 0
    if parts:
        yield slice(start, where.stop), *map(torch.cat, zip(*parts, strict=True))

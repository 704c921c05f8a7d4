"""The training engine: one loop for proxies and targets, with random streams keyed by sample id."""

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
from selectbench.records.files import write_atomically
from selectbench.seeds import derive_seed, hash_ids, isolated_torch_rng
from selectbench.training.compilation import compile_forward
from selectbench.training.epochs import Progress, Visits
from selectbench.training.optimisers import make_optimiser, set_learning_rate
from selectbench.training.parallel import Crew, find_crew
from selectbench.training.pools import BatchLoss, SampleLosses, SamplePool
from selectbench.training.recipes import Descent, learning_rate_at, split_batches, uses_bfloat16

EpochEnd = Callable[[int, nn.Module, Progress], None]
Prediction = tuple[slice, torch.Tensor, torch.Tensor]  # positions, features (B, d) and logits (B, C)

_EVALUATION_BATCH = 512
_JOINED_BYTES = 1 << 26  # of outputs that are collected on the device before they are read


class TrainingDivergedError(RunFailedError):
    """The training loss became NaN or infinite."""


@dataclass(frozen=True)
class PartedLoss:
    """A batch loss in parts, so that only one part's graph is in memory at a time.

    Parameters
    ----------
    parts : (model, positions of a batch, epoch from 0) → losses that sum to the mean loss; each goes backward before the next is computed
    expect : is told the batches of an epoch in advance, or None
    """

    parts: Callable[[nn.Module, np.ndarray, int], Iterator[torch.Tensor]]
    expect: Callable[[Sequence[np.ndarray], int], None] | None = None


def share_foresight(loss: BatchLoss | SampleLosses, crew: Crew) -> Callable[[Sequence[np.ndarray], int], None] | None:
    """Return the ``expect`` of a loss that is only computed on this process's share of each batch; None if the loss has none."""
    expect = getattr(loss, "expect", None)
    return expect and (lambda batches, epoch: expect([crew.share(positions)[0] for positions in batches], epoch))


def cut_loss(batch_loss: BatchLoss, size: int | None, crew: Crew) -> PartedLoss:
    """Return this process's share of a mean loss in parts of ``size`` samples (None: in one part), each weighted by its size.

    Up to rounding, the gradients are those of the whole batch, unless layers are random (dropout) or use batch statistics.
    """

    def parts(model: nn.Module, positions: np.ndarray, epoch: int) -> Iterator[torch.Tensor]:
        own, share = crew.share(positions)
        for part in split_batches(own, size or len(own)):
            yield batch_loss(model, part, epoch) * (share * len(part) / len(own))

    return PartedLoss(parts, share_foresight(batch_loss, crew))


@dataclass(frozen=True)
class Checkpoint:
    """Where a training run resumes from: a file outside the workflow's outputs.

    Parameters
    ----------
    path : of the file
    key : identifies what is trained; a file with another key is ignored
    every_s : least number of seconds between two saves
    """

    path: Path
    key: str
    every_s: float = 300.0

    def restore(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> Progress:
        """Load model, optimiser and progress if the file exists, is intact and has the same key; frozen weights stay as they are."""
        if not self.path.exists():
            return Progress()
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # an unreadable file only costs the work saved in it
            return Progress()
        if state["key"] != self.key:
            return Progress()
        model.load_state_dict(state["model"] | list_frozen(model))
        optimiser.load_state_dict(state["optimiser"])
        return Progress(**state["progress"])

    def save(self, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
        """Atomically write everything that ``restore`` needs; weights that are not trained are not part of it."""
        frozen = list_frozen(model)
        trained = {name: values for name, values in model.state_dict().items() if name not in frozen}
        state = {"key": self.key, "model": trained, "optimiser": optimiser.state_dict(), "progress": vars(progress)}
        write_atomically(self.path, lambda stream: torch.save(state, stream))

    def remove(self) -> None:
        """Delete the state of a finished training run."""
        self.path.unlink(missing_ok=True)


def list_frozen(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of a model that are not trained, such as those below an adapter."""
    return {name: values.detach() for name, values in model.named_parameters(remove_duplicate=False) if not values.requires_grad}


def train_model(
    model: nn.Module,
    pool: SamplePool,
    visits: Visits,
    recipe: Descent,
    *,
    stream: tuple[object, ...],
    batch_loss: BatchLoss | PartedLoss,
    on_epoch_end: EpochEnd,
    checkpoint: Checkpoint,
) -> Progress:
    """Train a model on samples of a pool.

    Order and augmentation are functions of (stream, epoch, sample id): two subsets visit the samples they share in the same relative
    order and with the same crops, and an interrupted run resumes exactly.

    Parameters
    ----------
    model : on the pool's device
    visits : which samples each epoch visits; see ``visit_subset``
    stream : the axes that name the random streams of this run
    batch_loss : (model, positions of a batch, epoch from 0) → mean loss, with gradients; see ``supervised_loss`` and ``cut_loss``
    on_epoch_end : called with (epoch from 1, model, progress) after each epoch; may add to ``progress.extra`` and ``forward_visits``
    checkpoint : where to save, and to resume from

    In a crew, every process calls this with a loss for its share of the batches; only the first one writes checkpoints.

    Returns
    -------
    Progress

    Raises
    ------
    TrainingDivergedError
        The training loss is not finite.
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
    """Visit the samples once (or until the training is over) and update the progress."""
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
    model: nn.Module, positions: np.ndarray, epoch: int, batch_loss: BatchLoss | PartedLoss, autocast: AbstractContextManager[object]
) -> torch.Tensor:
    """Accumulate the gradients of a batch's mean loss, summed over the crew, and return that loss, detached."""
    if not isinstance(batch_loss, PartedLoss):
        with autocast:
            loss = batch_loss(model, positions, epoch)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.detach()
    crew = find_crew()
    shares: list[torch.Tensor] = []
    parts = batch_loss.parts(model, positions, epoch)
    while True:
        with autocast:
            share = next(parts, None)
        if share is None:
            crew.add_gradients(model)
            return crew.add(torch.stack(shares).sum())
        share.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        shares.append(share.detach())


@torch.no_grad()
def predict(model: nn.Module, pool: SamplePool, batch_size: int = _EVALUATION_BATCH) -> Iterator[Prediction]:
    """Yield the predictions for a whole split in canonical order: evaluation mode, clean images, float32."""
    model.eval()
    batches = np.split(np.arange(len(pool)), range(batch_size, len(pool), batch_size))
    pool.expect(batches)
    for positions in batches:
        start = int(positions[0])
        features, logits = pool.forward(model, positions)
        yield slice(start, start + len(positions)), features, logits


def join_predictions(predictions: Iterable[Prediction], most_bytes: int = _JOINED_BYTES) -> Iterator[Prediction]:
    """Join predictions into few large pieces, so that the GPU is synchronised once per piece instead of once per batch."""
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    start = size = 0
    for where, features, logits in predictions:
        parts.append((features, logits))
        size += features.nbytes + logits.nbytes
        if size >= most_bytes:
            yield _join(slice(start, where.stop), parts)
            parts, start, size = [], where.stop, 0
    if parts:
        yield _join(slice(start, where.stop), parts)


def _join(where: slice, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Prediction:
    features, logits = zip(*parts, strict=True)
    return where, torch.cat(features), torch.cat(logits)

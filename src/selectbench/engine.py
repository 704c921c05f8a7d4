"""The training engine: one loop for proxies and targets, device-resident small images, streams keyed by sample id."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from selectbench.data.splits import Split
from selectbench.errors import RunFailedError
from selectbench.models import features_and_logits
from selectbench.optimisers import SGD, AdamW
from selectbench.parallel import Crew, find_crew
from selectbench.seeds import derive_seed, hash_ids, isolated_torch_rng, uniform_by_id

_EVALUATION_BATCH = 512


class TrainingDivergedError(RunFailedError):
    """The training loss became NaN or infinite."""


@dataclass(frozen=True)
class Augment:
    """Augmentations of one recipe (see the recipe schema)."""

    crop_padding: int
    flip: bool
    cutout: int
    crop_fill: str = "zeros"


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How weights descend, whatever the loss; the fields are those of the recipe schema."""

    epochs: int
    batch_size: int
    optimiser: str
    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float
    schedule: str
    warmup_epochs: float
    stem: str = "standard"
    precision: str
    processes: int = 1


@dataclass(frozen=True, kw_only=True)
class Recipe(Descent):
    """Hyperparameters of a supervised training; the fields are those of the recipe schema."""

    label_smoothing: float
    augment: Augment = Augment(crop_padding=0, flip=False, cutout=0)
    track_test: bool
    record_at: tuple[float, ...] = ()
    align_at: tuple[float, ...] = ()
    pretrained: bool | str | dict = False

    @classmethod
    def from_config(cls, entry: dict) -> "Recipe":
        """Make a recipe of an entry of ``config/recipes.yaml``."""
        shares = {name: tuple(entry.get(name, ())) for name in ("record_at", "align_at")}
        augment = {"augment": Augment(**entry["augment"])} if "augment" in entry else {}
        return cls(**{**entry, **augment, **shares})


@dataclass(frozen=True)
class Pool:
    """A split on a device: images as uint8 where they fit an array, normalisation constants, labels.

    Parameters
    ----------
    split : where images come from when they are not resident
    images : (N, C, H, W) uint8 on the device, or None for folders
    labels : (N,) int64 on the device; (N, K) filled up with −1 for a test set where several classes count as right
    mean, std : (1, C, 1, 1) float32, of the training pool in 0 … 1
    classes : (M,) int64 on the device, for a test set that has only these classes, or None
    corruptions : names, for a test set whose images are ordered by (corruption, severity, image)
    """

    split: Split
    images: torch.Tensor | None
    labels: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    classes: torch.Tensor | None = None
    corruptions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where batches are made."""
        return self.labels.device

    def load(self, positions: np.ndarray, draws: np.ndarray | None = None) -> torch.Tensor:
        """Return a uint8 batch of the positions; folders crop at random by ``draws``."""
        if self.images is not None:
            return self.images[torch.from_numpy(positions).to(self.device)]
        return torch.from_numpy(self.split.load(positions, draws)).to(self.device)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 images in channels-last order, with the pool's mean 0 and deviation 1."""
        scaled = (images.float().div_(255.0) - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a model's features (B, d) and logits (B, C) of clean images."""
        return features_and_logits(model, self.normalise(self.load(positions)))

    def batch_loss(self, recipe: "Recipe", stream: tuple[object, ...]) -> "BatchLoss":
        """Return the mean loss of a batch; ``stream`` names the draws of augmentation."""
        return supervised_loss(self, recipe, stream)

    def sample_losses(self, recipe: "Recipe", stream: tuple[object, ...]) -> "SampleLosses":
        """Return what a model says of every sample of a batch, from the images and draws of ``batch_loss``."""
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing, reduction="none")

        def sample_losses(model: nn.Module, positions: np.ndarray, epoch: int) -> SampleOutput:
            images = load_training_batch(self, positions, recipe.augment, (*stream, "augment", epoch))
            features, logits = features_and_logits(model, images)
            labels = self.labels[torch.from_numpy(positions).to(self.device)]
            return SampleOutput(criterion(logits.float(), labels), features.float(), logits.float())

        return sample_losses


def open_pool(
    split: Split,
    mean: list[float],
    std: list[float],
    device: torch.device,
    classes: Sequence[int] | None = None,
    corruptions: Sequence[str] = (),
) -> Pool:
    """Put a split on a device; splits that are stored as one array become resident there. See ``Pool`` for the parameters."""
    resident = getattr(split, "images", None)
    images = None if resident is None else torch.from_numpy(np.array(resident)).to(device)
    constants = [torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1) for values in (mean, std)]
    labels = torch.from_numpy(np.array(split.labels)).to(device)
    restriction = None if classes is None else torch.tensor(classes, dtype=torch.int64, device=device)
    return Pool(split, images, labels, *constants, classes=restriction, corruptions=tuple(corruptions))


def choose_device() -> torch.device:
    """Return the first GPU this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def name_device(device: torch.device) -> str:
    """Return ``"cpu"`` or the GPU's product name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def count_batches(num_samples: int, batch_size: int) -> int:
    """Return the batches of an epoch; a last batch of one sample joins the one before, which batch normalisation needs."""
    batches = math.ceil(num_samples / batch_size)
    return batches - 1 if batches > 1 and num_samples % batch_size == 1 else batches


def count_steps(num_kept: int, num_pool: int, recipe: Descent, regime: str) -> int:
    """Return the optimiser steps of a training: the recipe's epochs over the subset, or as many steps as full data takes."""
    samples = num_kept if regime == "equal_epochs" else num_pool
    return recipe.epochs * count_batches(samples, recipe.batch_size)


def learning_rate_at(step: float, total_steps: int, recipe: Descent) -> float:
    """Return the learning rate of one step: linear warm-up (one cycle: along a cosine), then the schedule over the steps that are left."""
    warmup = round(total_steps * min(1.0, recipe.warmup_epochs / recipe.epochs))
    if recipe.schedule == "onecycle":
        return recipe.learning_rate * _one_cycle(step, total_steps, warmup)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total_steps - warmup)
    factor = {
        "constant": 1.0,
        "linear": 1.0 - done,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
        "steps": 0.1 ** math.floor(3.0 * step / total_steps),
    }
    return recipe.learning_rate * factor[recipe.schedule]


def _one_cycle(step: float, total_steps: int, warmup: int) -> float:
    """Return the share of the highest rate: along cosines from 1/25 to 1 and down to 1/250,000 at the last step (Smith and Topin 2018).

    These are torch's ``OneCycleLR`` and its defaults, the momentum left as it is.
    """
    top, last = max(1, warmup - 1), total_steps - 1
    start, stop, done = (0.04, 1.0, step / top) if step <= top else (1.0, 4e-6, min(1.0, (step - top) / max(1, last - top)))
    return stop + 0.5 * (start - stop) * (1.0 + math.cos(math.pi * done))


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


class SampleOutput(NamedTuple):
    """What a model says of every sample of a batch: losses (B,) with gradients, features (B, d), logits (B, C) or uncertainties (B,)."""

    losses: torch.Tensor
    features: torch.Tensor
    logits: torch.Tensor | None = None
    uncertainty: torch.Tensor | None = None


EpochEnd = Callable[[int, nn.Module, Progress], None]
BatchLoss = Callable[[nn.Module, np.ndarray, int], torch.Tensor]
SampleLosses = Callable[[nn.Module, np.ndarray, int], SampleOutput]


@dataclass(frozen=True)
class PartedLoss:
    """A batch loss in parts, of which one at a time is in memory with what its gradients need.

    Parameters
    ----------
    parts : (model, positions of a batch, epoch from 0) → losses that add up to the mean loss; each goes backward before the next is made
    """

    parts: Callable[[nn.Module, np.ndarray, int], Iterator[torch.Tensor]]


def cut_loss(batch_loss: BatchLoss, size: int | None, crew: Crew) -> PartedLoss:
    """Return this process's share of a mean loss in parts of ``size`` samples (None: whole), each weighed by its part of the batch.

    The gradients are those of the whole batch, up to rounding, unless layers draw (dropout) or parts are mixed by batch normalisation.
    """

    def parts(model: nn.Module, positions: np.ndarray, epoch: int) -> Iterator[torch.Tensor]:
        own, share = crew.share(positions)
        for part in split_batches(own, size or len(own)):
            yield batch_loss(model, part, epoch) * (share * len(part) / len(own))

    return PartedLoss(parts)


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


def make_optimiser(model: nn.Module, recipe: Descent) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over all parameters of a model; AdamW does not decay vectors, which are biases and norms."""
    if recipe.optimiser == "sgd":
        return SGD(
            model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    groups = [
        {"params": [value for value in model.parameters() if value.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [value for value in model.parameters() if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=recipe.learning_rate, fused=True)


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
    num_visited, num_batches = 0, count_batches(len(order), recipe.batch_size)
    for batch, positions in enumerate(split_batches(order, recipe.batch_size)):
        if visits.is_over(progress):
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(visits.count_schedule(progress, batch, num_batches), visits.total_steps, recipe)
        optimiser.zero_grad(set_to_none=True)
        autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=uses_bfloat16(recipe, device))
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
    model: nn.Module, positions: np.ndarray, epoch: int, batch_loss: BatchLoss | PartedLoss, autocast: torch.autocast
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


def supervised_loss(pool: Pool, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss:
    """Return the batch loss of classifiers: cross-entropy of augmented images, draws named by (stream, epoch, sample id)."""
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def batch_loss(model: nn.Module, positions: np.ndarray, epoch: int) -> torch.Tensor:
        images = load_training_batch(pool, positions, recipe.augment, (*stream, "augment", epoch))
        return criterion(model(images).float(), pool.labels[torch.from_numpy(positions).to(pool.device)])

    return batch_loss


def uses_bfloat16(recipe: Descent, device: torch.device) -> bool:
    """Tell whether bfloat16 is asked for and fast: GPUs only, since CPUs without the instructions are far slower with it."""
    return recipe.precision == "bf16" and device.type == "cuda" and torch.cuda.is_bf16_supported()


def split_batches(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Cut an epoch's order into ``count_batches`` batches."""
    last = count_batches(len(order), batch_size) - 1
    for index in range(last + 1):
        yield order[index * batch_size :] if index == last else order[index * batch_size : (index + 1) * batch_size]


def load_training_batch(pool: Pool, positions: np.ndarray, augment: Augment, stream: tuple[object, ...]) -> torch.Tensor:
    """Return an augmented, normalised batch; every draw depends on (stream, sample id) alone."""

    def draw(name: str) -> np.ndarray:
        return uniform_by_id(positions, derive_seed(*stream, name))

    if pool.images is None:
        return pool.normalise(pool.load(positions, np.stack([draw(f"crop-{axis}") for axis in range(5)], axis=1)))
    images = pool.load(positions)
    if augment.crop_padding:
        images = crop_images(images, augment.crop_padding, draw("row"), draw("column"), augment.crop_fill)
    if augment.flip:
        mirrored = torch.from_numpy(draw("flip") < 0.5).to(images.device)
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    images = pool.normalise(images)
    if augment.cutout:
        images = cut_squares(images, augment.cutout, draw("cutout-row"), draw("cutout-column"))
    return images


def crop_images(images: torch.Tensor, padding: int, row_draws: np.ndarray, column_draws: np.ndarray, fill: str = "zeros") -> torch.Tensor:
    """Pad (B, C, H, W) images with zeros, or with their own mirrored pixels, and crop them at the offsets ⌊draw · (2·padding + 1)⌋."""
    batch, _, height, width = images.shape
    if fill == "reflect":
        padded = images[:, :, _mirror(height, padding, images.device)][:, :, :, _mirror(width, padding, images.device)]
    else:
        padded = nn.functional.pad(images, (padding,) * 4)

    def offsets(draws: np.ndarray, size: int) -> torch.Tensor:
        start = torch.from_numpy((draws * (2 * padding + 1)).astype(np.int64)).to(images.device)
        return start[:, None] + torch.arange(size, device=images.device)

    rows, columns = offsets(row_draws, height), offsets(column_draws, width)
    index = torch.arange(batch, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _mirror(size: int, padding: int, device: torch.device) -> torch.Tensor:
    """Return the pixels (size + 2·padding,) along an axis that is mirrored at its first and last pixel, however small it is."""
    period = max(1, 2 * (size - 1))
    places = torch.arange(-padding, size + padding, device=device).remainder(period)
    return torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)


def cut_squares(images: torch.Tensor, side: int, row_draws: np.ndarray, column_draws: np.ndarray) -> torch.Tensor:
    """Set a square of each (B, C, H, W) image to 0; its centre is uniform over the pixels, parts outside are cut off."""

    def inside(draws: np.ndarray, size: int) -> torch.Tensor:
        start = torch.from_numpy((draws * size).astype(np.int64) - side // 2).to(images.device)[:, None]
        pixels = torch.arange(size, device=images.device)
        return (pixels >= start) & (pixels < start + side)

    hole = inside(row_draws, images.shape[2])[:, :, None] & inside(column_draws, images.shape[3])[:, None, :]
    return images.masked_fill(hole[:, None], 0.0)


@torch.no_grad()
def predict(model: nn.Module, pool: Pool, batch_size: int = _EVALUATION_BATCH) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield (positions, features, logits) of a whole split, in canonical order: evaluation mode, clean images, float32."""
    model.eval()
    for start in range(0, len(pool), batch_size):
        positions = np.arange(start, min(start + batch_size, len(pool)))
        features, logits = pool.forward(model, positions)
        yield slice(start, start + len(positions)), features, logits

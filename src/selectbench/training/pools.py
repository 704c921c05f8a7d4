"""Splits on a device: batches of augmented, normalised images, and the losses computed on them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from selectbench.data.splits import Split
from selectbench.models.factory import as_classifier, features_and_logits
from selectbench.seeds import derive_seed, uniform_by_id
from selectbench.training.augment import Augment, crop_images, cut_squares, draw_augmentations, name_draws
from selectbench.training.recipes import Recipe

_MOST_CLEAN = 1 << 28  # bytes of normalised images that may stay on the device besides the uint8 ones

Result = TypeVar("Result")  # what a loss returns for a batch


class SampleOutput(NamedTuple):
    """A model's outputs for the samples of a batch.

    Parameters
    ----------
    losses : (B,), with gradients
    features : (B, d)
    logits : (B, C), or None
    uncertainty : (B,) in [0, 1], or None
    """

    losses: torch.Tensor
    features: torch.Tensor
    logits: torch.Tensor | None = None
    uncertainty: torch.Tensor | None = None

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "SampleOutput":
        """Return the outputs with each one changed; those that are None stay None."""
        logits = None if self.logits is None else change(self.logits)
        uncertainty = None if self.uncertainty is None else change(self.uncertainty)
        return SampleOutput(change(self.losses), change(self.features), logits, uncertainty)


BatchLoss = Callable[[nn.Module, np.ndarray, int], torch.Tensor]
SampleLosses = Callable[[nn.Module, np.ndarray, int], SampleOutput]
Watch = Callable[[np.ndarray, torch.Tensor], None]


class ReadableSplit(Protocol):
    """A split that knows which of its samples could not be read."""

    def find_unreadable(self, positions: np.ndarray) -> list[int]:
        """Return, in ascending order, those of the positions whose samples could not be read when last loaded."""


class SamplePool(Protocol):
    """What training and evaluation need of a pool or a test set, of images (``Pool``) or of texts (``llm.pools.TextPool``)."""

    @property
    def split(self) -> ReadableSplit:
        """Where samples come from."""

    @property
    def labels(self) -> torch.Tensor:
        """(N,) int64 on the device; (N, K) padded with −1 for a test set in which several classes count as correct."""

    @property
    def device(self) -> torch.device:
        """Where batches are made."""

    @property
    def classes(self) -> torch.Tensor | None:
        """(M,) the classes of a test set that has only these, or None."""

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names of the corruptions of a corrupted test set, in the order of its images."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def expect(self, batches: Sequence[np.ndarray]) -> None:
        """Announce which clean batches will be loaded, in this order."""

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a model's features (B, d) and logits (B, C) for clean samples."""

    def batch_loss(self, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss:
        """Return the mean loss of a batch; ``stream`` names the draws of augmentation."""

    def sample_losses(self, recipe: Recipe, stream: tuple[object, ...]) -> SampleLosses:
        """Return a model's outputs per sample of a batch; ``stream`` names the draws of augmentation."""


@dataclass(frozen=True)
class ForeseeingLoss(Generic[Result]):
    """A loss that can be told the coming batches, so that their files are decoded while earlier batches are trained on.

    Parameters
    ----------
    compute : the ``BatchLoss`` or ``SampleLosses`` itself
    expect : takes the ordered batches of an epoch and the epoch (from 0); announced batches that never come only cost memory and time
    """

    compute: Callable[[nn.Module, np.ndarray, int], Result]
    expect: Callable[[Sequence[np.ndarray], int], None]

    def __call__(self, model: nn.Module, positions: np.ndarray, epoch: int) -> Result:
        """Return the result of ``compute`` for a batch."""
        return self.compute(model, positions, epoch)


@dataclass(frozen=True)
class Pool:
    """A split on a device: uint8 images (if stored as one array), labels and normalisation constants.

    Parameters
    ----------
    split : where images come from if they are not resident on the device
    images : (N, C, H, W) uint8 on the device, or None for folders
    labels : (N,) int64 on the device; (N, K) padded with −1 for a test set in which several classes count as correct
    mean, std : (1, C, 1, 1) float32, of the training pool with pixels in [0, 1]
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

    @cached_property
    def clean(self) -> torch.Tensor | None:
        """All images normalised, (N, H, W, C) float32 on the device; None if they are not resident or would take too much memory."""
        if self.images is None or 4 * self.images.numel() > _MOST_CLEAN:
            return None
        return self.normalise(self.images).permute(0, 2, 3, 1).contiguous()

    def locate(self, positions: np.ndarray) -> torch.Tensor:
        """Return positions on the device, without waiting for it."""
        return torch.from_numpy(positions).to(self.device, non_blocking=True)

    def load(self, positions: np.ndarray, draws: np.ndarray | None = None) -> torch.Tensor:
        """Return the uint8 images of the positions; folders use ``draws`` for random crops."""
        if self.images is not None:
            return self.images.index_select(0, self.locate(positions))
        images = torch.from_numpy(self.split.load(positions, draws))
        return images.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else images

    def load_clean(self, positions: np.ndarray) -> torch.Tensor:
        """Return the normalised images of the positions, without augmentation."""
        if self.clean is None:
            return self.normalise(self.load(positions))
        return self.clean.index_select(0, self.locate(positions)).permute(0, 3, 1, 2)

    def expect(self, batches: Iterable[np.ndarray]) -> None:
        """Announce which clean batches will be loaded, in this order, so that files are decoded in advance."""
        if self.images is None:
            self.split.expect((positions, None) for positions in batches)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 images in channels-last order, standardised by the pool's mean and deviation."""
        scaled = (images.float().div_(255.0) - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a model's features (B, d) and logits (B, C) for clean images."""
        return features_and_logits(model, self.load_clean(positions))

    def batch_loss(self, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss:
        """Return the mean loss of a batch; ``stream`` names the draws of augmentation."""
        return supervised_loss(self, recipe, stream)

    def sample_losses(self, recipe: Recipe, stream: tuple[object, ...]) -> SampleLosses:
        """Return a model's outputs per sample of a batch, on the same augmented images as ``batch_loss``."""
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing, reduction="none")
        batches = TrainingBatches(self, recipe.augment, stream)

        def sample_losses(model: nn.Module, positions: np.ndarray, epoch: int) -> SampleOutput:
            features, logits = features_and_logits(model, batches.load(positions, epoch))
            labels = self.labels.index_select(0, self.locate(positions))
            return SampleOutput(criterion(logits.float(), labels), features.float(), logits.float())

        return ForeseeingLoss(sample_losses, batches.expect)


def open_pool(
    split: Split,
    mean: list[float],
    std: list[float],
    device: torch.device,
    classes: Sequence[int] | None = None,
    corruptions: Sequence[str] = (),
) -> Pool:
    """Put a split on a device; splits stored as one array become resident there. See ``Pool`` for the parameters."""
    resident = getattr(split, "images", None)
    images = None if resident is None else torch.from_numpy(np.array(resident)).to(device)
    constants = (torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1) for values in (mean, std))
    pool_mean, pool_std = constants
    labels = torch.from_numpy(np.array(split.labels)).to(device)
    restriction = None if classes is None else torch.tensor(classes, dtype=torch.int64, device=device)
    return Pool(split, images, labels, pool_mean, pool_std, restriction, tuple(corruptions))


def count_features(model: nn.Module) -> int:
    """Return d, the number of features that a model's classifier reads."""
    head: nn.Linear = as_classifier(model).get_classifier()  # type: ignore[assignment]  # every model of the benchmark has a linear head
    return head.in_features


@dataclass
class TrainingBatches:
    """Augmented training batches; the draws of an epoch are made on the device at once, for all samples of the pool.

    Parameters
    ----------
    pool : where images come from
    augment : the recipe's augmentations; folders crop and flip while decoding instead
    stream : names the draws, together with the epoch
    """

    pool: Pool
    augment: Augment
    stream: tuple[object, ...]
    _epoch: int | None = field(default=None, init=False)
    _draws: torch.Tensor | None = field(default=None, init=False)

    def load(self, positions: np.ndarray, epoch: int) -> torch.Tensor:
        """Return the batch (B, C, H, W) of the positions in an epoch (from 0)."""
        if self.pool.images is None:
            return self.pool.normalise(self.pool.load(positions, self._draw_crops(positions, epoch)))
        if not name_draws(self.augment):
            return self.pool.load_clean(positions)
        if self._draws is None or epoch != self._epoch:
            ids = torch.arange(len(self.pool), device=self.pool.device)
            self._epoch, self._draws = epoch, draw_augmentations(ids, self.augment, (*self.stream, "augment", epoch))
        return augment_batch(self.pool, positions, self.augment, self._draws.index_select(1, self.pool.locate(positions)))

    def expect(self, batches: Sequence[np.ndarray], epoch: int) -> None:
        """Decode these batches of an epoch in advance, if they come from files."""
        if self.pool.images is None:
            self.pool.split.expect((positions, self._draw_crops(positions, epoch)) for positions in batches)

    def _draw_crops(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        return draw_crops(positions, (*self.stream, "augment", epoch))


def supervised_loss(pool: Pool, recipe: Recipe, stream: tuple[object, ...], watch: Watch | None = None) -> BatchLoss:
    """Return the batch loss of classifiers: cross-entropy on augmented images, with draws named by (stream, epoch, sample id).

    ``watch`` receives the positions and training-mode logits of every batch, before the model learns from it.
    """
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    batches = TrainingBatches(pool, recipe.augment, stream)

    def batch_loss(model: nn.Module, positions: np.ndarray, epoch: int) -> torch.Tensor:
        logits = model(batches.load(positions, epoch)).float()
        if watch:
            watch(positions, logits.detach())
        loss: torch.Tensor = criterion(logits, pool.labels.index_select(0, pool.locate(positions)))
        return loss

    return ForeseeingLoss(batch_loss, batches.expect)


def load_training_batch(pool: Pool, positions: np.ndarray, augment: Augment, stream: tuple[object, ...]) -> torch.Tensor:
    """Return an augmented, normalised batch; every draw depends only on (stream, sample id)."""
    if pool.images is None:
        return pool.normalise(pool.load(positions, draw_crops(positions, stream)))
    return augment_batch(pool, positions, augment, draw_augmentations(pool.locate(positions), augment, stream))


def draw_crops(positions: np.ndarray, stream: tuple[object, ...]) -> np.ndarray:
    """Return the draws (B, 5) for cropping and flipping images from files, which are decoded on the host."""
    return np.stack([uniform_by_id(positions, derive_seed(*stream, f"crop-{axis}")) for axis in range(5)], axis=1)


def augment_batch(pool: Pool, positions: np.ndarray, augment: Augment, draws: torch.Tensor) -> torch.Tensor:
    """Return a normalised batch of resident images, augmented with draws (D, B) in the order of ``name_draws``."""
    named = dict(zip(name_draws(augment), draws, strict=True))
    if not named:
        return pool.load_clean(positions)
    images = pool.load(positions)
    if augment.crop_padding:
        images = crop_images(images, augment.crop_padding, named["row"], named["column"], augment.crop_fill)
    if augment.flip:
        images = torch.where((named["flip"] < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
    images = pool.normalise(images)
    if augment.cutout:
        images = cut_squares(images, augment.cutout, named["cutout-row"], named["cutout-column"])
    return images.contiguous(memory_format=torch.channels_last)

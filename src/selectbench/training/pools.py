"""Splits on a device: batches of images, augmented and normalised there, and the losses that are taken on them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from selectbench.data.splits import Split
from selectbench.models.factory import features_and_logits
from selectbench.seeds import derive_seed, uniform_by_id
from selectbench.training.augment import Augment, crop_images, cut_squares, draw_augmentations, name_draws
from selectbench.training.recipes import Recipe

_MOST_CLEAN = 1 << 28  # bytes of normalised images that stay on the device beside the uint8 ones


class SampleOutput(NamedTuple):
    """What a model says of every sample of a batch: losses (B,) with gradients, features (B, d), logits (B, C) or uncertainties (B,)."""

    losses: torch.Tensor
    features: torch.Tensor
    logits: torch.Tensor | None = None
    uncertainty: torch.Tensor | None = None


BatchLoss = Callable[[nn.Module, np.ndarray, int], torch.Tensor]
SampleLosses = Callable[[nn.Module, np.ndarray, int], SampleOutput]
Watch = Callable[[np.ndarray, torch.Tensor], None]


@dataclass(frozen=True)
class ForeseeingLoss:
    """A loss that can be told which batches come, so that their files are decoded while others are trained on.

    Parameters
    ----------
    compute : the ``BatchLoss`` or ``SampleLosses`` itself
    expect : (batches of an epoch in their order, epoch from 0) → nothing; batches that do not come cost memory and time alone
    """

    compute: Callable
    expect: Callable[[Sequence[np.ndarray], int], None]

    def __call__(self, model: nn.Module, positions: np.ndarray, epoch: int) -> "torch.Tensor | SampleOutput":
        """Return what ``compute`` says of a batch."""
        return self.compute(model, positions, epoch)


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

    @cached_property
    def clean(self) -> torch.Tensor | None:
        """All images normalised, (N, H, W, C) float32 on the device; None if they are not resident or too many."""
        if self.images is None or 4 * self.images.numel() > _MOST_CLEAN:
            return None
        return self.normalise(self.images).permute(0, 2, 3, 1).contiguous()

    def locate(self, positions: np.ndarray) -> torch.Tensor:
        """Return positions on the device, without waiting for what it is doing."""
        return torch.from_numpy(positions).to(self.device, non_blocking=True)

    def load(self, positions: np.ndarray, draws: np.ndarray | None = None) -> torch.Tensor:
        """Return a uint8 batch of the positions; folders crop at random by ``draws``."""
        if self.images is not None:
            return self.images.index_select(0, self.locate(positions))
        images = torch.from_numpy(self.split.load(positions, draws))
        return images.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else images

    def load_clean(self, positions: np.ndarray) -> torch.Tensor:
        """Return the normalised images of the positions, not augmented."""
        if self.clean is None:
            return self.normalise(self.load(positions))
        return self.clean.index_select(0, self.locate(positions)).permute(0, 3, 1, 2)

    def expect(self, batches: Iterable[np.ndarray]) -> None:
        """Say which clean batches will be loaded, in this order, so that files are decoded ahead."""
        if self.images is None:
            self.split.expect((positions, None) for positions in batches)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 images in channels-last order, with the pool's mean 0 and deviation 1."""
        scaled = (images.float().div_(255.0) - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def forward(self, model: nn.Module, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a model's features (B, d) and logits (B, C) of clean images."""
        return features_and_logits(model, self.load_clean(positions))

    def batch_loss(self, recipe: "Recipe", stream: tuple[object, ...]) -> "BatchLoss":
        """Return the mean loss of a batch; ``stream`` names the draws of augmentation."""
        return supervised_loss(self, recipe, stream)

    def sample_losses(self, recipe: "Recipe", stream: tuple[object, ...]) -> "SampleLosses":
        """Return what a model says of every sample of a batch, from the images and draws of ``batch_loss``."""
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
    """Put a split on a device; splits that are stored as one array become resident there. See ``Pool`` for the parameters."""
    resident = getattr(split, "images", None)
    images = None if resident is None else torch.from_numpy(np.array(resident)).to(device)
    constants = [torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1) for values in (mean, std)]
    labels = torch.from_numpy(np.array(split.labels)).to(device)
    restriction = None if classes is None else torch.tensor(classes, dtype=torch.int64, device=device)
    return Pool(split, images, labels, *constants, classes=restriction, corruptions=tuple(corruptions))


def count_features(model: nn.Module) -> int:
    """Return d, the number of features that a model's classifier reads."""
    return int(model.get_classifier().in_features)  # type: ignore[operator]  # timm's interface, which nn.Module does not declare


def choose_device() -> torch.device:
    """Return the first GPU this process may use, else the CPU.

    On a GPU cuDNN measures its kernels once a shape, of which a training has two or three, and float32 stays float32: no TF32, as
    recipes that want less say ``bf16``.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    return torch.device("cuda")


def name_device(device: torch.device) -> str:
    """Return ``"cpu"`` or the GPU's product name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@dataclass
class TrainingBatches:
    """Augmented batches of a training: the draws of an epoch are made on the device at once, for all samples of the pool.

    Parameters
    ----------
    pool : where images come from
    augment : of the recipe; folders crop and flip while they decode instead
    stream : names the draws, with the epoch
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
        if epoch != self._epoch:
            ids = torch.arange(len(self.pool), device=self.pool.device)
            self._epoch, self._draws = epoch, draw_augmentations(ids, self.augment, (*self.stream, "augment", epoch))
        return augment_batch(self.pool, positions, self.augment, self._draws.index_select(1, self.pool.locate(positions)))

    def expect(self, batches: Sequence[np.ndarray], epoch: int) -> None:
        """Decode these batches of an epoch ahead, if they come from files."""
        if self.pool.images is None:
            self.pool.split.expect((positions, self._draw_crops(positions, epoch)) for positions in batches)

    def _draw_crops(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        return draw_crops(positions, (*self.stream, "augment", epoch))


def supervised_loss(pool: Pool, recipe: Recipe, stream: tuple[object, ...], watch: Watch | None = None) -> BatchLoss:
    """Return the batch loss of classifiers: cross-entropy of augmented images, draws named by (stream, epoch, sample id).

    ``watch`` is told the logits of every batch as the model makes them in training, before it learns from them.
    """
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    batches = TrainingBatches(pool, recipe.augment, stream)

    def batch_loss(model: nn.Module, positions: np.ndarray, epoch: int) -> torch.Tensor:
        logits = model(batches.load(positions, epoch)).float()
        if watch:
            watch(positions, logits.detach())
        return criterion(logits, pool.labels.index_select(0, pool.locate(positions)))

    return ForeseeingLoss(batch_loss, batches.expect)


def load_training_batch(pool: Pool, positions: np.ndarray, augment: Augment, stream: tuple[object, ...]) -> torch.Tensor:
    """Return an augmented, normalised batch; every draw depends on (stream, sample id) alone."""
    if pool.images is None:
        return pool.normalise(pool.load(positions, draw_crops(positions, stream)))
    return augment_batch(pool, positions, augment, draw_augmentations(pool.locate(positions), augment, stream))


def draw_crops(positions: np.ndarray, stream: tuple[object, ...]) -> np.ndarray:
    """Return the draws (B, 5) by which images from files are cropped and flipped; the files are decoded on the host."""
    return np.stack([uniform_by_id(positions, derive_seed(*stream, f"crop-{axis}")) for axis in range(5)], axis=1)


def augment_batch(pool: Pool, positions: np.ndarray, augment: Augment, draws: torch.Tensor) -> torch.Tensor:
    """Return the normalised batch of resident images, augmented by draws (D, B) as ``name_draws`` lists them."""
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

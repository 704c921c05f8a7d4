"""Augmentation of image batches on their device; every draw is a function of a stream and a sample id, the same on any device."""

from dataclasses import dataclass

import torch
from torch import nn

from selectbench.seeds import derive_seed

_SIGN = 1 << 64


@dataclass(frozen=True)
class Augment:
    """The augmentations of a recipe; fields as in the recipe schema."""

    crop_padding: int
    flip: bool
    cutout: int
    crop_fill: str = "zeros"


NO_AUGMENT = Augment(crop_padding=0, flip=False, cutout=0)


def hash_on_device(ids: torch.Tensor, seed: int) -> torch.Tensor:
    """Return ``seeds.hash_ids`` of ids (N,) int64, bit for bit, as int64; torch lacks unsigned 64-bit arithmetic but wraps the same way."""
    key = ids * _as_signed(0x9E3779B97F4A7C15) + derive_seed("hash", seed)
    key = (key ^ _shift_right(key, 30)) * _as_signed(0xBF58476D1CE4E5B9)
    key = (key ^ _shift_right(key, 27)) * _as_signed(0x94D049BB133111EB)
    return key ^ _shift_right(key, 31)


def uniform_on_device(ids: torch.Tensor, seed: int) -> torch.Tensor:
    """Return ``seeds.uniform_by_id`` of ids (N,), bit for bit, on their device."""
    return _shift_right(hash_on_device(ids, seed), 11).double() * 2.0**-53


def _as_signed(value: int) -> int:
    return value - _SIGN if value >= _SIGN // 2 else value


def _shift_right(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift logically, without extending the sign as ``>>`` does."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def name_draws(augment: Augment) -> tuple[str, ...]:
    """Return the names of the random draws that an augmentation needs per sample."""
    crop, hole = ("row", "column"), ("cutout-row", "cutout-column")
    return (*(crop if augment.crop_padding else ()), *(("flip",) if augment.flip else ()), *(hole if augment.cutout else ()))


def draw_augmentations(ids: torch.Tensor, augment: Augment, stream: tuple[object, ...]) -> torch.Tensor:
    """Return the draws (D, N) float64 for ids (N,), one row per name; each depends only on (stream, name, sample id)."""
    names = name_draws(augment)
    if not names:
        return torch.empty(0, len(ids), dtype=torch.float64, device=ids.device)
    return torch.stack([uniform_on_device(ids, derive_seed(*stream, name)) for name in names])


def crop_images(
    images: torch.Tensor, padding: int, row_draws: torch.Tensor, column_draws: torch.Tensor, fill: str = "zeros"
) -> torch.Tensor:
    """Pad images (B, C, H, W) with zeros or by reflection, and crop them at the offsets ⌊draw · (2·padding + 1)⌋."""
    batch, _, height, width = images.shape
    if fill == "reflect":
        padded = images[:, :, _mirror(height, padding, images.device)][:, :, :, _mirror(width, padding, images.device)]
    else:
        padded = nn.functional.pad(images, (padding,) * 4)

    def offsets(draws: torch.Tensor, size: int) -> torch.Tensor:
        return (draws * (2 * padding + 1)).long()[:, None] + torch.arange(size, device=images.device)

    rows, columns = offsets(row_draws, height), offsets(column_draws, width)
    index = torch.arange(batch, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _mirror(size: int, padding: int, device: torch.device) -> torch.Tensor:
    """Return the pixel indices (size + 2·padding,) of an axis reflected at its first and last pixel; the axis may be of any size."""
    period = max(1, 2 * (size - 1))
    places = torch.arange(-padding, size + padding, device=device).remainder(period)
    return torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)


def cut_squares(images: torch.Tensor, side: int, row_draws: torch.Tensor, column_draws: torch.Tensor) -> torch.Tensor:
    """Set a square of each image (B, C, H, W) to 0; its centre is uniform over the pixels, and parts outside the image are cut off."""

    def inside(draws: torch.Tensor, size: int) -> torch.Tensor:
        start = ((draws * size).long() - side // 2)[:, None]
        pixels = torch.arange(size, device=images.device)
        return (pixels >= start) & (pixels < start + side)

    hole = inside(row_draws, images.shape[2])[:, :, None] & inside(column_draws, images.shape[3])[:, None, :]
    return images.masked_fill(hole[:, None], 0.0)

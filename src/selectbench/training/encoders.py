"""Encoders that never see labels and provide embeddings: SimCLR trained on the pool itself, or a pretrained timm model."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from selectbench.errors import ConfigError, first_line, suggest
from selectbench.models.factory import as_classifier
from selectbench.records.rows import Entry
from selectbench.seeds import derive_seed, uniform_by_id
from selectbench.training.pools import BatchLoss, Pool, count_features
from selectbench.training.recipes import Descent

_PRETRAINED_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Views:
    """How the two views of an image are drawn; fields as in the encoder schema."""

    zoom: float
    rotate: float
    shift: float
    flip: bool
    tone: float
    grey: float


@dataclass(frozen=True, kw_only=True)
class SimCLRRecipe(Descent):
    """Hyperparameters of SimCLR training; fields as in the encoder schema."""

    temperature: float
    projection: int
    views: Views

    @classmethod
    def from_config(cls, entry: Entry) -> "SimCLRRecipe":
        """Make a recipe from an entry of ``config/encoders.yaml``."""
        fields = {name: value for name, value in entry.items() if name not in ("title", "kind", "model")}
        return cls(**{**fields, "views": Views(**entry["views"])})


class SimCLR(nn.Module):
    """An encoder with the projection head on which the contrastive loss is computed (Chen et al. 2020)."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        from lightly.models.modules.heads import SimCLRProjectionHead

        super().__init__()
        self.encoder = encoder
        features = count_features(encoder)
        self.projection = SimCLRProjectionHead(features, features, width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return projections (B, width) of images (B, C, H, W)."""
        encoder = as_classifier(self.encoder)
        projections: torch.Tensor = self.projection(encoder.forward_head(encoder.forward_features(images), pre_logits=True))
        return projections


def contrastive_loss(pool: Pool, recipe: SimCLRRecipe, stream: tuple[object, ...]) -> BatchLoss:
    """Return SimCLR's batch loss: NT-Xent between two views of every image, with draws named by (stream, epoch, view, sample id)."""
    from lightly.loss import NTXentLoss

    criterion = NTXentLoss(temperature=recipe.temperature)

    def batch_loss(model: nn.Module, positions: np.ndarray, epoch: int) -> torch.Tensor:
        views = [draw_view(pool, positions, recipe.views, (*stream, "view", epoch, side)) for side in ("left", "right")]
        left, right = model(torch.cat(views)).float().chunk(2)
        loss: torch.Tensor = criterion(left, right)
        return loss

    return batch_loss


def draw_view(pool: Pool, positions: np.ndarray, views: Views, stream: tuple[object, ...]) -> torch.Tensor:
    """Return one normalised view (B, C, H, W) of every image, randomly zoomed, rotated, shifted, mirrored and changed in tone."""

    def draw(name: str, low: float, high: float) -> torch.Tensor:
        values = low + (high - low) * uniform_by_id(positions, derive_seed(*stream, name))
        return torch.from_numpy(values.astype(np.float32)).to(pool.device)

    if pool.images is None:
        crops = np.stack([uniform_by_id(positions, derive_seed(*stream, f"crop-{axis}")) for axis in range(5)], axis=1)
        images = pool.normalise(pool.load(positions, crops))
    else:
        mirror = torch.where(draw("flip", 0.0, 1.0) < 0.5 * views.flip, -1.0, 1.0)
        angle, zoom = torch.deg2rad(draw("rotate", -views.rotate, views.rotate)), draw("zoom", 1.0 - views.zoom, 1.0)
        right, down = (2.0 * draw(name, -views.shift, views.shift) for name in ("right", "down"))
        images = warp(pool.normalise(pool.load(positions)), zoom, angle, mirror, right, down)
    channels = images.shape[1]
    gain = torch.stack([draw(f"gain-{channel}", 1.0 - views.tone, 1.0 + views.tone) for channel in range(channels)], dim=1)
    offset = torch.stack([draw(f"offset-{channel}", -views.tone, views.tone) for channel in range(channels)], dim=1)
    images = images * gain[:, :, None, None] + offset[:, :, None, None]
    greyed = (draw("grey", 0.0, 1.0) < views.grey)[:, None, None, None]
    return torch.where(greyed, images.mean(dim=1, keepdim=True).expand_as(images), images).contiguous(memory_format=torch.channels_last)


def warp(
    images: torch.Tensor, zoom: torch.Tensor, angle: torch.Tensor, mirror: torch.Tensor, right: torch.Tensor, down: torch.Tensor
) -> torch.Tensor:
    """Resample images (B, C, H, W) bilinearly, each by its own affine map; outside the image, border pixels repeat.

    Parameters
    ----------
    zoom : (B,) side of the window that fills the view, relative to the image
    angle : (B,) in radians
    mirror : (B,) −1 flips horizontally, 1 does not
    right, down : (B,) shift of the window's centre, in half image sides
    """
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    maps = torch.stack([torch.stack([mirror * cosine, -sine, right], dim=1), torch.stack([mirror * sine, cosine, down], dim=1)], dim=1)
    grid = nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


@torch.no_grad()
def embed_pretrained(pool: Pool, name: str, weights: str | None) -> np.ndarray:
    """Return the pooled features (N, d) of a pretrained timm model for clean images, at its own normalisation and input size.

    Parameters
    ----------
    name : timm's name of model and weights, such as ``"vit_small_patch16_224.dino"``
    weights : file with the weights, or None to let timm download them

    Raises
    ------
    ConfigError
        timm does not know the name, or the weights cannot be loaded.
    """
    import timm

    known = timm.list_models(pretrained=True)
    if name not in known:
        raise ConfigError(f"config/encoders.yaml: name: timm has no pretrained model {name!r}{suggest(name, known)}")
    overlay = {"file": weights} if weights else None
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
    except Exception as error:  # errors of hub, network and file system have no common base class
        problem = f"{name!r} cannot be loaded ({first_line(error)})"
        raise ConfigError(f"config/encoders.yaml: weights: {problem}; give a file with its weights") from None
    model = model.eval().to(pool.device)
    config = timm.data.resolve_data_config({}, model=model)  # type: ignore[attr-defined, no-untyped-call]  # timm re-exports it untyped
    mean, std = (torch.tensor(config[key], device=pool.device).view(1, -1, 1, 1) for key in ("mean", "std"))
    rows = []
    for start in range(0, len(pool), _PRETRAINED_BATCH):
        images = pool.load(np.arange(start, min(start + _PRETRAINED_BATCH, len(pool)))).float() / 255.0
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        images = nn.functional.interpolate(images, size=config["input_size"][1:], mode="bicubic", antialias=True).clamp(0.0, 1.0)
        rows.append(model((images - mean) / std).float().cpu().numpy())
    return np.concatenate(rows)

"""A short recipe and a learnable pool of small images, for training tests."""

from pathlib import Path

import numpy as np
import torch

from selectbench.data.splits import ArraySplit
from selectbench.training.augment import Augment
from selectbench.training.pools import Pool, open_pool
from selectbench.training.recipes import Recipe

RECIPE = Recipe(
    epochs=8,
    batch_size=16,
    optimiser="sgd",
    learning_rate=0.05,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    schedule="cosine",
    warmup_epochs=1,
    label_smoothing=0.0,
    augment=Augment(crop_padding=1, flip=True, cutout=0),
    stem="small",
    precision="fp32",
    track_test=False,
)


def make_pool(folder: Path, num: int) -> Pool:
    """Write images of three classes, one of them brighter, and open them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, num)
    images = rng.integers(0, 128, (num, 1, 8, 8)) + 100 * (labels[:, None, None, None] == 1)
    np.save(folder / "images.npy", images.astype(np.uint8))
    np.save(folder / "labels.npy", labels)
    return open_pool(ArraySplit(folder), [0.4], [0.25], torch.device("cpu"))

"""Hyperparameters of training runs, and what follows from them: batches, steps, learning rates."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from selectbench.records.rows import Entry
from selectbench.training.augment import NO_AUGMENT, Augment


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Hyperparameters of optimisation with any loss; fields as in the recipe schema."""

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
    compile: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe(Descent):
    """Hyperparameters of supervised training; fields as in the recipe schema."""

    label_smoothing: float
    augment: Augment = NO_AUGMENT
    track_test: bool
    record_at: tuple[float, ...] = ()
    align_at: tuple[float, ...] = ()
    pretrained: bool | str | dict[str, Any] = False

    @classmethod
    def from_config(cls, entry: Entry) -> "Recipe":
        """Make a recipe from an entry of ``config/recipes.yaml``; how many replicates of a proxy are trained is no part of it."""
        shares = {name: tuple(entry.get(name, ())) for name in ("record_at", "align_at")}
        augment = {"augment": Augment(**entry["augment"])} if "augment" in entry else {}
        return cls(**{**{key: value for key, value in entry.items() if key != "replicates"}, **augment, **shares})


def count_batches(num_samples: int, batch_size: int) -> int:
    """Return the number of batches per epoch; a last batch of one sample is merged with the one before, as batch normalisation requires."""
    batches = math.ceil(num_samples / batch_size)
    return batches - 1 if batches > 1 and num_samples % batch_size == 1 else batches


def count_steps(num_kept: int, num_pool: int, recipe: Descent, regime: str) -> int:
    """Return the optimiser steps of a training run: the recipe's epochs on the subset, or as many steps as full data would take."""
    samples = num_kept if regime == "equal_epochs" else num_pool
    return recipe.epochs * count_batches(samples, recipe.batch_size)


def learning_rate_at(step: float, total_steps: int, recipe: Descent) -> float:
    """Return the learning rate of a step: linear warm-up (``onecycle``: along a cosine), then the schedule over the remaining steps."""
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
    """Return the fraction of the peak rate: along cosines from 1/25 up to 1, and down to 4e-6 at the last step (Smith and Topin 2018).

    This is torch's ``OneCycleLR`` with its defaults, except that the momentum stays constant.
    """
    top, last = max(1, warmup - 1), total_steps - 1
    start, stop, done = (0.04, 1.0, step / top) if step <= top else (1.0, 4e-6, min(1.0, (step - top) / max(1, last - top)))
    return stop + 0.5 * (start - stop) * (1.0 + math.cos(math.pi * done))


def split_batches(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Split an epoch's order into ``count_batches`` batches."""
    last = count_batches(len(order), batch_size) - 1
    for index in range(last + 1):
        yield order[index * batch_size :] if index == last else order[index * batch_size : (index + 1) * batch_size]


def uses_bfloat16(recipe: Descent, device: torch.device) -> bool:
    """Tell whether bfloat16 is requested and fast: only on GPUs that compute with it, since emulating it is slower than float32."""
    return recipe.precision == "bf16" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

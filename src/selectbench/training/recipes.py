"""Hyperparameters of trainings, and what follows from them alone: batches, steps, learning rates."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from selectbench.training.augment import NO_AUGMENT, Augment


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
    compile: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe(Descent):
    """Hyperparameters of a supervised training; the fields are those of the recipe schema."""

    label_smoothing: float
    augment: Augment = NO_AUGMENT
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


def split_batches(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Cut an epoch's order into ``count_batches`` batches."""
    last = count_batches(len(order), batch_size) - 1
    for index in range(last + 1):
        yield order[index * batch_size :] if index == last else order[index * batch_size : (index + 1) * batch_size]


def uses_bfloat16(recipe: Descent, device: torch.device) -> bool:
    """Tell whether bfloat16 is asked for and fast: GPUs only, since CPUs without the instructions are far slower with it."""
    return recipe.precision == "bf16" and device.type == "cuda" and torch.cuda.is_bf16_supported()

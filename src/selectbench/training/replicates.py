"""Replicates of a proxy: independently initialised runs of its recipe, and what is recorded of each."""

import time
from typing import TypedDict

import numpy as np
import torch
from torch import nn

from selectbench.signals import error_norms
from selectbench.training.engine import Checkpoint, join_predictions, predict, train_model
from selectbench.training.epochs import FixedVisits, Progress
from selectbench.training.gradients import Batches, measure_norms
from selectbench.training.pools import Pool, supervised_loss
from selectbench.training.recipes import Recipe, count_steps


class Cost(TypedDict):
    """What a part of a replicate cost.

    Parameters
    ----------
    signal : the only one that this part is needed for; empty if all need it
    wall_s : seconds
    sample_visits, forward_visits : samples with a backward pass, and in forward passes alone
    """

    signal: str
    wall_s: float
    sample_visits: int
    forward_visits: int


def train_replicate(
    model: nn.Module, pool: Pool, recipe: Recipe, epochs: int, stream: tuple[object, ...], checkpoint: Checkpoint
) -> tuple[torch.Tensor, Cost]:
    """Train the first epochs of a recipe, whose schedule is that of all its epochs, and watch which samples are classified correctly.

    Parameters
    ----------
    model : freshly initialised; trained in place
    epochs : after which the replicate ends
    stream : the axes that name its random streams
    checkpoint : where to save, and to resume from

    Returns
    -------
    (T, N) bool, whether each sample was correct in each epoch's training pass, before the update; and what the training cost
    """
    total = count_steps(len(pool), len(pool), recipe, "equal_epochs")
    row = torch.zeros(len(pool), dtype=torch.bool, device=pool.device)

    def watch(positions: np.ndarray, logits: torch.Tensor) -> None:
        where = torch.from_numpy(positions).to(pool.device)
        row[where] = logits.argmax(dim=1) == pool.labels[where]

    def observe(epoch: int, model: nn.Module, progress: Progress) -> None:
        correct = progress.extra.setdefault("correct", torch.zeros(epochs, len(pool), dtype=torch.bool))
        correct[epoch - 1] = row.cpu()

    progress = train_model(
        model,
        pool,
        FixedVisits(np.arange(len(pool)), total, total // recipe.epochs * epochs),
        recipe,
        stream=stream,
        batch_loss=supervised_loss(pool, recipe, stream, watch),
        on_epoch_end=observe,
        checkpoint=checkpoint,
    )
    cost = Cost(signal="", wall_s=progress.wall_s, sample_visits=progress.sample_visits, forward_visits=progress.forward_visits)
    return progress.extra["correct"], cost


def record_early(model: nn.Module, pool: Pool, batches: Batches) -> tuple[dict[str, torch.Tensor], list[Cost]]:
    """Record the norms of prediction errors and of gradients, of the last layer and of all parameters, on clean images in evaluation mode.

    The gradient of the last layer is an outer product: its norm is that of the error times √(‖h‖² + 1), where h are the features.

    Parameters
    ----------
    model : a trained replicate
    batches : a pass over the pool's clean images and labels

    Returns
    -------
    signal → (N,) float64; and what recording them cost
    """
    clock = time.perf_counter()
    labels = pool.labels.cpu().numpy()
    errors, lasts = (torch.zeros(len(pool), dtype=torch.float64) for _ in range(2))
    for where, features, logits in join_predictions(predict(model, pool)):
        errors[where] = torch.from_numpy(error_norms(logits.cpu().numpy(), labels[where]))
        lasts[where] = errors[where] * (features.cpu().double().square().sum(dim=1) + 1).sqrt()
    passed = time.perf_counter()
    norms = measure_norms(model.eval(), batches)
    costs = [
        Cost(signal="", wall_s=passed - clock, sample_visits=0, forward_visits=len(pool)),
        Cost(signal="gradient_norms", wall_s=time.perf_counter() - passed, sample_visits=len(pool), forward_visits=0),
    ]
    return {"errors": errors, "last_layer_norms": lasts, "gradient_norms": norms}, costs

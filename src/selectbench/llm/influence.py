"""Influences on validation samples in the manner of LESS, exact for heads, whose gradients need no projection."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from selectbench.llm.models import Head, OptionHead
from selectbench.rl.geometry import normalise_rows
from selectbench.seeds import derive_seed, hash_ids, isolated_torch_rng
from selectbench.signals import softmax_residuals
from selectbench.training.optimisers import Adam

EPOCHS, BATCH, LEARNING_RATE, BETAS, EPSILON = 4, 32, 0.02, (0.9, 0.999), 1e-8
_BLOCK = 1 << 24  # numbers in a block of gradients


@dataclass(frozen=True)
class HeadCheckpoint:
    """A head after an epoch of warm-up, with Adam's moments.

    Parameters
    ----------
    weights : (C, d + 1) with the bias last, or (1, d) for a head on matches
    first, second : Adam's moments of the weights
    steps : optimiser steps so far
    learning_rate : of the epoch
    """

    weights: np.ndarray
    first: np.ndarray
    second: np.ndarray
    steps: int
    learning_rate: float


def warm_up_head(inputs: np.ndarray, labels: np.ndarray, num_classes: int, learning_rate: float, seed: int) -> list[HeadCheckpoint]:
    """Train a head with Adam for four epochs at a linearly decaying rate, and return one checkpoint per epoch.

    Parameters
    ----------
    inputs : (n, d) embeddings of the warm-up samples, or (n, O, d) matches of their options
    labels : (n,)
    num_classes : C
    learning_rate : of the first epoch
    seed : for the weights and the order
    """
    width = inputs.shape[-1]
    with isolated_torch_rng(derive_seed(seed, "init")):
        head: nn.Module = Head(width, num_classes) if inputs.ndim == 2 else OptionHead(width)
    weights = list(head.parameters())
    optimiser = Adam(head.parameters(), lr=learning_rate, betas=BETAS, eps=EPSILON)
    rows, classes, steps = torch.from_numpy(np.array(inputs)), torch.from_numpy(np.array(labels)), 0
    checkpoints: list[HeadCheckpoint] = []
    for epoch in range(EPOCHS):
        rate = learning_rate * (1 - epoch / EPOCHS)
        optimiser.param_groups[0]["lr"] = rate
        order = np.argsort(hash_ids(np.arange(len(labels)), derive_seed(seed, "order", epoch)), kind="stable")
        for start in range(0, len(order), BATCH):
            batch = torch.from_numpy(order[start : start + BATCH])
            optimiser.zero_grad()
            nn.functional.cross_entropy(head(rows[batch])[1], classes[batch]).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            steps += 1
        first, second = ([optimiser.state[value][name] for value in weights] for name in ("exp_avg", "exp_avg_sq"))
        checkpoints.append(HeadCheckpoint(join_head(weights), join_head(first), join_head(second), steps, rate))
    return checkpoints


def join_head(parts: Sequence[torch.Tensor]) -> np.ndarray:
    """Return weights (C, d) and, if present, biases (C,) as one array (C, d + 1) or (C, d)."""
    columns = [part.detach().reshape(len(parts[0]), -1) for part in parts]
    return torch.cat(columns, dim=1).double().numpy()


def measure_influences(
    checkpoints: list[HeadCheckpoint],
    inputs: np.ndarray,
    labels: np.ndarray,
    validation_inputs: np.ndarray,
    validation_labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return influences (S, N) on S tasks: Σ rate · cos(Adam's step, mean validation gradient of the task), and the same by samples.

    The sum runs over checkpoints. The second array holds, in place of the cosine with the mean gradient of a task, which the paper
    writes, the mean of the cosines with the gradients of its single validation samples, which the published code computes. Adam's step
    is that of LESS (Xia et al. 2024, arXiv 2402.04333), with bias correction and with ε outside the square root as in Adam itself; the
    published code omits bias correction and adds ε inside the root. The classes of the validation samples take the role of LESS's tasks;
    questions form a single one. Gradients are not projected, because a head has few weights.

    Parameters
    ----------
    checkpoints : of the warm-up
    inputs, labels : embeddings (N, d) or matches (N, O, d), and labels (N,) of the pool
    validation_inputs, validation_labels : the same for V validation samples
    """
    tasks = validation_labels if inputs.ndim == 2 else np.zeros_like(validation_labels)
    names = np.unique(tasks)
    by_mean, by_samples = np.zeros((len(names), len(labels))), np.zeros((len(names), len(labels)))
    for checkpoint in checkpoints:
        gradients = head_gradients(checkpoint.weights, validation_inputs, validation_labels)
        wanted = normalise_rows(average_tasks(gradients, tasks))
        each_wanted = average_tasks(normalise_rows(gradients), tasks)  # a mean of cosines is a product with a mean of unit vectors
        size = max(1, _BLOCK // checkpoint.weights.size)
        for start in range(0, len(labels), size):
            block = slice(start, start + size)
            steps = take_adam_steps(checkpoint, head_gradients(checkpoint.weights, inputs[block], labels[block]))
            units = checkpoint.learning_rate * normalise_rows(steps)
            by_mean[:, block] += wanted @ units.T
            by_samples[:, block] += each_wanted @ units.T
    return by_mean, by_samples


def average_tasks(rows: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """Return the mean row (S, P) of every task, in ascending order, of rows (V, P) whose tasks (V,) are given."""
    return np.stack([rows[tasks == name].mean(axis=0) for name in np.unique(tasks)])


def head_gradients(weights: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return per-sample gradients (N, P) of the cross-entropy with respect to a head's P weights.

    Parameters
    ----------
    weights : (C, d + 1), or (1, d) for a head on matches
    inputs : (N, d) embeddings, or (N, O, d) matches
    labels : (N,)
    """
    gradients: np.ndarray
    if inputs.ndim == 3:
        matches = np.asarray(inputs, dtype=np.float64)
        scores = np.where(matches.any(axis=2), matches @ weights[0], -np.inf)
        gradients = np.einsum("no,nod->nd", softmax_residuals(scores, labels), matches)
        return gradients
    rows = np.concatenate([np.asarray(inputs, dtype=np.float64), np.ones((len(inputs), 1))], axis=1)
    residuals = softmax_residuals(rows @ weights.T, labels)
    gradients = (residuals[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
    return gradients


def take_adam_steps(checkpoint: HeadCheckpoint, gradients: np.ndarray) -> np.ndarray:
    """Return the directions (N, P) of Adam's next step on each sample's gradient alone."""
    (beta, gamma), step = BETAS, checkpoint.steps + 1
    first = (beta * checkpoint.first.reshape(-1) + (1 - beta) * gradients) / (1 - beta**step)
    second = (gamma * checkpoint.second.reshape(-1) + (1 - gamma) * gradients**2) / (1 - gamma**step)
    steps: np.ndarray = first / (np.sqrt(second) + EPSILON)
    return steps

"""Influences on validation samples in the manner of LESS, exact for heads: their gradients need no projection."""

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
_BLOCK = 1 << 24  # numbers of a block of gradients


@dataclass(frozen=True)
class HeadCheckpoint:
    """A head after an epoch of its warm-up, with the moments of its Adam.

    Parameters
    ----------
    weights : (C, d + 1), the bias last, or (1, d) of a head on matches
    first, second : their moments
    steps : taken so far
    learning_rate : of the epoch
    """

    weights: np.ndarray
    first: np.ndarray
    second: np.ndarray
    steps: int
    learning_rate: float


def warm_up_head(inputs: np.ndarray, labels: np.ndarray, num_classes: int, learning_rate: float, seed: int) -> list[HeadCheckpoint]:
    """Train a head by Adam for four epochs, at a linearly falling rate; return a checkpoint an epoch.

    Parameters
    ----------
    inputs : (n, d) embeddings of the samples of the warm-up, or (n, O, d) matches of their options
    labels : (n,)
    num_classes : C
    learning_rate : of the first epoch
    seed : of weights and order
    """
    width = inputs.shape[-1]
    with isolated_torch_rng(derive_seed(seed, "init")):
        head = Head(width, num_classes) if inputs.ndim == 2 else OptionHead(width)
    weights = list(head.linear.parameters())
    optimiser = Adam(head.parameters(), lr=learning_rate, betas=BETAS, eps=EPSILON)
    rows, classes, checkpoints, steps = torch.from_numpy(np.array(inputs)), torch.from_numpy(np.array(labels)), [], 0
    for epoch in range(EPOCHS):
        rate = learning_rate * (1 - epoch / EPOCHS)
        optimiser.param_groups[0]["lr"] = rate
        order = np.argsort(hash_ids(np.arange(len(labels)), derive_seed(seed, "order", epoch)), kind="stable")
        for start in range(0, len(order), BATCH):
            batch = torch.from_numpy(order[start : start + BATCH])
            optimiser.zero_grad()
            nn.functional.cross_entropy(head(rows[batch])[1], classes[batch]).backward()
            optimiser.step()
            steps += 1
        moments = [[optimiser.state[value][name] for value in weights] for name in ("exp_avg", "exp_avg_sq")]
        checkpoints.append(HeadCheckpoint(*map(join_head, (weights, *moments)), steps, rate))
    return checkpoints


def join_head(parts: list[torch.Tensor]) -> np.ndarray:
    """Return weights (C, d), and biases (C,) if there are some, as one array (C, d + 1) or (C, d)."""
    columns = [part.detach().reshape(len(parts[0]), -1) for part in parts]
    return torch.cat(columns, dim=1).double().numpy()


def measure_influences(
    checkpoints: list[HeadCheckpoint],
    inputs: np.ndarray,
    labels: np.ndarray,
    validation_inputs: np.ndarray,
    validation_labels: np.ndarray,
) -> np.ndarray:
    """Return influences (N,): the largest over validation classes of Σ rate · cos(Adam's step, mean gradient of the class).

    The sum runs over checkpoints. Adam's step is that of LESS (Xia et al. 2024, arXiv 2402.04333), with bias correction and ε outside
    the root as in Adam itself, where the published code corrects no bias and adds ε inside the root. The classes of the validation
    samples stand for LESS's sub-tasks; questions are one. A head has few weights, so that no gradient is projected.

    Parameters
    ----------
    checkpoints : of the warm-up
    inputs, labels : embeddings (N, d), or matches (N, O, d), and (N,) of the pool
    validation_inputs, validation_labels : likewise of V samples
    """
    tasks = validation_labels if inputs.ndim == 2 else np.zeros_like(validation_labels)
    names = np.unique(tasks)
    total = np.zeros((len(labels), len(names)))
    for checkpoint in checkpoints:
        gradients = head_gradients(checkpoint.weights, validation_inputs, validation_labels)
        wanted = normalise_rows(np.stack([gradients[tasks == name].mean(axis=0) for name in names]))
        size = max(1, _BLOCK // checkpoint.weights.size)
        for start in range(0, len(labels), size):
            block = slice(start, start + size)
            steps = take_adam_steps(checkpoint, head_gradients(checkpoint.weights, inputs[block], labels[block]))
            total[block] += checkpoint.learning_rate * (normalise_rows(steps) @ wanted.T)
    return total.max(axis=1)


def head_gradients(weights: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the gradients (N, P) of the cross-entropy of each sample with respect to a head's P weights.

    Parameters
    ----------
    weights : (C, d + 1), or (1, d) of a head on matches
    inputs : (N, d) embeddings, or (N, O, d) matches
    labels : (N,)
    """
    if inputs.ndim == 3:
        matches = np.asarray(inputs, dtype=np.float64)
        scores = np.where(matches.any(axis=2), matches @ weights[0], -np.inf)
        return np.einsum("no,nod->nd", softmax_residuals(scores, labels), matches)
    rows = np.concatenate([np.asarray(inputs, dtype=np.float64), np.ones((len(inputs), 1))], axis=1)
    residuals = softmax_residuals(rows @ weights.T, labels)
    return (residuals[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)


def take_adam_steps(checkpoint: HeadCheckpoint, gradients: np.ndarray) -> np.ndarray:
    """Return the direction (N, P) in which Adam would go for each sample's gradient alone."""
    (beta, gamma), step = BETAS, checkpoint.steps + 1
    first = (beta * checkpoint.first.reshape(-1) + (1 - beta) * gradients) / (1 - beta**step)
    second = (gamma * checkpoint.second.reshape(-1) + (1 - gamma) * gradients**2) / (1 - gamma**step)
    return first / (np.sqrt(second) + EPSILON)

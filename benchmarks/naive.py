"""The naive form of every rule, as defined or as in released code: the baseline of the timings in ``selectors``."""

from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from benchmarks.forms import KEEP, Pool
from selectbench.methods.cg_score import relu_kernel
from selectbench.policy import score_class_orders
from selectbench.seeds import hash_ids
from selectbench.signals import softmax_residuals


def herd(rows: np.ndarray) -> np.ndarray:
    """Sum the chosen rows and copy the remaining ones at every step."""
    mean, chosen, left = rows.mean(axis=0), [], list(range(len(rows)))
    while left:
        target = (len(chosen) + 1) * mean - rows[chosen].sum(axis=0)
        chosen.append(left.pop(int(np.linalg.norm(rows[left] - target, axis=1).argmin())))
    return np.array(chosen)


def traverse(rows: np.ndarray) -> np.ndarray:
    """Keep the distances from all centres to all rows."""
    chosen, distances = [0], np.empty((len(rows), len(rows)))
    while True:
        distances[len(chosen) - 1] = np.linalg.norm(rows - rows[chosen[-1]], axis=1)
        nearest = distances[: len(chosen)].min(axis=0)
        nearest[chosen] = -1
        if len(chosen) == len(rows):
            return np.array(chosen)
        chosen.append(int(nearest.argmax()))


def cover(rows: np.ndarray) -> np.ndarray:
    """Compute the differences from one row at a time."""
    return np.array([np.linalg.norm(rows - row, axis=1).sum() for row in rows])


def d2(pool: Pool) -> np.ndarray:
    """Fill dense n × n matrices, and take a Python ``max`` over the class at every step."""
    difficulty = forgetting(pool)

    def pick(members: np.ndarray) -> np.ndarray:
        rows = pool["features"][members].astype(np.float64)
        distances = np.array([np.linalg.norm(rows - row, axis=1) for row in rows])
        np.fill_diagonal(distances, np.inf)
        near = np.zeros(distances.shape, dtype=bool)
        for row, line in enumerate(distances):
            near[row, sorted(range(len(line)), key=line.__getitem__)[:10]] = True
        weights = np.where(near | near.T, np.exp(-distances), 0.0)
        spread, order, left = difficulty[members] + weights @ difficulty[members], [], set(range(len(members)))
        while left:
            chosen = max(left, key=spread.__getitem__)
            left.remove(chosen)
            order.append(chosen)
            spread = spread - weights[chosen] * spread[chosen]
        return np.array(order)

    return score_class_orders(pool["labels"], np.arange(len(pool["labels"])), 0, pick)


def gaps(units: np.ndarray, signs: np.ndarray, jitter: float) -> np.ndarray:
    """Solve the system again without each sample in turn."""
    kernel = relu_kernel(units) + jitter * np.eye(len(units))
    whole, differences = signs @ np.linalg.solve(kernel, signs), []
    for sample in range(len(units)):
        rest = np.delete(np.arange(len(units)), sample)
        differences.append(whole - signs[rest] @ np.linalg.solve(kernel[np.ix_(rest, rest)], signs[rest]))
    return np.array(differences)


def glister(logits: np.ndarray, features: np.ndarray, labels: np.ndarray, step_size: float, per_round: int) -> np.ndarray:
    """Form every last-layer gradient, N × C·(d+1), and multiply by it in every round."""
    biased = np.c_[features, np.ones(len(features))]
    gradients = np.einsum("nc,nd->ncd", softmax_residuals(logits, labels), biased).reshape(len(features), -1)
    shifted, order, left = logits.copy(), [], np.ones(len(features), dtype=bool)
    while left.any():
        slope = np.einsum("nc,nd->cd", softmax_residuals(shifted, labels), biased) / len(features)
        gains = np.where(left, gradients @ slope.ravel(), -np.inf)
        chosen = np.argsort(-gains, kind="stable")[: min(per_round, left.sum())]
        left[chosen] = False
        order += chosen.tolist()
        shifted -= step_size * biased @ gradients[chosen].sum(axis=0).reshape(logits.shape[1], -1).T
    return np.array(order)


def moderate(pool: Pool) -> np.ndarray:
    """Recompute the class prototype for every sample."""
    features, labels = pool["features"], pool["labels"]
    pairs = zip(features, labels, strict=True)
    return np.array([np.linalg.norm(row - features[labels == label].mean(axis=0, dtype=np.float64)) for row, label in pairs])


def el2n(pool: Pool) -> np.ndarray:
    """Subtract an explicit one-hot vector, sample by sample."""
    norms = []
    for row, label in zip(pool["logits"].astype(np.float64), pool["labels"], strict=True):
        weights, target = np.exp(row - row.max()), np.zeros(len(row))
        target[label] = 1.0
        norms.append(np.linalg.norm(weights / weights.sum() - target))
    return np.array(norms)


def grand(pool: Pool, batch: int = 256) -> np.ndarray:
    """Form the last-layer gradients of a batch, B × C·(d+1)."""
    norms = []
    for start in range(0, len(pool["labels"]), batch):
        logits, features, labels = (pool[name][start : start + batch] for name in ("logits", "features", "labels"))
        residuals = softmax_residuals(logits.astype(np.float64), labels)
        weights = residuals[:, :, None] * features.astype(np.float64)[:, None, :]
        norms.append(np.linalg.norm(np.concatenate([weights.reshape(len(labels), -1), residuals], axis=1), axis=1))
    return np.concatenate(norms)


def forgetting(pool: Pool) -> np.ndarray:
    """Loop over Python lists of every sample's events."""
    counts = []
    for events in pool["correct"].T.tolist():
        lost = sum(before and not after for before, after in pairwise(events))
        counts.append(float(lost if any(events) else len(events)))
    return np.array(counts)


def ccs(pool: Pool, cut: float = 0.1, num_strata: int = 50) -> np.ndarray:
    """Assign places one at a time, with a Python ``min`` over the stratum for each."""
    scores, keys = pool["aum"].tolist(), hash_ids(np.arange(len(pool["aum"])), 0).tolist()
    left = sorted(range(len(scores)), key=lambda sample: (scores[sample], keys[sample]))[round(cut * len(scores)) :]
    low, high = scores[left[0]], scores[left[-1]]
    strata: list[list[int]] = [[] for _ in range(num_strata)]
    for sample in left:
        strata[min(int((scores[sample] - low) / (high - low) * num_strata), num_strata - 1)].append(sample)
    sizes, taken, chosen = [len(stratum) for stratum in strata], [0] * num_strata, []
    for _ in range(round(KEEP * len(scores))):
        index = min((index for index in range(num_strata) if strata[index]), key=lambda index: (taken[index], -sizes[index], index))
        taken[index] += 1
        chosen.append(min(strata[index], key=keys.__getitem__))
        strata[index].remove(chosen[-1])
    return np.array(sorted(chosen, key=keys.__getitem__))


def tdds(pool: Pool, window: int = 4, decay: float = 0.9) -> np.ndarray:
    """Keep T × N × C probabilities and compute the divergences of every window from them."""
    weights = np.exp(pool["outputs"] - pool["outputs"].max(axis=2, keepdims=True))
    probabilities = weights / weights.sum(axis=2, keepdims=True)
    scores, last = np.zeros(len(pool["labels"])), len(probabilities) - window
    for start in range(last + 1):
        pairs = [(probabilities[epoch], probabilities[epoch + 1]) for epoch in range(start, start + window - 1)]
        inside = np.array([np.abs(after * np.log(after / before)).sum(axis=1) for before, after in pairs], dtype=np.float64)
        scores += decay * (1.0 - decay) ** (last - start) * np.sqrt(np.square(inside - inside.mean(axis=0)).sum(axis=0))
    return scores


def flatten_gradient(model: nn.Module, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return one sample's gradient (P,)."""
    loss = nn.functional.cross_entropy(model(image[None]), label[None])
    return torch.cat([value.flatten() for value in torch.autograd.grad(loss, list(model.parameters()))])


def measure_norms(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Do one backward pass per sample."""
    return np.array([float(gradient.double().norm()) for gradient in map(partial(flatten_gradient, model), images, labels)])


def measure_alignments(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Do two sweeps of one backward pass per sample: for the mean gradient, and for the products with it."""
    gradient_of = partial(flatten_gradient, model)
    mean = sum(map(gradient_of, images, labels)) / len(labels)
    return np.array([float(mean @ gradient) for gradient in map(gradient_of, images, labels)])

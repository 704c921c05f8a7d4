"""Measures of how little a sample repeats its class: the paper's sample cover and alternatives. Larger = less redundant."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

from selectbench.arrays import is_tensor
from selectbench.rl.cover import distance_blocks, sample_cover, sum_distances
from selectbench.rl.geometry import distances_to_prototype, normalise_rows
from selectbench.rl.settings import Metric, Scale


def measure_redundancy(metric: Metric, features: "np.ndarray | torch.Tensor", labels: np.ndarray) -> np.ndarray:
    """Return the (N,) float64 values of a measure, computed class by class; sample cover of a tensor is computed on its device.

    Parameters
    ----------
    metric : ``cover``: mean distance to the samples of the class; ``squared``: mean squared distance; ``centroid``: distance to the
        class mean; ``nearest``: distance to the nearest other sample of the class; ``cosine``: mean cosine distance
    features : (N, d), an array or a torch tensor
    labels : (N,)
    """
    if is_tensor(features) and metric == "cover":
        means: np.ndarray = sample_cover(features, labels).cpu().numpy() / np.bincount(labels)[labels]
        return means
    rows = features.cpu().numpy() if is_tensor(features) else features
    if metric == "centroid":
        return distances_to_prototype(rows, labels, "mean")
    values = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        values[members] = _METRICS[metric](np.asarray(rows[members], dtype=np.float64))
    return values


def scale_redundancy(values: np.ndarray, scale: Scale, labels: np.ndarray) -> np.ndarray:
    """Return redundancies (N,) on the scale on which they are rewarded.

    Parameters
    ----------
    values : (N,), as measured by ``measure_redundancy``, which takes means over a class
    scale : ``standard``: mean 0 and standard deviation 1; ``mean``: mean 1; ``none``: as measured, with sample cover the mean distance;
        ``sum``: times the size of the class, with sample cover the paper's sum of distances. Equal values become 0 or 1 where they
        are standardised or divided.
    labels : (N,)
    """
    scaled: np.ndarray = values
    if scale == "standard":
        scaled = (values - values.mean()) / max(values.std(), 1e-12)
    if scale == "mean":
        scaled = values / max(values.mean(), 1e-12)
    if scale == "sum":
        _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        scaled = values * sizes[classes]
    return scaled


def _mean_distances(rows: np.ndarray) -> np.ndarray:
    return sum_distances(rows) / len(rows)


def _mean_squared_distances(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=0)
    squares: np.ndarray = np.einsum("nd,nd->n", centred, centred)
    means: np.ndarray = squares + squares.mean()
    return means


def _nearest_distances(rows: np.ndarray) -> np.ndarray:
    nearest = np.zeros(len(rows))
    if len(rows) > 1:
        for block, distances in distance_blocks(rows):
            own = np.arange(block.start, block.stop)
            distances[own - block.start, own] = np.inf
            nearest[block] = distances.min(axis=1)
    return nearest


def _mean_cosine_distances(rows: np.ndarray) -> np.ndarray:
    units = normalise_rows(rows)
    means: np.ndarray = 1.0 - units @ units.mean(axis=0)
    return means


_METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cover": _mean_distances,
    "squared": _mean_squared_distances,
    "nearest": _nearest_distances,
    "cosine": _mean_cosine_distances,
}

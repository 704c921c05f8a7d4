"""Sample cover: how far every sample lies from the others of its class."""

from collections.abc import Iterator

import numpy as np

from selectbench.signals import Signals

_BLOCK_BYTES = 1 << 28


def sample_cover(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return E_i = Σ_j ‖h_i − h_j‖ over the samples of i's class: small = redundant (RL-Selector, Section 3).

    Distances are taken block by block as ‖x‖² + ‖y‖² − 2⟨x, y⟩ of features centred on their class, in float64: one matrix product
    a block, bounded memory, and a self-distance of 0 by construction.

    Parameters
    ----------
    features : (N, d)
    labels : (N,) integers

    Returns
    -------
    (N,) float64

    Raises
    ------
    SelectbenchError
        Shapes do not match, or features hold NaN.
    """
    checked = Signals(labels=labels, features=features)
    sums = np.empty(len(checked))
    for label in np.unique(checked.labels):
        members = np.flatnonzero(checked.labels == label)
        sums[members] = sum_distances(np.asarray(checked.features[members], dtype=np.float64))
    return sums


def sum_distances(rows: np.ndarray) -> np.ndarray:
    """Return Σ_j ‖x_i − x_j‖ for every row of (n, d) float64."""
    sums = np.empty(len(rows))
    for block, distances in distance_blocks(rows):
        sums[block] = distances.sum(axis=1)
    return sums


def distance_blocks(rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (which rows, their Euclidean distances to all rows) for (n, d) float64, in blocks of bounded memory."""
    rows = rows - rows.mean(axis=0)
    squares = np.einsum("nd,nd->n", rows, rows)
    height = max(1, _BLOCK_BYTES // (8 * len(rows)))
    for start in range(0, len(rows), height):
        block = slice(start, min(start + height, len(rows)))
        distances = rows[block] @ rows.T
        distances *= -2.0
        distances += squares
        distances += squares[block, None]
        np.maximum(distances, 0.0, out=distances)
        np.sqrt(distances, out=distances)
        distances[np.arange(block.stop - start), np.arange(start, block.stop)] = 0.0
        yield block, distances

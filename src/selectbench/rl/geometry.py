"""Lengths and distances of feature rows that methods and redundancy measures share."""

import numpy as np


def normalise_rows(rows: np.ndarray) -> np.ndarray:
    """Return the rows (N, d) scaled to unit norm; rows of zeros stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def distances_to_prototype(features: np.ndarray, labels: np.ndarray, prototype: str) -> np.ndarray:
    """Return the (N,) Euclidean distances of features (N, d) to the mean of their class, or to its coordinate-wise median.

    Parameters
    ----------
    features : (N, d)
    labels : (N,)
    prototype : ``"mean"`` or ``"median"``
    """
    reduce = np.mean if prototype == "mean" else np.median
    distances = np.empty(len(features))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rows = np.asarray(features[members], dtype=np.float64)
        distances[members] = np.linalg.norm(rows - reduce(rows, axis=0), axis=1)
    return distances

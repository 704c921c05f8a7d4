"""Self-supervised prototypes: the distance to the nearest prototype in a self-supervised embedding space."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.policy import choose_with_floor
from selectbench.rl.geometry import normalise_rows
from selectbench.seeds import derive_seed, hash_ids
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class SSP(Method):
    """k-means on unit-norm embeddings; the score is the cosine distance of a sample to its assigned centroid.

    The default ``tail: high`` keeps far (hard) samples, which the paper recommends when data are plentiful; ``tail: low`` keeps near ones.

    Parameters
    ----------
    clusters : int
        Number of prototypes; 0 means one per class.
    starts : int
        Number of k-means initialisations; the best is used.
    floor : float
        Share of its proportional quota (rounded up) that each class is guaranteed; not used with a class quota.
    """

    clusters: int = 0
    starts: int = 10
    floor: float = 0.5

    citation = "Sorscher et al., Beyond Neural Scaling Laws, NeurIPS 2022, Section 5."
    needs = ("embeddings",)
    ranked = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clusters < 0:
            raise SelectbenchError(f"clusters: {self.clusters} is negative")
        if self.starts < 1:
            raise SelectbenchError(f"starts: {self.starts} is less than 1")
        if not 0 <= self.floor <= 1:
            raise SelectbenchError(f"floor: {self.floor} is outside [0, 1]")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) cosine distances in [0, 2]."""
        signals.require("ssp", "embeddings")
        order = np.argsort(hash_ids(signals.ids, seed), kind="stable")
        units = normalise_rows(np.asarray(signals.embeddings, dtype=np.float64)[order])
        clusters = self.clusters or len(np.unique(signals.labels))
        scores = np.empty(len(signals))
        scores[order] = distances_to_prototypes(units, min(clusters, len(units)), self.starts, derive_seed("ssp", seed))
        return scores

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return ``num_kept`` positions, best first; each class gets at least its floor."""
        if self.quota != "none":
            return super().choose(scores, signals, num_kept, seed)
        return choose_with_floor(scores, num_kept, self.floor, labels=signals.labels, ids=signals.ids, tail=self.tail, seed=seed)


def distances_to_prototypes(units: np.ndarray, clusters: int, starts: int, seed: int) -> np.ndarray:
    """Return the (N,) cosine distances of unit-norm rows (N, d) to their assigned k-means centroids."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with fewer distinct rows than clusters, some prototypes coincide
        fitted = KMeans(clusters, n_init=starts, random_state=seed % 2**32).fit(units)
    prototypes = normalise_rows(fitted.cluster_centers_)
    distances: np.ndarray = np.maximum(0.0, 1.0 - np.einsum("nd,nd->n", units, prototypes[fitted.labels_]))
    return distances

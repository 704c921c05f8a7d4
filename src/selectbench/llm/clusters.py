"""Clusters of texts by their embeddings, overall or within labels, and how coherent they are."""

from fractions import Fraction
from typing import TypedDict

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.seeds import derive_seed, hash_ids

_STARTS = 4  # of k-means
_BITS = 32  # of the seeds that scikit-learn accepts


class Coherence(TypedDict):
    """How coherent clusters are.

    Parameters
    ----------
    sizes, purities : of each cluster: its size, and the share of its most frequent label
    silhouettes : mean silhouette of each cluster's measured samples; None without a measured sample
    silhouette : mean over the measured samples; 0 if there is a single cluster or every cluster has one sample
    purity : share of samples whose label is the most frequent one of their cluster
    neighbours_in_cluster, neighbours_in_label : share of nearest neighbours in the sample's own cluster, and with its own label
    chance_in_cluster, chance_in_label : the same shares expected by chance
    """

    sizes: list[int]
    purities: list[float]
    silhouettes: list[float | None]
    silhouette: float
    purity: float
    neighbours_in_cluster: float
    neighbours_in_label: float
    chance_in_cluster: float
    chance_in_label: float


def cluster_embeddings(embeddings: np.ndarray, labels: np.ndarray, kind: str, num_clusters: int, seed: int) -> np.ndarray:
    """Return the cluster (N,) int64 of every sample.

    Parameters
    ----------
    embeddings : (N, d)
    labels : (N,), used only by ``"stratified"``
    kind : ``"kmeans"``, or ``"stratified"`` for k-means within each label, with clusters in proportion to label counts
    num_clusters : number of clusters, none of which is empty
    seed : for the initialisations

    Raises
    ------
    SelectbenchError
        There are fewer distinct embeddings than clusters, or fewer clusters than labels.
    """
    if kind == "kmeans":
        return run_kmeans(embeddings, num_clusters, seed, "the pool")
    assignment, first = np.empty(len(labels), dtype=np.int64), 0
    for label, count in share_clusters(labels, num_clusters).items():
        members = np.flatnonzero(labels == label)
        assignment[members] = first + run_kmeans(embeddings[members], count, derive_seed(seed, label), f"label {label}")
        first += count
    return assignment


def run_kmeans(embeddings: np.ndarray, num_clusters: int, seed: int, where: str) -> np.ndarray:
    """Return the clusters (n,) found by scikit-learn's k-means."""
    from sklearn.cluster import KMeans

    rows, of_row = np.unique(np.asarray(embeddings, dtype=np.float32), axis=0, return_inverse=True)
    if len(rows) < num_clusters:
        raise SelectbenchError(f"clusters: {where} has {len(rows)} distinct embeddings, too few for {num_clusters} clusters")
    kmeans = KMeans(num_clusters, n_init=_STARTS, random_state=seed % (1 << _BITS))
    found = kmeans.fit_predict(np.asarray(embeddings, dtype=np.float32)).astype(np.int64)
    by_row = np.empty(len(rows), dtype=np.int64)
    by_row[of_row] = found
    return fill_clusters(rows, by_row, num_clusters)[of_row]


def fill_clusters(rows: np.ndarray, assignment: np.ndarray, num_clusters: int) -> np.ndarray:
    """Return the clusters (n,) of distinct rows (n, d) with none empty; k-means may leave empty ones if scales differ greatly.

    An empty cluster gets the row farthest from the mean of its own cluster, among rows that are not alone in theirs.
    """
    filled, rows = assignment.copy(), rows.astype(np.float64)
    for cluster in np.setdiff1d(np.arange(num_clusters), assignment):
        sizes = np.bincount(filled, minlength=num_clusters)
        sums = np.zeros((num_clusters, rows.shape[1]))
        np.add.at(sums, filled, rows)
        means = sums / np.maximum(sizes, 1)[:, None]
        distances = np.where(sizes[filled] > 1, ((rows - means[filled]) ** 2).sum(axis=1), -1.0)
        filled[int(distances.argmax())] = cluster
    return filled


def share_clusters(labels: np.ndarray, num_clusters: int) -> dict[int, int]:
    """Divide clusters among labels in proportion to their counts: at least one each, the rest by largest remainder.

    Raises
    ------
    SelectbenchError
        There are fewer clusters than labels.
    """
    values, counts = np.unique(labels, return_counts=True)
    if num_clusters < len(values):
        raise SelectbenchError(f"clusters: {num_clusters} are too few for {len(values)} labels, each of which needs at least one")
    shares = [Fraction(int(count) * num_clusters, len(labels)) for count in counts]
    places = [max(1, int(share)) for share in shares]
    while sum(places) != num_clusters:
        step = 1 if sum(places) < num_clusters else -1
        open_labels = [index for index in range(len(values)) if step > 0 or places[index] > 1]
        index = max(open_labels, key=lambda index: (step * (shares[index] - places[index]), -index))
        places[index] += step
    return dict(zip(values.tolist(), places, strict=True))


def count_chosen(keep: str | float, num_clusters: int) -> int:
    """Return how many clusters a complete set has: round(keep · clusters), at least one."""
    return max(1, round(float(keep) * num_clusters))


def draw_sets(num_clusters: int, size: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Draw ``count`` random sets of clusters, each sorted; sets may repeat."""
    draws = np.random.default_rng(seed)
    return [tuple(sorted(draws.choice(num_clusters, size, replace=False).tolist())) for _ in range(count)]


def cap_union(assignment: np.ndarray, chosen: tuple[int, ...], most: int, seed: int) -> np.ndarray:
    """Return the samples of the chosen clusters, ascending; if more than ``most``, those with the smallest seeded hashes of their ids."""
    ids = np.flatnonzero(np.isin(assignment, np.array(chosen, dtype=np.int64)))
    if len(ids) <= most:
        return ids
    return np.sort(ids[np.argsort(hash_ids(ids, seed), kind="stable")[:most]])


def describe_clusters(
    embeddings: np.ndarray, labels: np.ndarray, assignment: np.ndarray, *, neighbours: int = 10, sample: int = 2000, seed: int = 0
) -> Coherence:
    """Return how coherent clusters are.

    Parameters
    ----------
    embeddings : (N, d)
    labels, assignment : (N,)
    neighbours : number of nearest other samples to compare cluster and label with, at most all
    sample : number of samples to measure, chosen by seeded hashes; their neighbours may be any samples
    seed : of that choice
    """
    from sklearn.metrics import silhouette_samples

    num_clusters = int(assignment.max()) + 1
    order = np.argsort(hash_ids(np.arange(len(labels)), seed), kind="stable")
    measured = np.sort(order[:sample])
    separable = 1 < len(np.unique(assignment[measured])) < len(measured)
    silhouettes = silhouette_samples(embeddings[measured], assignment[measured]) if separable else np.zeros(len(measured))
    by_cluster = [silhouettes[assignment[measured] == cluster] for cluster in range(num_clusters)]
    counts = [np.bincount(labels[assignment == cluster]) for cluster in range(num_clusters)]
    nearest = find_neighbours(embeddings, measured, min(neighbours, len(labels) - 1))
    return {
        "sizes": np.bincount(assignment, minlength=num_clusters).tolist(),
        "purities": [float(count.max() / count.sum()) for count in counts],
        "silhouettes": [float(values.mean()) if len(values) else None for values in by_cluster],
        "silhouette": float(silhouettes.mean()),
        "purity": float(sum(int(count.max()) for count in counts) / len(labels)),
        "neighbours_in_cluster": float((assignment[nearest] == assignment[measured][:, None]).mean()),
        "neighbours_in_label": float((labels[nearest] == labels[measured][:, None]).mean()),
        "chance_in_cluster": agree_by_chance(assignment),
        "chance_in_label": agree_by_chance(labels),
    }


def find_neighbours(embeddings: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Return the ``count`` nearest other samples (len(rows), count) of some samples."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=count + 1).fit(embeddings).kneighbors(embeddings[rows], return_distance=False)
    others = found != rows[:, None]
    others[others.all(axis=1), -1] = False  # with many duplicates, a sample need not be its own neighbour
    neighbours: np.ndarray = found[others].reshape(len(rows), count)
    return neighbours


def agree_by_chance(groups: np.ndarray) -> float:
    """Return the probability that two different samples belong to the same group."""
    counts = np.bincount(groups).astype(np.float64)
    return float((counts * (counts - 1)).sum() / (len(groups) * (len(groups) - 1)))

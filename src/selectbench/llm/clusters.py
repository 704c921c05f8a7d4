"""Clusters of texts by their embeddings, plain or inside labels, and how coherent they are."""

from fractions import Fraction

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.seeds import derive_seed, hash_ids

_STARTS = 4  # of k-means
_BITS = 32  # of the seeds that scikit-learn takes


def cluster_embeddings(embeddings: np.ndarray, labels: np.ndarray, kind: str, num_clusters: int, seed: int) -> np.ndarray:
    """Return the cluster (N,) int64 of every sample.

    Parameters
    ----------
    embeddings : (N, d)
    labels : (N,), read by ``"stratified"`` alone
    kind : ``"kmeans"``, or ``"stratified"`` for k-means inside each label, with clusters in proportion to the labels
    num_clusters : of which none is empty
    seed : of the starts

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
    """Return the clusters (n,) of scikit-learn's k-means."""
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
    """Return the clusters (n,) of distinct rows (n, d) with none empty: k-means may leave some where scales differ by much.

    An empty cluster takes the row farthest from the mean of its own cluster, of those that have another row.
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
    """Share clusters among labels in proportion to their counts: one each, the rest by largest remainder.

    Raises
    ------
    SelectbenchError
        There are fewer clusters than labels.
    """
    values, counts = np.unique(labels, return_counts=True)
    if num_clusters < len(values):
        raise SelectbenchError(f"clusters: {num_clusters} are too few for {len(values)} labels, which have one each at least")
    shares = [Fraction(int(count) * num_clusters, len(labels)) for count in counts]
    places = [max(1, int(share)) for share in shares]
    while sum(places) != num_clusters:
        step = 1 if sum(places) < num_clusters else -1
        open_labels = [index for index in range(len(values)) if step > 0 or places[index] > 1]
        index = max(open_labels, key=lambda index: (step * (shares[index] - places[index]), -index))
        places[index] += step
    return dict(zip(values.tolist(), places, strict=True))


def cap_union(assignment: np.ndarray, chosen: tuple[int, ...], most: int, seed: int) -> np.ndarray:
    """Return the samples of the chosen clusters, ascending; of more than ``most``, those of the least seeded hashes of their ids."""
    ids = np.flatnonzero(np.isin(assignment, np.array(chosen, dtype=np.int64)))
    if len(ids) <= most:
        return ids
    return np.sort(ids[np.argsort(hash_ids(ids, seed), kind="stable")[:most]])


def describe_clusters(
    embeddings: np.ndarray, labels: np.ndarray, assignment: np.ndarray, *, neighbours: int = 10, sample: int = 2000, seed: int = 0
) -> dict:
    """Return how coherent clusters are.

    Parameters
    ----------
    embeddings : (N, d)
    labels, assignment : (N,)
    neighbours : nearest other samples that are asked for their cluster and label; all of them where there are fewer
    sample : samples of which silhouettes and neighbours are measured, by seeded hashes; all others are candidates still
    seed : of that choice

    Returns
    -------
    By cluster ``sizes``, ``purities`` (share of the largest label) and ``silhouettes`` (None without a measured sample); over
    samples ``silhouette`` (0 where clusters of one sample or a single cluster leave none), ``purity``, the shares
    ``neighbours_in_cluster`` and ``neighbours_in_label`` of nearest neighbours with the sample's own, and the shares by chance,
    ``chance_in_cluster`` and ``chance_in_label``.
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
    """Return the nearest other samples (len(rows), count) of some samples."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=count + 1).fit(embeddings).kneighbors(embeddings[rows], return_distance=False)
    others = found != rows[:, None]
    others[others.all(axis=1), -1] = False  # among many duplicates a sample need not be its own neighbour
    return found[others].reshape(len(rows), count)


def agree_by_chance(groups: np.ndarray) -> float:
    """Return the chance that two different samples are of one group."""
    counts = np.bincount(groups).astype(np.float64)
    return float((counts * (counts - 1)).sum() / (len(groups) * (len(groups) - 1)))

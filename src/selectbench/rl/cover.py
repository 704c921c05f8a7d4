"""Sample cover: how far each sample lies from the others of its class, and which of them lie within ε of it."""

import heapq
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, overload

import numpy as np

from selectbench.arrays import as_array, is_tensor
from selectbench.errors import SelectbenchError, needing_packages
from selectbench.signals import Signals

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

_BLOCK_BYTES = 1 << 28
_SUM_BYTES, _LEAST_ROWS, _LEAST_BLOCKS = 1 << 21, 64, 8  # blocks that are only summed fit the processor's cache
_NEAR_EPSILON = 1e-6  # pairs whose distance is within this relative margin of ε are measured again, from differences


@overload
def sample_cover(features: np.ndarray, labels: "np.ndarray | torch.Tensor") -> np.ndarray: ...


@overload
def sample_cover(features: "torch.Tensor", labels: "np.ndarray | torch.Tensor") -> "torch.Tensor": ...


def sample_cover(features: "np.ndarray | torch.Tensor", labels: "np.ndarray | torch.Tensor") -> "np.ndarray | torch.Tensor":
    """Return E_i = Σ_j ‖h_i − h_j‖ over the samples j of i's class; small = redundant (RL-Selector, Section 3).

    Distances are computed block by block in float64 as ‖x‖² + ‖y‖² − 2⟨x, y⟩ on class-centred features: one matrix product per
    block, bounded memory, and self-distances of 0 by construction. If the features are a torch tensor, they stay on its device.

    Parameters
    ----------
    features : (N, d), an array or a torch tensor
    labels : (N,) integers

    Returns
    -------
    (N,) float64; a tensor on the features' device if the features are a tensor, otherwise an array.

    Raises
    ------
    SelectbenchError
        Shapes do not match, or the features contain NaN.
    """
    if is_tensor(features):
        return _sample_cover_of_tensor(features, labels)
    checked = Signals(labels=as_array("labels", labels, "integers"), features=features)
    rows, sums = np.asarray(checked.features), np.empty(len(checked))
    for label in np.unique(checked.labels):
        members = np.flatnonzero(checked.labels == label)
        sums[members] = sum_distances(rows[members])
    return sums


def split_classes(signals: Signals) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, per class in ascending label order, its positions (n_c,) and their features (n_c, d) in float64."""
    features = np.asarray(signals.features)
    for label in np.unique(signals.labels):
        members = np.flatnonzero(signals.labels == label)
        yield members, np.asarray(features[members], dtype=np.float64)


def sum_distances(rows: np.ndarray) -> np.ndarray:
    """Return Σ_j ‖x_i − x_j‖ (n,) float64 for every row of (n, d).

    Each block of rows is compared only with itself and later rows, and its distances are added to both sides. The matrix product
    accumulates into a buffer that already holds the sums of squared norms, and so yields squared distances directly.
    """
    with needing_packages("sample cover"):
        from scipy.linalg.blas import dgemm

    rows = np.subtract(rows, rows.mean(axis=0, dtype=np.float64), dtype=np.float64)
    num, squares = len(rows), np.einsum("nd,nd->n", rows, rows)
    sums = np.zeros(num)
    for block in split_rows(num, num, min(max(_SUM_BYTES, 8 * num * _LEAST_ROWS), 8 * num * max(1, num // _LEAST_BLOCKS))):
        added = np.add.outer(squares[block], squares[block.start :])
        distances = dgemm(-2.0, rows[block.start :].T, rows[block].T, 1.0, added.T, trans_a=True, overwrite_c=True).T
        np.fill_diagonal(distances, 0.0)
        if distances.min() < 0.0:
            np.maximum(distances, 0.0, out=distances)
        np.sqrt(distances, out=distances)
        sums[block] += distances.sum(axis=1)
        sums[block.stop :] += distances[:, block.stop - block.start :].sum(axis=0)
    return sums


def distance_blocks(rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice of rows, their Euclidean distances to all rows) for rows (n, d) float64, in blocks of bounded memory."""
    rows = rows - rows.mean(axis=0)
    squares = np.einsum("nd,nd->n", rows, rows)
    for block in split_rows(len(rows), len(rows), _BLOCK_BYTES):
        distances = rows[block] @ rows.T
        distances *= -2.0
        distances += squares
        distances += squares[block, None]
        np.maximum(distances, 0.0, out=distances)
        np.sqrt(distances, out=distances)
        distances[np.arange(block.stop - block.start), np.arange(block.start, block.stop)] = 0.0
        yield block, distances


def split_rows(num: int, width: int, num_bytes: int) -> Iterator[slice]:
    """Yield slices of ``num`` rows; with ``width`` float64 numbers per row, each fits into a block of this size."""
    height = max(1, num_bytes // (8 * max(1, width)))
    for start in range(0, num, height):
        yield slice(start, min(start + height, num))


def _sample_cover_of_tensor(features: "torch.Tensor", labels: "np.ndarray | torch.Tensor") -> "torch.Tensor":
    """Return ``sample_cover`` of a tensor; it uses only the tensor's own methods, so torch is not imported."""
    known = Signals(labels=as_array("labels", labels, "integers")).labels
    if features.ndim != 2 or len(features) != len(known):
        raise SelectbenchError(f"features: shape {tuple(features.shape)} does not fit {len(known)} labels")
    if not bool(features.isfinite().all()):
        raise SelectbenchError("features: holds NaN or infinity")
    sums = features.detach().new_empty(len(known)).double()
    for label in np.unique(known):
        members = np.flatnonzero(known == label)
        sums[members] = _sum_distances_of_tensor(features.detach()[members].double())
    return sums


def _sum_distances_of_tensor(rows: "torch.Tensor") -> "torch.Tensor":
    rows = rows - rows.mean(dim=0)
    squares = rows.square().sum(dim=1)
    sums = rows.new_empty(len(rows))
    for block in split_rows(len(rows), len(rows), _BLOCK_BYTES):
        distances = (rows[block] @ rows.T).mul_(-2.0).add_(squares).add_(squares[block, None]).clamp_(min=0.0).sqrt_()
        distances[:, block].fill_diagonal_(0.0)
        sums[block] = distances.sum(dim=1)
    return sums


def cover_relation(features: np.ndarray, labels: np.ndarray, epsilon: float) -> "csr_array":
    """Return which samples ε-cover each other: i ≠ j in the same class with ‖h_i − h_j‖ ≤ ε (RL-Selector, Section 3).

    The diagonal is left out; functions that read the relation add that every sample covers itself. Distances near ε are computed
    from differences instead of matrix products, so that pairs at exactly ε, or equal samples when ε = 0, are included.

    Parameters
    ----------
    features : (N, d)
    labels : (N,) integers
    epsilon : ε ≥ 0

    Returns
    -------
    (N, N) boolean sparse array, symmetric, with sorted indices.

    Raises
    ------
    SelectbenchError
        Shapes do not match, the features contain NaN, or ε is negative or not finite.
    """
    from scipy.sparse import csr_array

    if not 0 <= epsilon < math.inf:
        raise SelectbenchError(f"epsilon: {epsilon!r} is not a distance; it must be finite and at least 0")
    checked = Signals(labels=as_array("labels", labels, "integers"), features=features)
    firsts, seconds = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for members, rows in split_classes(checked):
        for block, near in near_blocks(rows, epsilon):
            first, second = np.nonzero(near)
            firsts.append(members[first + block.start])
            seconds.append(members[second])
    pairs = np.concatenate(firsts), np.concatenate(seconds)
    relation = csr_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(len(checked), len(checked)))
    relation.sort_indices()
    return relation


def near_blocks(rows: np.ndarray, epsilon: float) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice of rows i, bool matrix of the rows j ≠ i within ε) for rows (n, d) float64, in blocks of bounded memory."""
    surely_within, maybe_within = _bracket(rows, epsilon)
    for block, distances in distance_blocks(rows):
        near = distances <= surely_within
        first, second = np.nonzero((distances > surely_within) & (distances <= maybe_within))
        near[first, second] = pair_distances(rows, first + block.start, second) <= epsilon
        near[np.arange(block.stop - block.start), np.arange(block.start, block.stop)] = False
        yield block, near


def _bracket(rows: np.ndarray, epsilon: float) -> tuple[float, float]:
    """Return two bounds on distances from matrix products: pairs up to the first are surely within ε, pairs beyond the second are not.

    Squared distances are off by less than 4(d + 8) roundings of the largest ‖x‖² (centred).
    """
    largest = np.square(rows - rows.mean(axis=0)).sum(axis=1).max()
    epsilon = min(epsilon, 4.0 * math.sqrt(largest))
    slack = 2.0 * _NEAR_EPSILON * epsilon**2 + 4.0 * (rows.shape[1] + 8) * np.finfo(np.float64).eps * largest
    within = epsilon**2 - slack
    return (math.sqrt(within) if within >= 0 else -1.0), math.sqrt(epsilon**2 + slack)


def pair_distances(rows: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return ‖x_i − x_j‖ (P,) of P pairs in float64, from differences: equal rows are at distance 0, and (j, i) agrees with (i, j)."""
    distances = np.empty(len(first))
    height = max(1, _BLOCK_BYTES // (16 * max(1, rows.shape[1])))
    for start in range(0, len(first), height):
        block = slice(start, start + height)
        differences = np.asarray(rows[first[block]], dtype=np.float64) - rows[second[block]]
        distances[block] = np.sqrt(np.einsum("pd,pd->p", differences, differences))
    return distances


def cover_counts(relation: "csr_array") -> np.ndarray:
    """Return how many other samples cover each sample (N,); 0 if only the sample itself does."""
    return np.diff(relation.indptr).astype(np.int64)


def coverage(relation: "csr_array", subset: np.ndarray) -> float:
    """Return the share of all samples that a subset of positions (k,) covers; its members cover themselves."""
    covered = np.zeros(relation.shape[0], dtype=bool)
    covered[subset] = True
    covered[relation[np.asarray(subset, dtype=np.int64)].indices] = True
    return float(covered.mean())


def greedy_cover(relation: "csr_array", keys: np.ndarray) -> np.ndarray:
    """Return the positions of a greedy cover of all samples, in the order in which they are taken.

    Each step takes the sample that covers the most uncovered samples, itself included; the result is at most 1 + ln N times as
    large as the smallest cover (Chvátal, A Greedy Heuristic for the Set-Covering Problem, 1979).

    Parameters
    ----------
    relation : (N, N), as returned by ``cover_relation``
    keys : (N,) numbers that break ties; the smallest key wins

    Returns
    -------
    (m,) int64, m ≤ N
    """

    def neighbours(sample: int) -> np.ndarray:
        found: np.ndarray = relation.indices[relation.indptr[sample] : relation.indptr[sample + 1]]
        return found

    num = relation.shape[0]
    return cover_greedily(neighbours, np.ones(num, dtype=bool), cover_counts(relation), keys, num)


def cover_greedily(
    neighbours: Callable[[int], np.ndarray], left: np.ndarray, degrees: np.ndarray, keys: np.ndarray, most: int
) -> np.ndarray:
    """Return the positions of a greedy cover of the remaining samples by each other, in the order in which they are taken.

    The number of samples that a sample newly covers can only shrink (coverage is submodular), so an old count is an upper bound:
    a heap yields the largest bound, and a sample is taken if its updated count is still the largest (lazy greedy, Minoux 1978).

    Parameters
    ----------
    neighbours : maps a sample to the positions of the other samples it covers
    left : (N,) bool, the remaining samples, to cover and to cover with
    degrees : (N,) how many other remaining samples each one covers
    keys : (N,) break ties, smallest first
    most : after how many samples to stop, whether or not they cover all

    Returns
    -------
    (m,) positions, m ≤ most
    """
    uncovered = left.copy()
    order: list[int] = []
    samples = np.flatnonzero(left)
    heap = list(zip((-1 - degrees[samples]).tolist(), keys[samples].tolist(), samples.tolist(), strict=True))
    heapq.heapify(heap)
    waiting = len(samples)
    while waiting and len(order) < most:
        bound, key, sample = heapq.heappop(heap)
        near = neighbours(sample)
        newly = int(uncovered[sample]) + int(np.count_nonzero(uncovered[near]))
        if newly == -bound:
            order.append(sample)
            uncovered[near] = uncovered[sample] = False
            waiting -= newly
        elif newly:
            heapq.heappush(heap, (-newly, key, sample))
    return np.array(order, dtype=np.int64)

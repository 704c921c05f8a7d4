"""Empirical checks of the propositions behind ε-sample cover: close samples have similar outputs, gradients and removal effects."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.special import logsumexp, softmax
from torch import nn

from selectbench.errors import SelectbenchError
from selectbench.rl.cover import distance_blocks, pair_distances, split_classes
from selectbench.seeds import derive_seed, hash_ids
from selectbench.signals import Signals, softmax_residuals
from selectbench.training.gradients import add_squares, count_rows, differentiate_samples, split_state

Load = Callable[[np.ndarray], tuple[torch.Tensor, torch.Tensor]]  # positions → inputs and labels
Factor = tuple[np.ndarray, bool]  # a Cholesky factor, as returned by ``scipy.linalg.cho_factor``

_MAX_PAIRS = 1 << 22  # largest number of same-class pairs that ``sample_pairs`` ranks
_TOLERANCE = 1e-10  # a regression has converged once its gradient norm is below this
_MAX_STEPS = 200


def sample_pairs(features: np.ndarray, labels: np.ndarray, num_pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw same-class pairs stratified by distance: pairs are ranked, split into P equal strata, and one is drawn from each.

    If there are too many pairs to rank (more than 2²² in all), classes are first reduced to equally many samples, by the seeded
    hash of their positions.

    Parameters
    ----------
    features : (N, d)
    labels : (N,) integers
    num_pairs : P; if there are no more pairs, all are returned
    seed : for the draws

    Returns
    -------
    (P,) positions i, (P,) positions j > i, and (P,) distances ‖h_i − h_j‖, ascending up to rounding.

    Raises
    ------
    SelectbenchError
        No class has two samples, or fewer than one pair is requested.
    """
    checked = Signals(labels=labels, features=features)
    rows = np.asarray(checked.features)
    limit = max(2, math.isqrt(2 * _MAX_PAIRS // len(np.unique(checked.labels))))
    kept = keep_per_class(checked.labels, limit, seed)
    classes = split_classes(Signals(checked.labels[kept], rows[kept]))
    triples = [_list_pairs(kept[members], of_class) for members, of_class in classes]
    first, second, distances = (np.concatenate(parts) for parts in zip(*triples, strict=True))
    if not len(first) or num_pairs < 1:
        raise SelectbenchError(f"pairs: cannot draw {num_pairs} of {len(first)} same-class pairs")
    order = np.lexsort((second, first, distances))
    if len(order) > num_pairs:
        draws = np.random.default_rng(derive_seed("theory", "pairs", seed)).random(num_pairs)
        bounds = np.arange(num_pairs + 1) * len(order) // num_pairs
        order = order[bounds[:-1] + (draws * np.diff(bounds)).astype(np.int64)]
    first, second = first[order], second[order]
    return first, second, pair_distances(rows, first, second)


def keep_per_class(labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Return ascending positions of at most ``limit`` samples per class, chosen by the seeded hash of their positions."""
    keys = hash_ids(np.arange(len(labels)), derive_seed("theory", "classes", seed))
    members = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return np.sort(np.concatenate([some[np.argsort(keys[some], kind="stable")[:limit]] for some in members]))


def _list_pairs(members: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs i < j of ascending members and their distances."""
    distances = [block_distances[_above_diagonal(block, len(rows))] for block, block_distances in distance_blocks(rows)]
    first, second = np.triu_indices(len(rows), 1)
    return members[first], members[second], np.concatenate(distances)


def _above_diagonal(block: slice, num: int) -> np.ndarray:
    above: np.ndarray = np.arange(num) > np.arange(block.start, block.stop)[:, None]
    return above


def measure_outputs(logits: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return ‖z_i − z_j‖ for every pair (P,); by the first proposition it is at most proportional to ε.

    Parameters
    ----------
    logits : (N, C)
    first, second : (P,) positions
    """
    return pair_distances(logits, first, second)


def measure_losses(logits: np.ndarray, labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return |ℓ_i − ℓ_j| for every pair (P,), where ℓ is the cross-entropy; by the second proposition it vanishes with ε."""
    losses = cross_entropies(np.asarray(logits, dtype=np.float64), labels)
    differences: np.ndarray = np.abs(losses[first] - losses[second])
    return differences


def cross_entropies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return log Σ_c e^{z_c} − z_y (N,) for every row (N, C)."""
    losses: np.ndarray = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return losses


def measure_gradients(model: nn.Module, load: Load, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance between the loss gradients of every pair; by the third proposition they nearly agree for small ε.

    Gradients are taken over all trainable parameters, for as many pairs at a time as fit into ``spare_bytes``.

    Parameters
    ----------
    model : in evaluation mode
    load : maps positions (B,) to their inputs and labels, on the model's device
    first, second : (P,) positions

    Returns
    -------
    ‖g_i − g_j‖ (P,) and ‖g_i − g_j‖ / (‖g_i‖ + ‖g_j‖) (P,), float64; the latter is 0 where both gradients vanish.

    Raises
    ------
    SelectbenchError
        The model is in training mode.
    """
    parameters, buffers = split_state(model)
    step = count_rows(parameters, 8)

    gradients_of = differentiate_samples(model, buffers)
    apart: list[torch.Tensor] = []
    norms: list[torch.Tensor] = []
    for start in range(0, len(first), step):
        samples, places = np.unique(np.stack([first[start : start + step], second[start : start + step]]), return_inverse=True)
        gradients = gradients_of(parameters, *load(samples))
        left, right = torch.from_numpy(places.reshape(2, -1)).to(next(iter(gradients.values())).device)
        apart.append(add_squares(value[left] - value[right] for value in gradients.values()).sqrt())
        lengths = add_squares(gradients.values()).sqrt()
        norms.append(lengths[left] + lengths[right])
    differences: np.ndarray = torch.cat(apart).cpu().numpy()
    return differences, share_of_sum(differences, torch.cat(norms).cpu().numpy())


@dataclass(frozen=True, eq=False)
class Regression:
    """L2-regularised softmax regression: minimise Σ_i w_i ℓ_i(θ) + ½ ridge ‖θ‖², which is strictly convex in θ (C, d).

    Parameters
    ----------
    rows : (N, d) float64; a constant column gives an intercept, regularised like the other weights
    labels : (N,) in 0 … C−1
    num_classes : C
    ridge : > 0; scikit-learn's C is 1 / ridge
    """

    rows: np.ndarray
    labels: np.ndarray
    num_classes: int
    ridge: float


def measure_gradient(problem: Regression, theta: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the gradient (C, d) of the weighted objective, ridge included."""
    residuals = softmax_residuals(problem.rows @ theta.T, problem.labels)
    gradient: np.ndarray = (residuals * weights[:, None]).T @ problem.rows + problem.ridge * theta
    return gradient


def factorise_hessian(problem: Regression, theta: np.ndarray, weights: np.ndarray) -> Factor:
    """Return the Cholesky factor of the objective's Hessian (C·d, C·d) with blocks Xᵀ diag(w p_a (1[a=b] − p_b)) X."""
    num, dimension = theta.shape
    probabilities = softmax(problem.rows @ theta.T, axis=1)
    hessian = np.empty((num, dimension, num, dimension))
    for a in range(num):
        for b in range(a + 1):
            curvature = weights * probabilities[:, a] * (float(a == b) - probabilities[:, b])
            hessian[a, :, b] = (problem.rows * curvature[:, None]).T @ problem.rows
            hessian[b, :, a] = hessian[a, :, b]
    matrix = hessian.reshape(theta.size, theta.size)
    matrix[np.diag_indices_from(matrix)] += problem.ridge
    return cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)


def solve_hessian(factor: Factor, vectors: np.ndarray) -> np.ndarray:
    """Return H⁻¹v for vectors (…, C, d)."""
    flat = vectors.reshape(-1, factor[0].shape[0]).T
    return cho_solve(factor, flat, check_finite=False).T.reshape(vectors.shape)


def fit_regression(problem: Regression, weights: np.ndarray, start: np.ndarray | None = None, factor: Factor | None = None) -> np.ndarray:
    """Return the optimum θ (C, d), computed by Newton's method until the gradient norm is below 1e-10.

    A given Hessian factor is reused as long as each step halves the gradient norm. Otherwise the Hessian is factorised at the
    current iterate, and the step is shortened until the norm decreases.

    Parameters
    ----------
    problem : the regression to solve
    weights : (N,) w_i
    start : (C, d), zeros by default
    factor : Cholesky factor of the Hessian near ``start``

    Raises
    ------
    SelectbenchError
        No convergence after 200 steps.
    """
    theta = np.zeros((problem.num_classes, problem.rows.shape[1])) if start is None else start
    gradient = measure_gradient(problem, theta, weights)
    norm = float(np.linalg.norm(gradient))
    for _ in range(_MAX_STEPS):
        if norm < _TOLERANCE:
            return theta
        if factor is not None:
            moved = theta - solve_hessian(factor, gradient)
            slope = measure_gradient(problem, moved, weights)
            if np.linalg.norm(slope) <= 0.5 * norm:
                theta, gradient, norm = moved, slope, float(np.linalg.norm(slope))
                continue
        factor = factorise_hessian(problem, theta, weights)
        theta, gradient = _descend(problem, theta, weights, solve_hessian(factor, gradient), norm)
        norm = float(np.linalg.norm(gradient))
    raise SelectbenchError(f"regression: gradient norm {norm:.2g} after {_MAX_STEPS} steps; raise ridge above {problem.ridge:g}")


def _descend(problem: Regression, theta: np.ndarray, weights: np.ndarray, step: np.ndarray, norm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return θ − t·step and its gradient, where t is the first of 1, ½, ¼, … that lowers the gradient norm, or 2⁻³⁰ if none does."""
    for halvings in range(31):
        moved = theta - 0.5**halvings * step
        gradient = measure_gradient(problem, moved, weights)
        if np.linalg.norm(gradient) < norm:
            break
    return moved, gradient


def sample_gradients(problem: Regression, theta: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return ∇ℓ_i (S, C, d) for the given samples, without the ridge."""
    residuals = softmax_residuals(problem.rows[samples] @ theta.T, problem.labels[samples])
    gradients: np.ndarray = residuals[:, :, None] * problem.rows[samples][:, None, :]
    return gradients


def predict_removals(problem: Regression, theta: np.ndarray, factor: Factor, samples: np.ndarray) -> np.ndarray:
    """Return H⁻¹∇ℓ_i (S, C, d), the first-order change of the optimum when sample i is left out (Koh and Liang, 2017, Section 2.1)."""
    return solve_hessian(factor, sample_gradients(problem, theta, samples))


def retrain_without(problem: Regression, theta: np.ndarray, factor: Factor, samples: np.ndarray) -> np.ndarray:
    """Return θ₋ᵢ − θ (S, C, d), the actual change of the optimum when sample i is left out, each refitted starting from θ."""
    moves = np.empty((len(samples), *theta.shape))
    weights = np.ones(len(problem.labels))
    for place, sample in enumerate(samples):
        weights[sample] = 0.0
        moves[place] = fit_regression(problem, weights, theta, factor) - theta
        weights[sample] = 1.0
    return moves


@dataclass(frozen=True, eq=False)
class Removals:
    """The effects of leaving out each of S samples: predicted by influence functions, and measured by retraining.

    Parameters
    ----------
    predicted, real : (S, C, d) predicted and measured changes of the parameters
    predicted_losses, real_losses : (S,) predicted and measured changes of the mean held-out loss
    """

    predicted: np.ndarray
    real: np.ndarray
    predicted_losses: np.ndarray
    real_losses: np.ndarray


def measure_removals(problem: Regression, held_out: Regression, samples: np.ndarray) -> Removals:
    """Fit a regression, leave out each of the samples (S,) in turn, and return the effects on its parameters and the held-out loss."""
    weights = np.ones(len(problem.labels))
    theta = fit_regression(problem, weights)
    factor = factorise_hessian(problem, theta, weights)
    predicted = predict_removals(problem, theta, factor, samples)
    real = retrain_without(problem, theta, factor, samples)
    slope = sample_gradients(held_out, theta, np.arange(len(held_out.labels))).mean(axis=0)
    before = mean_loss(held_out, theta)
    return Removals(
        predicted=predicted,
        real=real,
        predicted_losses=np.einsum("scd,cd->s", predicted, slope),
        real_losses=np.array([mean_loss(held_out, theta + move) - before for move in real]),
    )


def mean_loss(problem: Regression, theta: np.ndarray) -> float:
    """Return the mean cross-entropy, without the ridge."""
    return float(cross_entropies(problem.rows @ theta.T, problem.labels).mean())


def make_regressions(train: Signals, held_out: Signals, ridge: float, max_components: int) -> tuple[Regression, Regression]:
    """Return the regressions on a pool's features and on held-out features, both standardised by the pool, with a constant column.

    Parameters
    ----------
    train : features (N, d) and labels
    held_out : features (M, d) and labels, all of which occur in ``train``
    ridge : of the regression
    max_components : if d is larger, features are projected onto this many leading principal components of the pool

    Raises
    ------
    SelectbenchError
        A held-out label does not occur in the pool.
    """
    classes, labels = np.unique(train.labels, return_inverse=True)
    if not np.isin(held_out.labels, classes).all():
        raise SelectbenchError("held-out labels: some do not occur in the pool")
    features = np.asarray(train.features, dtype=np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > 1e-9 * np.abs(features).max(axis=0), deviation, 1.0)
    standard = (features - mean) / scale
    directions = np.eye(features.shape[1])
    if features.shape[1] > max_components:
        directions = np.linalg.eigh(standard.T @ standard)[1][:, -max_components:]

    def prepare(rows: np.ndarray) -> np.ndarray:
        return np.column_stack([rows @ directions, np.ones(len(rows))])

    others = prepare((np.asarray(held_out.features, dtype=np.float64) - mean) / scale)
    return (
        Regression(prepare(standard), labels, len(classes), ridge),
        Regression(others, np.searchsorted(classes, held_out.labels), len(classes), ridge),
    )


def decile_medians(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the median y over the 10 % of points with the smallest x, and over the 10 % with the largest."""
    order = np.argsort(x, kind="stable")
    tenth = max(1, len(order) // 10)
    return float(np.median(y[order[:tenth]])), float(np.median(y[order[-tenth:]]))


def share_of_sum(difference: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return |a − b| / (|a| + |b|) in [0, 1], given the differences and totals (P,); 0 where the total is 0."""
    shares: np.ndarray = np.divide(difference, total, out=np.zeros_like(difference), where=total > 0)
    return shares


def largest_ratio(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return max y/x over the points with x > 0, the smallest K with y ≤ K x; None if there are no such points."""
    apart = x > 0
    return float((y[apart] / x[apart]).max()) if apart.any() else None


def relative_error(predicted: np.ndarray, real: np.ndarray) -> float | None:
    """Return the median of ‖predicted − real‖ / ‖real‖ over the rows where it is defined; None if there are none."""
    predicted, real = predicted.reshape(len(real), -1), real.reshape(len(real), -1)
    norms = np.linalg.norm(real, axis=1)
    errors = np.linalg.norm(predicted - real, axis=1)[norms > 0] / norms[norms > 0]
    return float(np.median(errors)) if len(errors) else None

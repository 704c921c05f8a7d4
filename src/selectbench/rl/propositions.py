"""The propositions behind ε-sample cover as measurements: feature distances of pairs against differences in output, gradient, removal."""

from typing import TypedDict

import numpy as np
import torch

from selectbench.rl import theory
from selectbench.rl.ranks import rank_correlation
from selectbench.seeds import hash_ids
from selectbench.signals import Signals
from selectbench.training.engine import predict
from selectbench.training.pools import Pool

_POINTS = 400  # per proposition in the record; statistics use all pairs
_DISTANCE = "feature distance of two samples of one class"

# The regression from which samples are left out; no paper specifies one, and these limits keep it to seconds.
RIDGE, MAX_COMPONENTS, MAX_CLASSES, MAX_PER_CLASS, MAX_PAIRS = 1.0, 128, 10, 500, 200


class Proposition(TypedDict):
    """A proposition's measurements in the record.

    Parameters
    ----------
    x_label, y_label : axes of its figure
    x, y : points, thinned evenly along x and rounded
    num : number of points before thinning
    statistic : name → value over all points, None where it is not defined
    """

    x_label: str
    y_label: str
    x: list[float]
    y: list[float]
    num: int
    statistic: dict[str, float | None]


@torch.no_grad()
def read_features(model: torch.nn.Module, pool: Pool) -> Signals:
    """Return a split's labels, penultimate features (N, d) and logits (1, N, C)."""
    parts = [(features.cpu().numpy(), logits.cpu().numpy()) for _, features, logits in predict(model, pool)]
    features, logits = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Signals(labels=pool.labels.cpu().numpy(), features=features, logits=logits)


def measure_closeness(model: torch.nn.Module, pool: Pool, signals: Signals, num_pairs: int, seed: int) -> dict[str, Proposition]:
    """Measure how outputs, losses and gradients of same-class pairs differ, depending on their feature distance.

    Parameters
    ----------
    model : in evaluation mode
    pool : where images come from
    signals : this model's features of the pool
    num_pairs : largest number of pairs
    seed : for the draws

    Returns
    -------
    Measurements by name of the proposition.
    """
    first, second, distances = theory.sample_pairs(np.asarray(signals.features), signals.labels, num_pairs, seed)
    logits = np.asarray(read_features(model, pool).logits)[0]

    def load(positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return pool.normalise(pool.load(positions)), pool.labels[torch.from_numpy(positions).to(pool.device)]

    gradients, relative = theory.measure_gradients(model, load, first, second)
    measured = {
        "outputs": ("difference of outputs", theory.measure_outputs(logits, first, second)),
        "losses": ("difference of losses", theory.measure_losses(logits, signals.labels, first, second)),
        "gradients": ("difference of gradients", gradients),
        "gradients_relative": ("difference of gradients / sum of their norms", relative),
    }
    return {name: describe(_DISTANCE, y_label, distances, y, compare(distances, y)) for name, (y_label, y) in measured.items()}


def measure_leaving_out(signals: Signals, held_out: Signals, num_pairs: int, seed: int) -> dict[str, Proposition]:
    """Measure how the effects of removing either sample of a pair differ, depending on their distance, and how influence predicts them.

    Parameters
    ----------
    signals : labels and features of the pool
    held_out : labels and features of the test set on which the loss is measured
    num_pairs : largest number of pairs
    seed : for the draws

    Returns
    -------
    Measurements by name of the proposition.
    """
    train, test = cut_classes(signals, held_out, seed)
    first, second, distances = theory.sample_pairs(np.asarray(train.features), train.labels, min(num_pairs, MAX_PAIRS), seed)
    samples, places = np.unique(np.stack([first, second]), return_inverse=True)
    left, right = places.reshape(2, -1)
    removals = theory.measure_removals(*theory.make_regressions(train, test, RIDGE, MAX_COMPONENTS), samples)
    moves = removals.real.reshape(len(samples), -1)
    norms, shifts = np.linalg.norm(moves, axis=1), np.abs(removals.real_losses)
    predicted_norms = np.linalg.norm(removals.predicted.reshape(len(samples), -1), axis=1)

    def describe_pairs(y_label: str, apart: np.ndarray, sizes: np.ndarray) -> Proposition:
        near, far = theory.decile_medians(distances, theory.share_of_sum(apart, sizes[left] + sizes[right]))
        extra = {"median_change": float(np.median(sizes)), "near_relative": near, "far_relative": far}
        return describe(_DISTANCE, y_label, distances, apart, {**compare(distances, apart), **extra})

    return {
        "removal_parameters": describe_pairs(
            "parameters without the one − without the other", np.linalg.norm(moves[left] - moves[right], axis=1), norms
        ),
        "removal_test_loss": describe_pairs(
            "test loss without the one − without the other", np.abs(removals.real_losses[left] - removals.real_losses[right]), shifts
        ),
        "influence": describe(
            "change of test loss predicted by influence",
            "change of test loss after retraining without the sample",
            removals.predicted_losses,
            removals.real_losses,
            {
                "spearman": rank_correlation(removals.predicted_losses, removals.real_losses),
                "relative_error": theory.relative_error(removals.predicted_losses, removals.real_losses),
                "parameters_spearman": rank_correlation(predicted_norms, norms),
                "parameters_relative_error": theory.relative_error(removals.predicted, removals.real),
            },
        ),
    }


def cut_classes(signals: Signals, held_out: Signals, seed: int) -> tuple[Signals, Signals]:
    """Return at most 500 samples each from at most 10 classes of the pool, chosen by seeded hashes, and the held-out samples of these."""
    classes = np.unique(signals.labels)
    chosen = classes[np.argsort(hash_ids(classes, seed), kind="stable")[:MAX_CLASSES]]
    inside = np.flatnonzero(np.isin(signals.labels, chosen))
    kept = inside[theory.keep_per_class(signals.labels[inside], MAX_PER_CLASS, seed)]
    others = np.isin(held_out.labels, chosen)
    return (
        Signals(labels=signals.labels[kept], features=np.asarray(signals.features)[kept]),
        Signals(labels=held_out.labels[others], features=np.asarray(held_out.features)[others]),
    )


def compare(distances: np.ndarray, differences: np.ndarray) -> dict[str, float | None]:
    """Return statistics of differences (P,) that should vanish with the distances (P,).

    These are the rank correlation, the median differences of the nearest and the farthest 10 % of pairs, the ratio of these medians,
    and the smallest K with difference ≤ K · distance; undefined ones are None.
    """
    near, far = theory.decile_medians(distances, differences)
    return {
        "spearman": rank_correlation(distances, differences),
        "near_median": near,
        "far_median": far,
        "median_ratio": near / far if far > 0 else None,
        "largest_ratio": theory.largest_ratio(distances, differences),
    }


def describe(x_label: str, y_label: str, x: np.ndarray, y: np.ndarray, statistic: dict[str, float | None]) -> Proposition:
    """Return a proposition's measurements, thinned evenly along x to 400 points and rounded to 6 digits."""
    order = np.argsort(x, kind="stable")
    shown = order[np.linspace(0, len(order) - 1, min(len(order), _POINTS)).round().astype(np.int64)]
    xs, ys = ([float(f"{value:.6g}") for value in values[shown]] for values in (x, y))
    return {"x_label": x_label, "y_label": y_label, "x": xs, "y": ys, "num": len(x), "statistic": statistic}

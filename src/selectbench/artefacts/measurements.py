"""Measurements of a theory's propositions: the points of every seed, their statistics, and their summary in bins."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from selectbench.errors import RecordError

MOST_BINS = 20


class Measured(TypedDict):
    """What was measured of one proposition.

    Parameters
    ----------
    x_label, y_label : what x and y are
    x, y : points
    statistic : name → number, such as ``"spearman"``
    """

    x_label: str
    y_label: str
    x: list[float | None]
    y: list[float | None]
    statistic: dict[str, float | None]


class Measurement(TypedDict):
    """What was measured on one data set with one seed.

    Parameters
    ----------
    dataset, seed : where
    propositions : name → what was measured
    """

    dataset: str
    seed: int
    propositions: dict[str, Measured]


class Bins(NamedTuple):
    """The quartiles of y in bins of x; NaN where a seed has no point in a bin.

    Parameters
    ----------
    centres : (B,) medians of x over all seeds
    medians, lower, upper : (S, B) of y, one row per seed
    """

    centres: np.ndarray
    medians: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def group_measurements(measurements: Iterable[Measurement], proposition: str) -> dict[str, dict[int, Measured]]:
    """Return data set → seed → what was measured of a proposition, both sorted; files without it are skipped.

    Raises
    ------
    RecordError
        Two files measured it on the same data set with the same seed.
    """
    groups: dict[str, dict[int, Measured]] = {}
    for item in sorted(measurements, key=lambda item: (item["dataset"], item["seed"])):
        if proposition in item["propositions"]:
            seeds = groups.setdefault(item["dataset"], {})
            if item["seed"] in seeds:
                raise RecordError(
                    f"two measurements of {proposition!r} on {item['dataset']} with seed {item['seed']}; give one proxy's only"
                )
            seeds[item["seed"]] = item["propositions"][proposition]
    return groups


def finite_points(measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the points whose coordinates are both finite."""
    x, y = (np.array(values, dtype=np.float64) for values in (measured["x"], measured["y"]))
    kept = np.isfinite(x) & np.isfinite(y)
    return x[kept], y[kept]


def mean_statistic(measured: Iterable[Measured], statistic: str) -> tuple[float, int] | None:
    """Return the mean of a statistic over the seeds for which it is finite, and their number; None if there are none."""
    values = [value for item in measured if (value := read_statistic(item, statistic)) is not None]
    return (float(np.mean(values)), len(values)) if values else None


def read_statistic(measured: Measured, statistic: str) -> float | None:
    """Return a statistic of a measured proposition; None if it is missing or not finite."""
    value = measured["statistic"].get(statistic)
    return value if value is not None and math.isfinite(value) else None


def bin_points(seeds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Bins:
    """Summarise the points (x, y) of several seeds in common bins of x.

    The bins are quantiles of the pooled x, at most 20 and at most one per distinct value; ties never fall into two bins.
    """
    pooled = np.concatenate([x for x, _ in seeds])
    levels = np.unique(pooled)
    if len(levels) > MOST_BINS:
        levels = np.unique(np.sort(pooled)[np.arange(MOST_BINS) * len(pooled) // MOST_BINS])
    places = [np.searchsorted(levels, x, side="right") - 1 for x, _ in seeds]
    pooled_places = np.searchsorted(levels, pooled, side="right") - 1
    quartiles = np.full((3, len(seeds), len(levels)), np.nan)
    for seed, ((_, y), place) in enumerate(zip(seeds, places, strict=True)):
        for number in np.unique(place):
            quartiles[:, seed, number] = np.quantile(y[place == number], [0.25, 0.5, 0.75])
    centres = np.array([np.median(pooled[pooled_places == number]) for number in range(len(levels))])
    return Bins(centres, quartiles[1], quartiles[0], quartiles[2])


def spans_decades(values: np.ndarray, decades: float = 2.0) -> bool:
    """Tell whether all values are positive and span more than this many decades."""
    return bool(len(values) and values.min() > 0 and math.log10(values.max() / values.min()) > decades)

"""Measurements of a theory's propositions: the points of every seed, their statistics, and their summary in bins."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from selectbench.errors import RecordError

MOST_BINS = 20


class Bins(NamedTuple):
    """The quartiles of y in bins of x; NaN where a seed has no point in a bin.

    ``centres`` (B,) are the medians of x over all seeds; ``medians``, ``lower`` and ``upper`` (S, B) are of y, one row a seed.
    """

    centres: np.ndarray
    medians: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def group_measurements(measurements: Iterable[dict], proposition: str) -> dict[str, dict[int, dict]]:
    """Return data set → seed → what was measured of a proposition, both sorted; files without it are skipped.

    Raises
    ------
    RecordError
        Two files measured it on the same data set with the same seed.
    """
    groups: dict[str, dict[int, dict]] = {}
    for item in sorted(measurements, key=lambda item: (item["dataset"], item["seed"])):
        if proposition in item["propositions"]:
            seeds = groups.setdefault(item["dataset"], {})
            if item["seed"] in seeds:
                raise RecordError(
                    f"two measurements of {proposition!r} on {item['dataset']} with seed {item['seed']}; give one proxy's only"
                )
            seeds[item["seed"]] = item["propositions"][proposition]
    return groups


def finite_points(measured: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the points of which both are finite numbers."""
    x, y = (np.array(measured[axis], dtype=np.float64) for axis in ("x", "y"))
    kept = np.isfinite(x) & np.isfinite(y)
    return x[kept], y[kept]


def mean_statistic(measured: Iterable[dict], statistic: str) -> tuple[float, int] | None:
    """Return the mean of a statistic over the seeds that have a finite one, and their number; None without any."""
    values = [value for item in measured if (value := read_statistic(item, statistic)) is not None]
    return (float(np.mean(values)), len(values)) if values else None


def read_statistic(measured: dict, statistic: str) -> float | None:
    """Return a statistic of a measured proposition, or None if it has no finite one."""
    value = measured["statistic"].get(statistic)
    return value if value is not None and math.isfinite(value) else None


def bin_points(seeds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Bins:
    """Summarise the points (x, y) of several seeds in common bins of x.

    The bins are the quantiles of the pooled x, at most 20 and as many as there are distinct values; ties never fall into two bins.
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
    """Say whether all values are positive and span more than so many decades."""
    return bool(len(values) and values.min() > 0 and math.log10(values.max() / values.min()) > decades)

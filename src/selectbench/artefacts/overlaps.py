"""Overlaps: how many samples the subsets of two methods have in common."""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

from selectbench.policy import count_kept

Subsets = Mapping[str, Mapping[int, np.ndarray]]


class Compared(TypedDict):
    """How much the subsets of methods have in common.

    Parameters
    ----------
    chance : overlap of random subsets, k / N
    methods : ids
    overlap : matrix in the order of the methods: two methods are compared seed by seed, a method with itself over all pairs of
        different seeds; None where there is no pair
    """

    chance: float
    methods: list[str]
    overlap: list[list[float | None]]


class Overlap(Compared):
    """How much the subsets of a data set and keep fraction have in common.

    Parameters
    ----------
    dataset, keep : of the subsets
    """

    dataset: str
    keep: str


class Overlaps(TypedDict):
    """How much the subsets of a paper have in common.

    Parameters
    ----------
    paper : whose subsets they are
    overlaps : one per data set and keep fraction
    """

    paper: str
    overlaps: list[Overlap]


def compare_subsets(subsets: Subsets, keep: str, num_pool: int) -> Compared:
    """Return the mean overlap |A ∩ B| / k of every pair of methods, and the chance level k / N.

    Parameters
    ----------
    subsets : method → seed → ids of its subset; runs without a subset are left out
    keep : keep fraction, which gives k
    num_pool : N
    """
    num_kept = count_kept(keep, num_pool)
    methods = list(subsets)
    overlap: list[list[float | None]] = [[None] * len(methods) for _ in methods]
    for row, left in enumerate(methods):
        for column, right in enumerate(methods[: row + 1]):
            overlap[row][column] = overlap[column][row] = mean_overlap(subsets[left], subsets[right], num_kept, left == right)
    return {"chance": num_kept / num_pool, "methods": methods, "overlap": overlap}


def mean_overlap(left: Mapping[int, np.ndarray], right: Mapping[int, np.ndarray], num_kept: int, is_same: bool) -> float | None:
    """Return the mean of |A ∩ B| / k over equal seeds, or over pairs of different seeds of one method; None without a pair."""
    if is_same:
        seeds = sorted(left)
        pairs = [(first, second) for place, first in enumerate(seeds) for second in seeds[place + 1 :]]
    else:
        pairs = [(seed, seed) for seed in sorted(left.keys() & right.keys())]
    shares = [np.isin(left[first], right[second]).sum() / num_kept for first, second in pairs]
    return float(np.mean(shares)) if shares else None

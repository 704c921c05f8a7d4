"""What misleads a search over clusters: clusters that interact, and losses that hold on the validation texts only."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

Chosen = tuple[int, ...]


class Orders(NamedTuple):
    """How the values of all sets of k clusters come about.

    Parameters
    ----------
    sums : (M,) values predicted by a sum over single clusters
    shares : (k,) of the variance, due to single clusters, to pairs beyond these, …, to whole sets; they add up to 1. None without variance
    """

    sums: np.ndarray
    shares: list[float] | None


def split_by_order(values: Mapping[Chosen, float]) -> Orders:
    """Split the values of all sets of k clusters into contributions of single clusters, of pairs, and so on.

    The contributions of order j are what least squares on the indicators of all subsets of j clusters explain beyond those of lower orders.
    For values that are independent of the clusters, each share is expected to be that order's number of free parameters, over all.

    Parameters
    ----------
    values : all sets of k clusters, each sorted, with their values
    """
    sets = sorted(values)
    size, found = len(sets[0]), np.array([values[chosen] for chosen in sets])
    rest = found - found.mean()
    total, explained, sums = float(rest @ rest), [0.0], np.full(len(sets), found.mean())
    for order in range(1, size):
        held = indicate_subsets(sets, order)
        predicted = held @ np.linalg.lstsq(held, rest, rcond=None)[0]
        if order == 1:
            sums = sums + predicted
        explained.append(float(predicted @ predicted) / total if total else 0.0)
    if size == 1:
        sums = found
    return Orders(sums, np.diff([*explained, 1.0]).tolist() if total else None)


def indicate_subsets(sets: Sequence[Chosen], order: int) -> np.ndarray:
    """Return (M, S): whether each set holds each of the subsets of ``order`` clusters that occur, 0 or 1."""
    columns = {part: place for place, part in enumerate(sorted({part for chosen in sets for part in combinations(chosen, order)}))}
    held = np.zeros((len(sets), len(columns)))
    for row, chosen in enumerate(sets):
        held[row, [columns[part] for part in combinations(chosen, order)]] = 1.0
    return held


def find_gaps(losses: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return by how much validation underestimates the loss of each set (M,), beyond what it does for random sets.

    Parameters
    ----------
    losses : (M, 2) losses on validation and test texts of the sets in question
    drawn : (R, 2) the same of random sets, whose mean gap is due to the texts and not to the choice
    """
    gaps: np.ndarray = losses[:, 1] - losses[:, 0] - float(np.mean(drawn[:, 1] - drawn[:, 0]))
    return gaps

"""CCS: coverage-centric coreset selection, an equal budget for every difficulty stratum."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.policy import class_quotas
from selectbench.seeds import hash_ids
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class CCS(Method):
    """Drop the hardest samples (likely mislabelled), split the rest into strata of equal width, and sample each stratum equally.

    Parameters
    ----------
    cut : float
        β, the share of the pool that is dropped, lowest area under the margin first; fewer are dropped if k samples would not
        remain. The paper tunes β on test accuracy for each keep fraction; here it is a single value.
    strata : int
        Number of strata.
    """

    cut: float = 0.1
    strata: int = 50

    citation = "Zheng et al., Coverage-centric Coreset Selection for High Pruning Rates, ICLR 2023, Algorithm 1."
    needs = ("aum",)
    ranked = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.cut < 1:
            raise SelectbenchError(f"cut: {self.cut} is outside [0, 1)")
        if self.strata < 1:
            raise SelectbenchError(f"strata: {self.strata} is less than 1")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return the (N,) areas under the margin; low = hard."""
        signals.require("ccs", "aum")
        return np.asarray(signals.aum, dtype=np.float64)

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return ``num_kept`` positions in random order, spread evenly over the strata (of each class, with a class quota)."""
        keys = hash_ids(signals.ids, seed)
        everyone = np.arange(len(signals))
        if self.quota == "none":
            return self._fill(scores, keys, everyone, num_kept)
        places = class_quotas(signals.labels, num_kept, self.quota)
        return _shuffle([self._fill(scores, keys, everyone[signals.labels == label], places[label]) for label in places], keys)

    def _fill(self, scores: np.ndarray, keys: np.ndarray, members: np.ndarray, num_kept: int) -> np.ndarray:
        num_cut = min(round(self.cut * len(members)), len(members) - num_kept)
        left = members[np.lexsort((keys[members], scores[members]))[num_cut:]]
        stratum = assign_strata(scores[left], self.strata)
        budgets = class_quotas(stratum, num_kept, "equal")
        chosen = []
        for index, budget in budgets.items():
            inside = left[stratum == index]
            chosen.append(inside[np.argsort(keys[inside])[:budget]])
        return _shuffle(chosen, keys)


def _shuffle(parts: Sequence[np.ndarray], keys: np.ndarray) -> np.ndarray:
    """Return the positions of all parts in the order of their keys (N,)."""
    chosen: np.ndarray = np.concatenate(parts)
    return chosen[np.argsort(keys[chosen])]


def assign_strata(scores: np.ndarray, num_strata: int) -> np.ndarray:
    """Return the stratum of every score; strata are intervals of equal width that cover the range of the scores."""
    low, high = scores.min(), scores.max()
    if low == high:
        return np.zeros(len(scores), dtype=np.int64)
    strata: np.ndarray = np.minimum(((scores - low) / (high - low) * num_strata).astype(np.int64), num_strata - 1)
    return strata

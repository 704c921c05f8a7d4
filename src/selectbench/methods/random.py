"""Uniform random selection: the baseline in every table."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.seeds import uniform_by_id
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Random(Method):
    """Keep the k samples with the highest of one seeded uniform draw per id; subsets of different keep fractions are nested."""

    citation = "Control: uniform sampling without replacement."

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return one uniform draw in [0, 1) per id."""
        return uniform_by_id(signals.ids, seed)

"""Uniform random: the floor every table carries."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.seeds import uniform_by_id
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Random(Method):
    """k ids uniformly without replacement: the k highest of one seeded draw an id, so that keep fractions nest."""

    citation = "Control: uniform sampling without replacement."

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return one uniform draw in [0, 1) for each id."""
        return uniform_by_id(signals.ids, seed)

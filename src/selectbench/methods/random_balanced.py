"""Class-balanced random selection: the random baseline with equal class counts."""

from dataclasses import dataclass

import numpy as np

from selectbench.methods._base import Method
from selectbench.policy import Quota
from selectbench.seeds import uniform_by_id
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class RandomBalanced(Method):
    """Uniform random sampling of equally many samples per class (a class smaller than its quota is kept whole)."""

    quota: Quota = "equal"

    citation = "Control: uniform sampling without replacement, stratified by class."

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return one uniform draw in [0, 1) per id."""
        return uniform_by_id(signals.ids, seed)

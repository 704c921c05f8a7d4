"""Full data: the reference in every table."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Full(Method):
    """Keep every sample. Any keep fraction other than 1 is an error."""

    citation = "Control: no selection."

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return zeros: no sample is preferred."""
        return np.zeros(len(signals))

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return every position, in canonical order."""
        if num_kept != len(signals):
            raise SelectbenchError(f"method 'full' keeps all {len(signals)} samples, not {num_kept}; use keep 1")
        return np.arange(num_kept)

"""Uniform random selection with a guaranteed minimum per class."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import Method
from selectbench.policy import choose_with_floor
from selectbench.seeds import uniform_by_id
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class RandomFloor(Method):
    """Each class is first guaranteed a share of its proportional quota; the remaining places are filled uniformly from all samples.

    Parameters
    ----------
    floor : float
        Share of its proportional quota (rounded up) that each class is guaranteed.
    """

    floor: float = 0.5

    citation = "Control: uniform sampling with the class-balance floor of Sorscher et al., Beyond Neural Scaling Laws, NeurIPS 2022."
    ranked = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.floor <= 1:
            raise SelectbenchError(f"floor: {self.floor} is outside [0, 1]")

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return one uniform draw in [0, 1) per id."""
        return uniform_by_id(signals.ids, seed)

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return ``num_kept`` positions, highest draws first: the guaranteed places of each class, then the best of all others."""
        if self.quota != "none":
            return super().choose(scores, signals, num_kept, seed)
        return choose_with_floor(scores, num_kept, self.floor, labels=signals.labels, ids=signals.ids, tail=self.tail, seed=seed)

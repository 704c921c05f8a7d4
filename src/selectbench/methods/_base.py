"""What every static method is: typed parameters, the signals it needs, and a score."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from selectbench.errors import SelectbenchError, suggest
from selectbench.policy import Quota, Tail, choose_positions
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A static method: signals → scores, and scores → positions by its policy.

    Parameters
    ----------
    quota : {"none", "proportional", "equal"}
        How places are shared among classes.
    tail : {"high", "low", "middle"}
        Which end of the scores is kept.
    """

    quota: Quota = "none"
    tail: Tail = "high"

    citation: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()  # names of Signals fields; a method that needs none needs no proxy

    def __post_init__(self) -> None:
        for name, valid in (("quota", get_args(Quota)), ("tail", get_args(Tail))):
            if getattr(self, name) not in valid:
                raise SelectbenchError(f"{name}: unknown {getattr(self, name)!r}{suggest(getattr(self, name), valid)}")

    @property
    def proxy_share(self) -> float:
        """The share of the proxy's training this method has to pay for."""
        return 1.0 if self.needs else 0.0

    @abstractmethod
    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) float64 scores; higher = keep first. Pure: depends on the arguments alone."""

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return ``num_kept`` positions in selection order, from scores this method returned."""
        return choose_positions(scores, num_kept, labels=signals.labels, ids=signals.ids, quota=self.quota, tail=self.tail, seed=seed)

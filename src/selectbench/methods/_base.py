"""Base classes of static methods: typed parameters, the signals they need, and a score."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, get_type_hints

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.policy import Quota, Tail, choose_positions
from selectbench.registry import check_parameter
from selectbench.signals import PROXY_SOURCES, SOURCES, TEXT_SIGNALS, Signals


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A static method: signals → scores, then scores → positions by a policy.

    Parameters
    ----------
    quota : {"none", "proportional", "equal"}
        How the k places are divided among classes.
    tail : {"high", "low", "middle"}
        Which end of the scores is kept.
    """

    quota: Quota = "none"
    tail: Tail = "high"

    citation: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()  # names of Signals fields besides labels; "errors" also accepts logits
    ranked: ClassVar[bool] = True  # whether the highest scores are kept; otherwise ``choose`` applies a rule of its own
    learned: ClassVar[bool] = False  # whether an agent is trained for each keep fraction, in a separate stage

    def __post_init__(self) -> None:
        """Check every parameter against its annotation; methods with further bounds extend this check."""
        kinds = get_type_hints(type(self))
        for parameter in fields(self):
            check_parameter(parameter.name, kinds[parameter.name], getattr(self, parameter.name))

    @classmethod
    def sources(cls) -> tuple[str, ...]:
        """Return the sources of the signals the method reads, ordered as in ``signals.SOURCES``; raw inputs have no source."""
        return tuple(source for source, recorded in SOURCES.items() if set(recorded) & set(cls.needs))

    @classmethod
    def needs_proxy(cls) -> bool:
        """Tell whether the method reads a signal of the proxy."""
        return bool(PROXY_SOURCES & set(cls.sources()))

    @classmethod
    def needs_texts(cls) -> bool:
        """Tell whether the method reads a signal that only text data sets have."""
        return bool(TEXT_SIGNALS & set(cls.needs))

    @property
    def proxy_share(self) -> float:
        """The share of the proxy's training that is charged to this method."""
        return 1.0 if self.needs_proxy() else 0.0

    @abstractmethod
    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) float64 scores, higher = keep first. Pure: the result depends only on the arguments."""

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return the ``num_kept`` selected positions in selection order, given the method's own scores."""
        return choose_positions(scores, num_kept, labels=signals.labels, ids=signals.ids, quota=self.quota, tail=self.tail, seed=seed)


@dataclass(frozen=True, kw_only=True)
class EarlyMethod(Method):
    """A method that can be limited to signals from early in the proxy's training.

    Parameters
    ----------
    until : float
        Use only what was recorded up to this share of the proxy's training; 1 uses everything.
    """

    until: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.until <= 1:
            raise SelectbenchError(f"until: {self.until!r} is outside (0, 1]; it is a share of the proxy's training")

    @property
    def proxy_share(self) -> float:
        """The share up to ``until``; later training is not needed and not charged."""
        return self.until

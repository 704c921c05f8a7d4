"""Base classes of static methods: typed parameters, the signals they need, and a score."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.policy import Quota, Tail, choose_positions, count_needed, score_class_orders
from selectbench.registry import check_fields
from selectbench.signals import PROXY_SOURCES, REPLICATES, SOURCES, TEXT_SIGNALS, Signals

FEWER = "keep fewer samples per class in the signals, or use a machine with more memory"  # what helps where pairs do not fit


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
        check_fields(self)

    @property
    def reads(self) -> tuple[str, ...]:
        """The signals that the method reads with its parameters, by default ``needs``."""
        return self.needs

    @property
    def replicated(self) -> tuple[str, ...]:
        """The signals among them that come from replicates of the proxy instead of its one run."""
        return ()

    def sources(self) -> tuple[str, ...]:
        """Return the sources of the signals that the method reads, replicates first; raw inputs have no source.

        Where two sources record a signal, the first one counts, see ``Signals.merge``.
        """
        replicated, others = set(self.replicated), set(self.reads) - set(self.replicated)
        wanted = [(REPLICATES, replicated), (SOURCES, others)]
        return tuple(source for recorders, names in wanted for source, recorded in recorders.items() if names & set(recorded))

    def needs_proxy(self) -> bool:
        """Tell whether the method reads a signal of the proxy or of its replicates."""
        return bool((PROXY_SOURCES | REPLICATES.keys()) & set(self.sources()))

    @classmethod
    def needs_texts(cls) -> bool:
        """Tell whether the method reads a signal that only text data sets have."""
        return bool(TEXT_SIGNALS & set(cls.needs))

    @property
    def proxy_share(self) -> float:
        """The share of the proxy's training that is charged to this method."""
        return 1.0 if PROXY_SOURCES & set(self.sources()) else 0.0

    def check_memory(self, labels: np.ndarray) -> None:  # noqa: B027  (most methods need little)
        """Raise, before any work, if a pool with these labels (N,) takes more memory than is left (see ``refuse_oversized``)."""

    @abstractmethod
    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) float64 scores, higher = keep first. Pure: the result depends only on the arguments."""

    def choose(self, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
        """Return the ``num_kept`` selected positions in selection order, given the method's own scores."""
        return choose_positions(scores, num_kept, labels=signals.labels, ids=signals.ids, quota=self.quota, tail=self.tail, seed=seed)


@dataclass(frozen=True, kw_only=True)
class GreedyMethod(Method):
    """A method that takes samples one after another, and can stop once the largest selection that is asked for is complete.

    The samples that are taken, and their scores, are the same however early it stops.
    """

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores that order the whole pool."""
        return self.score_first(signals, seed, len(signals))

    @abstractmethod
    def score_first(self, signals: Signals, seed: int, most: int) -> np.ndarray:
        """Return (N,) scores in (0, 1], higher = taken earlier; −∞ for samples that no selection of up to ``most`` samples needs."""

    def score_classes(self, signals: Signals, seed: int, most: int, order: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        """Return the scores of a method that orders each class by itself, see ``policy.score_class_orders``."""
        needed = count_needed(signals.labels, most, self.quota, self.tail)
        return score_class_orders(signals.labels, signals.ids, seed, order, needed)

    def score_pool(self, signals: Signals, seed: int, most: int, order: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        """Return the scores of a method that orders the pool regardless of class; with a class quota, it cannot stop early."""
        needed = most if (self.quota, self.tail) == ("none", "high") else len(signals)
        return score_class_orders(np.zeros(len(signals), dtype=np.int64), signals.ids, seed, order, {0: needed})


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
        return self.until * super().proxy_share


@dataclass(frozen=True, kw_only=True)
class ReplicatedMethod(Method):
    """A method whose score is an expectation over runs: of replicates of the proxy, or of whatever signals are given.

    Parameters
    ----------
    replicates : bool
        Whether the benchmark records the signals from several independently initialised runs instead of one.
    """

    replicates: bool = False

    @property
    def replicated(self) -> tuple[str, ...]:
        """The signals that replicates record, if the method reads those."""
        recorded = set().union(*REPLICATES.values()) if self.replicates else set()
        return tuple(name for name in self.reads if name in recorded)


@dataclass(frozen=True, kw_only=True)
class EarlyReplicatedMethod(EarlyMethod, ReplicatedMethod):
    """A method that reads early checkpoints of one run, or replicates that end early."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replicates and self.until != 1:
            raise SelectbenchError(f"until: {self.until!r} does not go with replicates, which end early themselves; leave one of them out")

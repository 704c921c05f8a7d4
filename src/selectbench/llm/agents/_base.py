"""The base of all agents: typed parameters, a budget of proxy trainings, and an exploration that spends it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from selectbench.errors import SelectbenchError, SelectionFailedError
from selectbench.llm.environment import ClusterEnv, transform_loss
from selectbench.llm.values import BudgetSpentError, CountedValues
from selectbench.registry import check_fields

DEFAULT_TRAININGS = 112  # 64 + 32 + 16, as in CLIMB


@dataclass
class Effort:
    """What an agent has done so far.

    Parameters
    ----------
    updates : gradient steps of its networks, or fits of its predictor
    """

    updates: int = 0


class Found(NamedTuple):
    """The result of a search.

    Parameters
    ----------
    chosen : a complete set of clusters, sorted
    value : f of its validation loss
    """

    chosen: tuple[int, ...]
    value: float


@dataclass(frozen=True, kw_only=True)
class ClusterAgent(ABC):
    """An agent that explores sets of clusters by training proxies and returns the best complete set it has measured.

    Parameters
    ----------
    clustering : {"kmeans", "stratified"}
        How the pool was clustered.
    clusters : int
        Number of clusters |C|; not legible in the paper.
    transform : {"negative", "exponential", "logarithm"}
        f, which maps a validation loss to a value: −L, exp(−L) or −log L.
    trainings : int
        Budget of proxy trainings; 0 for no limit.
    examples : int
        ξ, the largest number of examples from the chosen clusters that a proxy is trained on; 0 for the size of the subset.
    """

    clustering: Literal["kmeans", "stratified"] = "kmeans"
    clusters: int = 100
    transform: Literal["negative", "exponential", "logarithm"] = "negative"
    trainings: int = DEFAULT_TRAININGS
    examples: int = 0

    citation: ClassVar[str]
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}  # lower and upper bounds of an agent's own parameters

    def __post_init__(self) -> None:
        """Check every parameter against its annotation and its bounds."""
        check_fields(self)
        shared = {"clusters": (2, math.inf), "trainings": (0, math.inf), "examples": (0, math.inf)}
        for name, (least, most) in {**shared, **self.bounds}.items():
            check_bounds(name, getattr(self, name), least, most)

    @property
    def at_end(self) -> bool:
        """Whether only complete sets are rewarded."""
        return False

    @abstractmethod
    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Measure sets with ``env.step`` or ``env.reward`` until the rule ends; an exception ends it once the budget is spent.

        Parameters
        ----------
        env : its rewards are counted and stored
        seed : for all random choices
        effort : where updates are counted
        """

    def search(self, values: CountedValues, num_clusters: int, budget: int, seed: int, effort: Effort) -> Found:
        """Return the best complete set among those measured; ties go to the first.

        Parameters
        ----------
        values : measures sets of clusters, with ``loss``
        num_clusters : |C|
        budget : clusters in a complete set
        seed : for all random choices
        effort : where updates are counted

        Raises
        ------
        SelectionFailedError
            No complete set was measured before the budget was spent.
        """
        import torch

        threads = torch.get_num_threads()

        def value_of(measured: Mapping[str, float]) -> float:
            return transform_loss(self.transform, measured["loss"])

        def reward(chosen: tuple[int, ...]) -> float:
            with torch_threads(threads):
                return value_of(values(chosen))

        # an agent's own networks are too small to profit from several threads; proxies keep theirs
        with suppress(BudgetSpentError), torch_threads(1):
            self.explore(ClusterEnv(num_clusters, budget, reward, at_end=self.at_end), seed, effort)
        complete = [(value_of(measured), chosen) for chosen, measured in values.history if len(chosen) == budget]
        if not complete:
            raise SelectionFailedError(f"no set of {budget} clusters was completed within {values.count} proxy trainings", {})
        value, chosen = max(complete, key=lambda found: found[0])
        return Found(chosen, value)


@dataclass(frozen=True, kw_only=True)
class LearningAgent(ClusterAgent):
    """An agent of the cluster MDP that learns from the rewards of its steps.

    Parameters
    ----------
    learns : bool
        Whether it learns; otherwise it acts as initialised, as a control.
    rewards : {"steps", "end"}
        Whether every step is rewarded by the change in value, as in the paper, or the last one by the value of the complete set. Both add
        up to the same, except for a constant, but the first trains a proxy on every set on the way to a complete one.
    """

    learns: bool = True
    rewards: Literal["steps", "end"] = "steps"

    @property
    def at_end(self) -> bool:
        """Whether only complete sets are rewarded."""
        return self.rewards == "end"


def check_bounds(name: str, value: float, least: float, most: float) -> None:
    """Raise unless a parameter is within its bounds."""
    if not least <= value <= most:
        valid = f"less than {least}" if most == math.inf else f"not between {least} and {most}"
        raise SelectbenchError(f"{name}: {value} is {valid}")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set torch's number of threads inside the block and restore it afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

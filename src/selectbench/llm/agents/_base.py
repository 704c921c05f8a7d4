"""What every agent is: typed parameters, a number of proxy trainings, and an exploration that spends them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, NamedTuple, get_type_hints

from selectbench.errors import SelectbenchError, SelectionFailedError
from selectbench.llm.environment import TRANSFORMS, ClusterEnv
from selectbench.llm.values import BudgetSpentError, CountedValues
from selectbench.registry import check_parameter

DEFAULT_TRAININGS = 112  # 64 + 32 + 16, as CLIMB trains


class Found(NamedTuple):
    """What a search found: a complete set of clusters, sorted, and f of its loss."""

    chosen: tuple[int, ...]
    value: float


@dataclass(frozen=True, kw_only=True)
class ClusterAgent(ABC):
    """An agent that explores sets of clusters by training proxies; the best complete set that it measured is its answer.

    Parameters
    ----------
    clustering : {"kmeans", "stratified"}
        How the pool was clustered.
    clusters : int
        Number of clusters |C|; the paper's is not legible.
    transform : {"negative", "exponential", "logarithm"}
        f, by which a validation loss becomes a value: −L, exp(−L) or −log L.
    trainings : int
        Proxy trainings that may be spent; 0 for as many as the rule wants.
    examples : int
        ξ: at most so many examples of the chosen clusters train a proxy; 0 for as many as the subset may hold.
    """

    clustering: Literal["kmeans", "stratified"] = "kmeans"
    clusters: int = 100
    transform: Literal["negative", "exponential", "logarithm"] = "negative"
    trainings: int = DEFAULT_TRAININGS
    examples: int = 0

    citation: ClassVar[str]
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}  # of an agent's own parameters: least and most

    def __post_init__(self) -> None:
        """Check every parameter against its annotation and its bounds."""
        kinds = get_type_hints(type(self))
        for parameter in fields(self):
            check_parameter(parameter.name, kinds[parameter.name], getattr(self, parameter.name))
        shared = {"clusters": (2, math.inf), "trainings": (0, math.inf), "examples": (0, math.inf)}
        for name, (least, most) in {**shared, **self.bounds}.items():
            check_bounds(name, getattr(self, name), least, most)

    @abstractmethod
    def explore(self, env: ClusterEnv, seed: int) -> None:
        """Measure sets through ``env.step`` or ``env.reward`` until the rule is done; a spent budget ends it from outside.

        Parameters
        ----------
        env : whose reward is counted and remembered
        seed : of every draw
        """

    def search(self, values: CountedValues, num_clusters: int, budget: int, seed: int) -> Found:
        """Return the best complete set among those that were measured; of equal ones the first.

        Parameters
        ----------
        values : of sets of clusters, with ``loss``
        num_clusters : |C|
        budget : clusters of a complete set
        seed : of every draw

        Raises
        ------
        SelectionFailedError
            No complete set was measured before the proxy trainings were spent.
        """
        import torch

        transform, threads = TRANSFORMS[self.transform], torch.get_num_threads()

        def reward(chosen: tuple[int, ...]) -> float:
            with torch_threads(threads):
                return transform(values(chosen)["loss"])

        # an agent's own networks are so small that more threads only wait for each other; proxies keep theirs
        with suppress(BudgetSpentError), torch_threads(1):
            self.explore(ClusterEnv(num_clusters, budget, reward), seed)
        complete = [(transform(measured["loss"]), chosen) for chosen, measured in values.history if len(chosen) == budget]
        if not complete:
            raise SelectionFailedError(f"no set of {budget} clusters was completed within {values.count} proxy trainings", {})
        value, chosen = max(complete, key=lambda found: found[0])
        return Found(chosen, value)


def check_bounds(name: str, value: float, least: float, most: float) -> None:
    """Raise unless a parameter is within its bounds."""
    if not least <= value <= most:
        valid = f"less than {least}" if most == math.inf else f"not between {least} and {most}"
        raise SelectbenchError(f"{name}: {value} is {valid}")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside the block, and as many as before after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

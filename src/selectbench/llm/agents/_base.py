"""What every agent is: typed parameters, a number of proxy trainings, and an exploration that spends them."""

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, NamedTuple, get_type_hints

from selectbench.errors import SelectbenchError, SelectionFailedError
from selectbench.llm.environment import TRANSFORMS, ClusterEnv
from selectbench.llm.values import BudgetSpentError, CountedValues
from selectbench.registry import check_parameter


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
    trainings: int = 112
    examples: int = 0

    citation: ClassVar[str]

    def __post_init__(self) -> None:
        """Check every parameter against its annotation; agents with bounds of their own check those after this."""
        kinds = get_type_hints(type(self))
        for parameter in fields(self):
            check_parameter(parameter.name, kinds[parameter.name], getattr(self, parameter.name))
        for name, least in (("clusters", 2), ("trainings", 0), ("examples", 0)):
            if getattr(self, name) < least:
                raise SelectbenchError(f"{name}: {getattr(self, name)} is less than {least}")

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
        transform = TRANSFORMS[self.transform]
        with suppress(BudgetSpentError):
            self.explore(ClusterEnv(num_clusters, budget, lambda chosen: transform(values(chosen)["loss"])), seed)
        complete = [(transform(measured["loss"]), chosen) for chosen, measured in values.history if len(chosen) == budget]
        if not complete:
            raise SelectionFailedError(f"no set of {budget} clusters was completed within {values.count} proxy trainings", {})
        value, chosen = max(complete, key=lambda found: found[0])
        return Found(chosen, value)

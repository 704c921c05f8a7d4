"""What a target is trained on: a subset chosen beforehand, or the samples that a dynamic sampler chooses during training."""

from abc import ABC, abstractmethod
from typing import Any, NotRequired, TypedDict

import numpy as np

from selectbench.records.records import tabulate
from selectbench.records.rows import Search, Selection, Source, Trajectory
from selectbench.training.dynamic_training import Sampler, observed_loss, observed_parts, visit_dynamically
from selectbench.training.engine import PartedLoss, cut_loss
from selectbench.training.epochs import Visits, visit_subset
from selectbench.training.parallel import find_crew
from selectbench.training.pools import BatchLoss, SamplePool
from selectbench.training.recipes import Recipe

_RATE_DIGITS = 6


class SubsetCost(TypedDict):
    """What a subset cost.

    Parameters
    ----------
    proxy_share : share of the proxy's training that the method needs
    sources : name → the cost of recording its signals
    score_s, select_s : seconds of scoring, and of taking the subset
    wall_s, sample_visits : total cost, including sources
    peak_memory_mb : in MiB
    trajectory : only of agents and searches
    distance : only of agents: between the kept fraction of the chosen epoch's mask and the target, 0 if it is within tolerance
    """

    proxy_share: float
    sources: dict[str, Source]
    score_s: float
    select_s: float
    wall_s: float
    sample_visits: float
    peak_memory_mb: float | None
    trajectory: NotRequired[Trajectory]
    distance: NotRequired[float]


class SubsetEntry(TypedDict):
    """One keep fraction in the record of a method's subsets.

    Parameters
    ----------
    failure : why there is no subset, or None
    num_kept : k, or 0 after a failure
    sha256, class_counts : digest and class counts of the subset; None after a failure
    search : only of methods that search for clusters
    cost : what the subset cost
    """

    failure: str | None
    num_kept: int
    sha256: str | None
    class_counts: list[int] | None
    search: NotRequired[Search | None]
    cost: SubsetCost


class SamplerSpec(TypedDict):
    """A dynamic sampler as the plan declares it.

    Parameters
    ----------
    name : id of the sampler
    parameters : of the method's entry in ``config/methods.yaml``
    seed : for the order and all random choices
    code : fingerprint of the sampler's code
    """

    name: str
    parameters: dict[str, Any]
    seed: int
    code: str


class Choice(ABC):
    """Which samples of a pool are trained on, with which loss, and how a record describes the selection.

    Attributes
    ----------
    ids : (M,) every sample that may be visited
    num_kept : samples per epoch according to the keep fraction
    seed : of the selection
    micro_batch : samples per backward pass if a whole batch does not fit into memory, or None
    """

    ids: np.ndarray
    num_kept: int
    seed: int
    micro_batch: int | None = None

    @abstractmethod
    def visit(self, pool: SamplePool, recipe: Recipe, regime: str) -> Visits:
        """Return the visits of a training run with a recipe."""

    @abstractmethod
    def weigh_losses(self, pool: SamplePool, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss | PartedLoss:
        """Return the loss of a batch; ``stream`` names the draws of augmentation."""

    @abstractmethod
    def describe_selection(self) -> Selection:
        """Return the cost and outcome of the selection for the record; call it after training."""

    @abstractmethod
    def sum_kept(self, values: np.ndarray) -> float:
        """Return the sum of values (N,) over the samples of an epoch, averaged over epochs; call it after training."""

    @property
    def overhead_s(self) -> float:
        """Seconds of selection during training."""
        return 0.0


class SubsetChoice(Choice):
    """The same subset in every epoch.

    Parameters
    ----------
    ids : (k,) the samples of the subset
    subset : entry of its keep fraction in the record of subsets
    seed : of the selection
    """

    def __init__(self, ids: np.ndarray, subset: SubsetEntry, seed: int) -> None:
        self.ids = ids
        self.num_kept = len(ids)
        self.seed = seed
        self.subset = subset

    def visit(self, pool: SamplePool, recipe: Recipe, regime: str) -> Visits:
        """Return the visits of the subset."""
        return visit_subset(self.ids, len(pool), recipe, regime)

    def weigh_losses(self, pool: SamplePool, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss | PartedLoss:
        """Return the mean loss."""
        crew, loss = find_crew(), pool.batch_loss(recipe, stream)
        return cut_loss(loss, self.micro_batch, crew) if self.micro_batch or crew.size > 1 else loss

    def describe_selection(self) -> Selection:
        """Return the cost, digest and class counts of the subset."""
        return describe_subset_cost(self.subset)

    def sum_kept(self, values: np.ndarray) -> float:
        """Return the sum over the subset."""
        kept: float = values[self.ids].sum().item()  # counts stay whole numbers in records
        return kept


def describe_subset_cost(subset: SubsetEntry) -> Selection:
    """Return the cost, digest, class counts and search of a subset, or of a selection that failed."""
    return {
        **subset["cost"],  # type: ignore[typeddict-item]  # mypy assumes extra keys
        "subset_sha256": subset["sha256"],
        "class_counts": subset["class_counts"],
        "search": subset.get("search"),
    }


class SamplerChoice(Choice):
    """The samples that a dynamic sampler chooses, epoch by epoch.

    Parameters
    ----------
    sampler : made for the recipe's epochs
    """

    def __init__(self, sampler: Sampler) -> None:
        self.ids = np.arange(sampler.num_samples if sampler.num_epochs else 0)
        self.num_kept = sampler.num_kept
        self.seed = sampler.seed
        self.sampler = sampler

    def visit(self, pool: SamplePool, recipe: Recipe, regime: str) -> Visits:
        """Return the visits that the sampler chooses; samplers count epochs, so the regime is always equal epochs."""
        return visit_dynamically(self.sampler, recipe)

    def weigh_losses(self, pool: SamplePool, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss | PartedLoss:
        """Return the mean of losses weighted by the sampler, which observes each batch."""
        crew, losses = find_crew(), pool.sample_losses(recipe, stream)
        if self.micro_batch or crew.size > 1:
            return observed_parts(losses, self.sampler, self.micro_batch, crew)
        return observed_loss(losses, self.sampler)

    def describe_selection(self) -> Selection:
        """Return the time spent in the sampler and its agent, and its trace by columns; a sampler needs no visits of its own."""
        overhead, reached = self.sampler.overhead_s, self.sampler.reached_keep
        selection: Selection = {
            "proxy_share": 0.0,
            "sources": {},
            "score_s": overhead,
            "select_s": 0.0,
            "wall_s": overhead,
            "sample_visits": 0.0,
            "peak_memory_mb": None,
            "subset_sha256": None,
            "class_counts": None,
            "sampler": self.sampler.name,
        }
        if self.sampler.trace:
            selection["trajectory"] = tabulate([row | {"epoch": (row["epoch"] or 0) + 1} for row in self.sampler.trace], None)
        if round(reached - self.sampler.keep_fraction, _RATE_DIGITS) > 0:
            selection["reached_keep"] = round(reached, _RATE_DIGITS)
        return selection

    def sum_kept(self, values: np.ndarray) -> float:
        """Return the sum over all visits, divided by the number of epochs."""
        return round(float(self.sampler.visit_counts @ values / max(1, self.sampler.num_epochs)), _RATE_DIGITS)

    @property
    def overhead_s(self) -> float:
        """Seconds spent in the sampler."""
        return self.sampler.overhead_s

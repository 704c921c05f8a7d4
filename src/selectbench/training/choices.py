"""What a target is trained on: a subset that was chosen before, or what a dynamic sampler chooses meanwhile."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from selectbench.dynamic import DynamicSampler, make
from selectbench.records.records import tabulate
from selectbench.training.dynamic_training import observed_loss, observed_parts, visit_dynamically
from selectbench.training.engine import PartedLoss, cut_loss
from selectbench.training.epochs import Visits, visit_subset
from selectbench.training.parallel import find_crew
from selectbench.training.pools import BatchLoss, Pool
from selectbench.training.recipes import Recipe

_RATE_DIGITS = 6


class Choice(ABC):
    """Which samples of a pool a training visits, by which loss it learns from them, and what a record says of it.

    Attributes
    ----------
    ids : (M,) every sample that may be visited
    num_kept : samples of an epoch, as the keep fraction asks
    seed : of the selection
    micro_batch : samples that are learned from at a time where a whole batch does not fit into memory, or None
    """

    ids: np.ndarray
    num_kept: int
    seed: int
    micro_batch: int | None = None

    @abstractmethod
    def visit(self, pool: Pool, recipe: Recipe, regime: str) -> Visits:
        """Return the visits of a training by a recipe."""

    @abstractmethod
    def weigh_losses(self, pool: Pool, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss | PartedLoss:
        """Return the loss of a batch; ``stream`` names the draws of augmentation."""

    @abstractmethod
    def describe_selection(self) -> dict:
        """Return what selection cost and chose, for the record; asked after the training."""

    @abstractmethod
    def sum_kept(self, values: np.ndarray) -> float:
        """Return the sum of values (N,), one a sample, over the samples of an epoch, on average; asked after the training."""

    @property
    def overhead_s(self) -> float:
        """Seconds of selection inside the training."""
        return 0.0


class SubsetChoice(Choice):
    """A subset, the same in every epoch.

    Parameters
    ----------
    ids : (k,) its samples
    subset : the entry of its keep fraction in the record of its subsets
    seed : of the selection
    """

    def __init__(self, ids: np.ndarray, subset: Mapping, seed: int) -> None:
        self.ids = ids
        self.num_kept = len(ids)
        self.seed = seed
        self.subset = subset

    def visit(self, pool: Pool, recipe: Recipe, regime: str) -> Visits:
        """Return visits of the subset."""
        return visit_subset(self.ids, len(pool), recipe, regime)

    def weigh_losses(self, pool: Pool, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss | PartedLoss:
        """Return the mean loss."""
        crew, loss = find_crew(), pool.batch_loss(recipe, stream)
        return cut_loss(loss, self.micro_batch, crew) if self.micro_batch or crew.size > 1 else loss

    def describe_selection(self) -> dict:
        """Return the cost, digest and class counts of the subset."""
        return describe_subset_cost(self.subset)

    def sum_kept(self, values: np.ndarray) -> float:
        """Return the sum over the subset."""
        return values[self.ids].sum().item()


def describe_subset_cost(subset: Mapping) -> dict:
    """Return the cost, digest, class counts and search of one keep fraction in the record of subsets, failed ones included."""
    return subset["cost"] | {"subset_sha256": subset["sha256"], "class_counts": subset["class_counts"], "search": subset.get("search")}


class SamplerChoice(Choice):
    """What a dynamic sampler hands out, epoch by epoch.

    Parameters
    ----------
    sampler : made for the recipe's epochs
    """

    def __init__(self, sampler: DynamicSampler) -> None:
        self.ids = np.arange(sampler.num_samples)
        self.num_kept = sampler.num_kept
        self.seed = sampler.seed
        self.sampler = sampler

    def visit(self, pool: Pool, recipe: Recipe, regime: str) -> Visits:
        """Return the visits the sampler chooses; a sampler knows epochs, so its regime is equal epochs."""
        return visit_dynamically(self.sampler, recipe)

    def weigh_losses(self, pool: Pool, recipe: Recipe, stream: tuple[object, ...]) -> BatchLoss | PartedLoss:
        """Return the mean of losses weighted by the sampler, which observes each batch."""
        crew, losses = find_crew(), pool.sample_losses(recipe, stream)
        if self.micro_batch or crew.size > 1:
            return observed_parts(losses, self.sampler, self.micro_batch, crew)
        return observed_loss(losses, self.sampler)

    def describe_selection(self) -> dict:
        """Return the time spent in the sampler and its agent, and its trace by columns; it visits no sample of its own."""
        overhead = self.sampler.overhead_s
        return {
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
            "trajectory": tabulate([row | {"epoch": row["epoch"] + 1} for row in self.sampler.trace], None),
        }

    def sum_kept(self, values: np.ndarray) -> float:
        """Return the sum over all visits, an epoch."""
        return round(float(self.sampler.visit_counts @ values / self.sampler.epochs), _RATE_DIGITS)

    @property
    def overhead_s(self) -> float:
        """Seconds spent in the sampler."""
        return self.sampler.overhead_s


def make_sampler_choice(sampler: Mapping, num_pool: int, keep: str, epochs: int) -> SamplerChoice:
    """Return the choice of a sampler's specification: its name, parameters and seed."""
    made = make(sampler["name"], num_samples=num_pool, keep=keep, epochs=epochs, seed=sampler["seed"], **sampler["parameters"])
    return SamplerChoice(made)

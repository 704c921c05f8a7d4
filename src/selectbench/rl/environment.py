"""The environment for static selection: one action per sample and epoch, rewarded by redundancy and kept fraction."""

from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch

from selectbench.errors import SelectbenchError
from selectbench.policy import order_by_score
from selectbench.rl.ranks import rank_correlation
from selectbench.rl.reward import Reward
from selectbench.seeds import derive_seed, hash_ids

Redundancy = Callable[[torch.Tensor], np.ndarray]  # features (N, d) → redundancies (N,), larger = less redundant


class MaskSummary(TypedDict):
    """How good a mask is.

    Parameters
    ----------
    kept_fraction : share of samples with π > ½
    reward : the shared reward, see ``Reward.measure``
    redundancy : mean of E · π
    regret : share of the possible gain in mean redundancy, from a random subset to the top k, that the mask's own top k misses;
        None if nothing can be gained
    correlation : Spearman's, of mask and redundancies; None if either is constant
    """

    kept_fraction: float
    reward: float
    redundancy: float
    regret: float | None
    correlation: float | None


class TrajectoryRow(MaskSummary):
    """How good the mask is after an epoch.

    Parameters
    ----------
    epoch : from 1
    updates : of the agent's policy so far
    """

    epoch: int
    updates: int


class EnvironmentState(TypedDict):
    """What an interrupted environment resumes from, between epochs.

    Parameters
    ----------
    table, mask, price, epoch, trajectory, best, chosen_epoch : the attributes of ``SelectionEnvironment``
    steps, total_steps, sample_visits, wall_s, epochs : the attributes of ``LiveEnvironment``, of that alone
    model, optimiser : state dicts of the model that trains, of ``LiveEnvironment`` alone
    """

    table: torch.Tensor
    mask: torch.Tensor
    price: float
    epoch: int
    trajectory: list[TrajectoryRow]
    best: torch.Tensor | None
    chosen_epoch: int | None
    steps: NotRequired[int]
    total_steps: NotRequired[int]
    sample_visits: NotRequired[int]
    wall_s: NotRequired[float]
    epochs: NotRequired[int]
    model: NotRequired[dict[str, torch.Tensor]]
    optimiser: NotRequired[dict[str, Any]]  # as torch types it


class SelectionEnvironment:
    """Iterates over the pool in batches: a batch's features are the states, and its actions in [0, 1] are written to the mask π.

    Features are frozen here; ``LiveEnvironment`` takes them from a model in training. The mask is initialised with ones.

    Parameters
    ----------
    features : (N, d) float32, on the device
    redundancy : recomputed from the feature table at the start of every epoch
    reward : how actions are rewarded
    batch_size : samples per step; batches of an epoch differ by at most one sample
    epochs : passes over the pool
    tolerance : the mask with the highest reward is chosen among those whose kept fraction differs from the target by at most this much;
        without any, the mask with the nearest kept fraction
    stream : names the random order of every epoch
    """

    def __init__(
        self,
        features: torch.Tensor,
        redundancy: Redundancy,
        reward: Reward,
        *,
        batch_size: int,
        epochs: int,
        tolerance: float,
        stream: tuple[object, ...],
    ) -> None:
        self.table = features
        self.redundancy = redundancy
        self.reward = reward
        self.batch_size = batch_size
        self.epochs = epochs
        self.tolerance = tolerance
        self.stream = stream
        self.ids = np.arange(len(features))
        self.mask = torch.ones(len(features), device=features.device)
        self.price = 0.0  # of keeping a sample, used with ``alignment: price``
        self.epoch = 0
        self.trajectory: list[TrajectoryRow] = []
        self.best: torch.Tensor | None = None  # the mask of the chosen epoch
        self.chosen_epoch: int | None = None

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def num_batches(self) -> int:
        """Number of batches per epoch."""
        return max(1, round(len(self) / self.batch_size))

    def order(self, name: object) -> np.ndarray:
        """Return all positions in the random order of the given name."""
        return self.ids[np.argsort(hash_ids(self.ids, derive_seed(*self.stream, "order", name)), kind="stable")]

    def begin_epoch(self) -> None:
        """Shuffle the pool, and compute redundancies and the scale of states from the feature table."""
        self._batches = np.array_split(self.order(self.epoch), self.num_batches)
        self._next = 0
        cover = self.redundancy(self.table)
        self.cover = torch.from_numpy(cover.astype(np.float32)).to(self.table.device)
        self._centre, self._spread = self.table.mean(dim=0), self.table.std(dim=0, correction=0) + 1e-6

    def observe(self) -> torch.Tensor:
        """Return the states (B, d) of the next batch."""
        self.turn_to(self._batches[self._next])
        return (self.forward() - self._centre) / self._spread

    def turn_to(self, positions: np.ndarray) -> None:
        """Make these positions (B,) the current batch."""
        self.positions = positions
        self._where = torch.from_numpy(positions).to(self.table.device)

    def pay(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the rewards (…, B) of actions (…, B) in [0, 1] for the current batch, without taking them."""
        return self.reward.pay(actions, self._where, self.mask, self.cover, self.price)

    def step(self, actions: torch.Tensor, stored: torch.Tensor | None = None) -> None:
        """Take the batch's actions (B,): the mask stores them, or ``stored`` if given, and the model behind the features trains on them."""
        stored = actions if stored is None else stored
        self.mask[self._where] = stored
        self.price = self.reward.move_price(self.price, stored)
        self.learn(actions)
        self._next += 1

    def end_epoch(self, updates: int) -> None:
        """Record how good the mask is after this many updates of the policy, and keep it if it is the best so far."""
        self.epoch += 1
        self.trajectory.append({"epoch": self.epoch, **describe_mask(self.mask, self.cover, self.reward), "updates": updates})
        if self.chosen_epoch is None or self._rank(self.trajectory[-1]) > self._rank(self.trajectory[self.chosen_epoch - 1]):
            self.best, self.chosen_epoch = self.mask.clone(), self.epoch

    def _rank(self, row: TrajectoryRow) -> tuple[bool, float]:
        """Masks within tolerance come first, the highest reward ahead; then those with the nearest kept fraction."""
        distance = abs(row["kept_fraction"] - self.reward.keep)
        within = distance <= self.tolerance + 1e-9
        return within, row["reward"] if within else -distance

    @property
    def distance(self) -> float:
        """How far the chosen mask's kept fraction is from the target; 0 if it is within tolerance."""
        if self.chosen_epoch is None:
            raise SelectbenchError("no epoch has ended, so no mask is chosen")
        distance = abs(self.trajectory[self.chosen_epoch - 1]["kept_fraction"] - self.reward.keep)
        return 0.0 if distance <= self.tolerance + 1e-9 else distance

    def forward(self) -> torch.Tensor:
        """Return the features (B, d) of the current batch."""
        return self.table[self._where]

    def learn(self, actions: torch.Tensor) -> None:
        """Train the model behind the features on the batch; frozen features have no such model."""

    def state_dict(self) -> EnvironmentState:
        """Return everything needed to resume, between epochs."""
        return {
            "table": self.table,
            "mask": self.mask,
            "price": self.price,
            "epoch": self.epoch,
            "trajectory": self.trajectory,
            "best": self.best,
            "chosen_epoch": self.chosen_epoch,
        }

    def load_state_dict(self, state: EnvironmentState) -> None:
        """Resume from a ``state_dict``."""
        self._restore(state)

    def _restore(self, attributes: Mapping[str, object]) -> None:
        for name, value in attributes.items():
            setattr(self, name, value.to(self.table.device) if isinstance(value, torch.Tensor) else value)


def describe_mask(mask: torch.Tensor, cover: torch.Tensor, reward: Reward) -> MaskSummary:
    """Return how good a mask (N,) is, given the redundancies (N,)."""
    scores, values = mask.double().cpu().numpy(), cover.double().cpu().numpy()
    num_kept = max(1, round(reward.keep * len(scores)))
    ids = np.arange(len(scores))
    achieved = values[order_by_score(scores, ids, 0)[:num_kept]].mean() - values.mean()
    best = values[order_by_score(values, ids, 0)[:num_kept]].mean() - values.mean()
    return {
        "kept_fraction": float((scores > 0.5).mean()),
        "reward": float(reward.measure(mask, cover)),
        "redundancy": float((values * scores).mean()),
        "regret": float(1.0 - achieved / best) if best > 1e-12 else None,
        "correlation": rank_correlation(scores, values),
    }

"""The environment of static selection: one action a sample and epoch, rewards by redundancy and kept fraction."""

from collections.abc import Callable

import numpy as np
import torch

from selectbench.policy import order_by_score
from selectbench.rl.ranks import rank_correlation
from selectbench.rl.reward import Reward
from selectbench.seeds import derive_seed, hash_ids

Redundancy = Callable[[torch.Tensor], np.ndarray]  # features (N, d) → redundancies (N,), larger = less redundant


class SelectionEnvironment:
    """Walk over the pool in batches; a batch's features are the states, its actions in [0, 1] enter the mask π.

    Features are frozen here; ``LiveEnvironment`` takes them from a model that trains meanwhile. The mask starts with ones.

    Parameters
    ----------
    features : (N, d) float32, on the device
    redundancy : taken anew from the feature table at the start of every epoch
    reward : what actions are paid
    batch_size : samples a step; batches of an epoch differ by at most one sample
    epochs : passes over the pool
    tolerance : largest distance of the kept fraction from the wanted one at which a mask is a candidate
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
        self.epoch = 0
        self.trajectory: list[dict] = []
        self.best: torch.Tensor | None = None  # the mask of the chosen epoch
        self.chosen_epoch: int | None = None

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        return max(1, round(len(self) / self.batch_size))

    def order(self, name: object) -> np.ndarray:
        """Return all positions in the random order of that name."""
        return self.ids[np.argsort(hash_ids(self.ids, derive_seed(*self.stream, "order", name)), kind="stable")]

    def begin_epoch(self) -> None:
        """Shuffle, and take redundancies and the states' scale from the feature table."""
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
        """Make these positions (B,) the present batch."""
        self.positions = positions
        self._where = torch.from_numpy(positions).to(self.table.device)

    def step(self, actions: torch.Tensor, stored: torch.Tensor | None = None) -> torch.Tensor:
        """Return the rewards (B,) of the batch's actions (B,) in [0, 1]; ``stored`` enters the mask in their place if given."""
        self.mask[self._where] = actions if stored is None else stored
        rewards = self.reward.pay(actions, self._where, self.mask, self.cover)
        self.learn(actions)
        self._next += 1
        return rewards

    def end_epoch(self) -> None:
        """Note how the mask stands, and keep it if it is in the band and has the highest reward so far."""
        self.epoch += 1
        row = describe_mask(self.mask, self.cover, self.reward)
        self.trajectory.append({"epoch": self.epoch, **row})
        in_band = abs(row["kept_fraction"] - self.reward.keep) <= self.tolerance + 1e-9
        if in_band and (self.chosen_epoch is None or row["reward"] > self.trajectory[self.chosen_epoch - 1]["reward"]):
            self.best, self.chosen_epoch = self.mask.clone(), self.epoch

    def forward(self) -> torch.Tensor:
        """Return the features (B, d) of the present batch."""
        return self.table[self._where]

    def learn(self, actions: torch.Tensor) -> None:
        """Let the model behind the features learn from the batch; frozen features have none."""

    def state_dict(self) -> dict:
        """Return everything a continuation needs, between epochs."""
        names = ("table", "mask", "epoch", "trajectory", "best", "chosen_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict) -> None:
        """Continue where ``state_dict`` was taken."""
        for name, value in state.items():
            setattr(self, name, value.to(self.table.device) if isinstance(value, torch.Tensor) else value)


def describe_mask(mask: torch.Tensor, cover: torch.Tensor, reward: Reward) -> dict[str, float | None]:
    """Return how a mask (N,) stands: kept fraction, rewards, regret to the analytic optimum, rank correlation with redundancies (N,).

    The regret is the share of the way from a random subset's mean redundancy to the top-k's that the mask's own top-k has not gone.
    """
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

"""Data Agent: an agent scores samples by difficulty and uncertainty while the model trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from selectbench.dynamic._base import DynamicSampler, Observation, take_highest, to_numpy
from selectbench.errors import SelectbenchError

if TYPE_CHECKING:
    import torch

    from selectbench.dynamic._ppo import PPO


@dataclass(kw_only=True, eq=False)
class DataAgent(DynamicSampler):
    """Keep the k highest latest actions of a PPO agent, which sees a sample's features and is paid R = (w·L̂ + (1 − w)·Ĥ)·a.

    L̂ is the loss cut at its 95 % quantile and scaled to [0, 1] within the batch, Ĥ the uncertainty in [0, 1] (entropy of the softmax
    over log C, or what ``observe`` is given), and w = Var(L̂) / (Var(L̂) + Var(Ĥ) + 1e-8). Rewards are standardised by their running
    mean and deviation, which include the batch. The agent acts on every observed batch and learns every 10 and at the end of an
    epoch. The trace adds ``weight`` (w), ``action`` and ``reward`` (before it is standardised), as means over batches.

    Parameters
    ----------
    reward : {"both", "difficulty", "uncertainty"}
        Which terms are paid; one alone has weight 1.
    adaptive : bool
        Whether w follows the variances; else it is ½.
    agent : {"ppo", "none"}
        Who scores; without an agent the score is the latest reward at a = 1.
    variant : {"paper", "released_code"}
        The paper's rule, or what the published repository does: pruning is never armed, and all losses are weighted by 1/keep.
    """

    reward: Literal["both", "difficulty", "uncertainty"] = "both"
    adaptive: bool = True
    agent: Literal["ppo", "none"] = "ppo"
    variant: Literal["paper", "released_code"] = "paper"

    citation = "Data Agent: learning to select data via end-to-end dynamic optimization, ICML 2026, Section 3; details from its code."
    memory = ("scores",)
    measures = ("weight", "action", "reward")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scores = np.full(self.num_samples, np.nan)
        self._moments = Moments()
        self._ppo: PPO | None = None  # built when the width of the features is known

    def prunes(self, epoch: int) -> bool:
        """Tell whether an epoch is chosen by the rule; the released code never does."""
        return self.variant == "paper" and super().prunes(epoch)

    def weigh(self, chosen: np.ndarray) -> np.ndarray:
        """Return ones, or 1/keep for all in the released code."""
        return np.full(len(chosen), 1.0 if self.variant == "paper" else 1.0 / self.keep)

    def choose(self, seed: int) -> np.ndarray:
        """Return the ids of the k highest latest actions."""
        return take_highest(self.scores, self.num_kept, seed)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Let the agent act on a batch, pay it, and remember its actions."""
        difficulty = scale_losses(batch.losses)
        uncertainty = np.zeros_like(difficulty) if self.reward == "difficulty" else read_uncertainty(batch)
        weight = self._weigh_terms(difficulty, uncertainty)
        merit = weight * difficulty + (1 - weight) * uncertainty
        if self.agent == "none":
            self.scores[batch.ids] = merit
            return {"weight": weight, "action": 1.0, "reward": float(merit.mean())}
        actions = self._act(read_features(batch))
        rewards = merit * actions
        self._ppo.pay(self._moments.standardise(rewards))
        self.scores[batch.ids] = actions
        return {"weight": weight, "action": float(actions.mean()), "reward": float(rewards.mean())}

    def end_epoch(self) -> None:
        """Learn from the batches that are left."""
        if self._ppo:
            self._ppo.end_episode()

    def state_dict(self) -> dict:
        """Return everything a continuation needs, the agent included."""
        agent = self._ppo.state_dict() if self._ppo else None
        return super().state_dict() | {"agent": agent, "moments": vars(self._moments).copy()}

    def load_state_dict(self, state: Mapping) -> None:
        """Continue where ``state_dict`` was taken."""
        super().load_state_dict(state)
        self._moments = Moments(**state["moments"])
        self._ppo = None
        if state["agent"]:
            self._ppo = self._build(state["agent"]["width"])
            self._ppo.load_state_dict(state["agent"])

    def _weigh_terms(self, difficulty: np.ndarray, uncertainty: np.ndarray) -> float:
        if self.reward != "both":
            return float(self.reward == "difficulty")
        return weigh_by_variance(difficulty, uncertainty) if self.adaptive else 0.5

    def _build(self, width: int) -> "PPO":
        from selectbench.dynamic._ppo import PPO  # here, so that a plan needs no torch

        return PPO(width, self.seed)

    def _act(self, states: "torch.Tensor") -> np.ndarray:
        if self._ppo is None:
            self._ppo = self._build(states.shape[1])
        if states.shape[1] != self._ppo.width:
            raise SelectbenchError(f"observe: features of width {states.shape[1]}, and {self._ppo.width} before")
        self._ppo.move_to(states.device)
        self._ppo.set_progress(max(0, self.epoch) / max(1, self.epochs - 1))
        return to_numpy(self._ppo.act(states))


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of all numbers so far (Chan, Golub, LeVeque 1979)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Take in values (B,) and return them less the mean, over the deviation + 1e-8."""
        total = self.count + len(values)
        gap = float(values.mean()) - self.mean
        self.squares += float(((values - values.mean()) ** 2).sum()) + gap**2 * self.count * len(values) / total
        self.mean += gap * len(values) / total
        self.count = total
        return (values - self.mean) / (math.sqrt(self.squares / self.count) + 1e-8)


def scale_losses(losses: np.ndarray) -> np.ndarray:
    """Cut losses (B,) at their 95 % quantile and scale them to [0, 1]; equal losses become 0."""
    cut = np.minimum(losses, np.quantile(losses, 0.95))
    return (cut - cut.min()) / max(cut.max() - cut.min(), np.finfo(np.float64).tiny)


def weigh_by_variance(difficulty: np.ndarray, uncertainty: np.ndarray) -> float:
    """Return w = Var(L̂) / (Var(L̂) + Var(Ĥ) + 1e-8), in [0, 1], with variances over the batch (divided by B)."""
    return float(difficulty.var() / (difficulty.var() + uncertainty.var() + 1e-8))


def read_uncertainty(batch: Observation) -> np.ndarray:
    """Return uncertainties (B,) in [0, 1]: as given, or the entropy of the softmax over log C.

    Raises
    ------
    SelectbenchError
        There are neither logits nor an uncertainty, or both; a shape or a value is wrong.
    """
    import torch

    num = len(batch.ids)
    if (batch.logits is None) == (batch.uncertainty is None):
        raise SelectbenchError("observe: data_agent needs logits (B, C) or an uncertainty (B,) in [0, 1], and one of the two alone")
    if batch.logits is not None:
        logits = torch.as_tensor(batch.logits).detach().float()
        if logits.ndim != 2 or len(logits) != num or logits.shape[1] < 2:
            raise SelectbenchError(f"observe: logits {tuple(logits.shape)} are not ({num}, C) with two classes or more")
        entropy = torch.special.entr(logits.softmax(dim=1)).sum(dim=1)
        uncertainty = to_numpy(entropy / math.log(logits.shape[1])).clip(0.0, 1.0)
    else:
        uncertainty = to_numpy(batch.uncertainty).astype(np.float64)
        if uncertainty.shape != (num,):
            raise SelectbenchError(f"observe: uncertainty {uncertainty.shape} is not ({num},)")
    bad = ~((uncertainty >= 0) & (uncertainty <= 1))
    if bad.any():
        raise SelectbenchError(
            f"observe: the uncertainty of sample {batch.ids[bad.argmax()]} is {uncertainty[bad.argmax()]}, not in [0, 1]"
        )
    return uncertainty


def read_features(batch: Observation) -> "torch.Tensor":
    """Return features (B, d), on their device and free of any graph.

    Raises
    ------
    SelectbenchError
        There are none, or a shape or a number is wrong.
    """
    import torch

    if batch.features is None:
        raise SelectbenchError("observe: data_agent needs features (B, d), the state its agent acts on; agent='none' does without")
    features = torch.as_tensor(batch.features).detach()
    if features.ndim != 2 or len(features) != len(batch.ids):
        raise SelectbenchError(f"observe: features {tuple(features.shape)} are not ({len(batch.ids)}, d)")
    if not features.isfinite().all():
        raise SelectbenchError("observe: features are not all finite")
    return features

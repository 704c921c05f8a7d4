"""Data Agent: an agent scores samples by difficulty and uncertainty while the model trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selectbench.arrays import as_array, is_tensor
from selectbench.dynamic._base import DynamicSampler, Observation, match_keys, take_highest, to_numpy
from selectbench.errors import SelectbenchError, first_line, shorten
from selectbench.registry import check_parameter
from selectbench.rl.ranks import rank_correlation

if TYPE_CHECKING:
    import torch

    from selectbench.arrays import Values
    from selectbench.dynamic._ppo import PPO


@dataclass(kw_only=True, eq=False)
class DataAgent(DynamicSampler):
    """Keep the k samples with the highest latest actions of a PPO agent, which sees their features and is rewarded by (w·L̂ + (1 − w)·Ĥ)·a.

    L̂ is the loss, clipped at its 95 % quantile and scaled to [0, 1] within the batch. Ĥ is the uncertainty in [0, 1]: the entropy of
    the softmax divided by log C, or the value passed to ``observe``. w = Var(L̂) / (Var(L̂) + Var(Ĥ) + 1e-8). The merit of a sample is
    w·L̂ + (1 − w)·Ĥ. Rewards are shifted by the mean and divided by the standard deviation of all batches' mean rewards so far, as in
    the published code. The agent acts on every observed batch and learns every 10 batches and at the end of an epoch.

    The trace adds ``weight`` (w), ``action`` and ``reward`` (before it is divided), averaged over batches; ``merit``, the rank
    correlation of the policy's mean actions with the merits within a batch, averaged likewise (0 where either is constant); and
    ``updates``, the rollouts that the agent has learned from since the training began.

    Parameters
    ----------
    reward : {"both", "difficulty", "uncertainty"}
        Which terms the reward contains; a single term has weight 1.
    adaptive : bool
        Whether w follows the variances; otherwise it is ½.
    agent : {"ppo", "none"}
        What scores the samples; without an agent, the score is the merit.
    learns : bool
        Whether the agent is updated; otherwise it draws the actions of its initial policy throughout.
    standardise : bool
        Whether the agent sees features standardised by their running mean and standard deviation, which include the current batch.
    variant : {"paper", "released_code"}
        The paper's rule, or the behaviour of the published code, which never prunes: it trains on full data with weights of 1.
    """

    reward: Literal["both", "difficulty", "uncertainty"] = "both"
    adaptive: bool = True
    agent: Literal["ppo", "none"] = "ppo"
    learns: bool = True
    standardise: bool = False
    variant: Literal["paper", "released_code"] = "paper"

    citation = "Data Agent: learning to select data via end-to-end dynamic optimization, ICML 2026, Section 3; details from its code."
    memory = ("scores",)
    packages = ("torch",)
    measures = ("weight", "action", "reward", "merit", "updates")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scores = np.full(self.num_samples, np.nan)
        self._means = BatchMeans()
        self._ppo: PPO | None = None  # created once the width of the features is known

    def prunes(self, epoch: int) -> bool:
        """Tell whether the rule chooses an epoch; in the released code it never does."""
        return self.variant == "paper" and super().prunes(epoch)

    def choose(self, seed: int) -> np.ndarray:
        """Return the ids of the k highest latest actions."""
        return take_highest(self.scores, self.num_kept, seed)

    def learn(self, batch: Observation) -> Mapping[str, float]:
        """Let the agent act on a batch, reward it, and store its actions."""
        difficulty = scale_losses(batch.losses)
        uncertainty = np.zeros_like(difficulty) if self.reward == "difficulty" else read_uncertainty(batch)
        weight = self._weigh_terms(difficulty, uncertainty)
        merits = weight * difficulty + (1 - weight) * uncertainty
        if self.agent == "none":
            self.scores[batch.ids] = merits
            return {"weight": weight, "action": 1.0, "reward": float(merits.mean())}
        features = read_features(batch)
        agent = self._prepare_agent(features)
        actions, means = (to_numpy("actions", values) for values in agent.act(features))
        rewards = merits * actions
        agent.pay(self._means.normalise(rewards))
        self._count_updates()
        self.scores[batch.ids] = actions
        merit = rank_correlation(means, merits) or 0.0
        return {"weight": weight, "action": float(actions.mean()), "reward": float(rewards.mean()), "merit": merit}

    def end_epoch(self) -> None:
        """Learn from the batches that are left."""
        if self._ppo:
            self._ppo.end_epoch()
            self._count_updates()

    def _collect_state(self) -> dict[str, Any]:
        agent = self._ppo.state_dict() if self._ppo else None
        return super()._collect_state() | {"agent": agent, "means": vars(self._means).copy()}

    def _check_state(self, state: Mapping[str, Any]) -> None:
        super()._check_state(state)
        match_keys("means.", state["means"], vars(self._means))
        for name, kind in (("count", int), ("mean", float), ("squares", float)):
            check_parameter(f"load_state_dict: means.{name}", kind, state["means"][name])

    def _restore(self, state: Mapping[str, Any]) -> None:
        agent = self._restore_agent(state["agent"])
        super()._restore(state)
        self._means, self._ppo = BatchMeans(**state["means"]), agent

    def _restore_agent(self, state: Mapping[str, Any] | None) -> "PPO | None":
        if state is None:
            return None
        if not isinstance(state, Mapping) or check_parameter("load_state_dict: agent.width", int, state.get("width")) < 1:
            raise SelectbenchError("load_state_dict: agent: not the state of an agent; the state is damaged")
        agent = self._build(state["width"])
        match_keys("agent.", state, agent.state_dict())
        try:
            agent.load_state_dict(state)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise SelectbenchError(f"load_state_dict: agent: does not fit ({shorten(first_line(error))}); the state is damaged") from None
        return agent

    def _weigh_terms(self, difficulty: np.ndarray, uncertainty: np.ndarray) -> float:
        if self.reward != "both":
            return float(self.reward == "difficulty")
        return weigh_by_variance(difficulty, uncertainty) if self.adaptive else 0.5

    def _build(self, width: int) -> "PPO":
        from selectbench.dynamic._ppo import PPO  # imported here, so that planning needs no torch

        return PPO(width, self.seed, learns=self.learns, standardise=self.standardise)

    def _prepare_agent(self, states: "torch.Tensor") -> "PPO":
        """Return the agent, on the device of the states (B, d) and at the learning rate of the epoch, which decays from the third on."""
        if self._ppo is None:
            self._ppo = self._build(states.shape[1])
        if states.shape[1] != self._ppo.width:
            raise SelectbenchError(f"observe: features have width {states.shape[1]}, but had {self._ppo.width} before")
        self._ppo.move_to(states.device)
        self._ppo.set_progress(max(0, self.epoch - 1) / max(1, self.epochs - 1))
        return self._ppo

    def _count_updates(self) -> None:
        if self._ppo and self.trace:
            self.trace[-1]["updates"] = self._ppo.updates


@dataclass
class BatchMeans:
    """Running count, mean and sum of squared deviations of the mean values of batches (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """Count the mean of values (B,), and return (values − mean) / (standard deviation of the means + 1e-8).

        A first mean has no deviation; that of its own values takes its place.
        """
        self.count += 1
        gap = float(values.mean()) - self.mean
        self.mean += gap / self.count
        self.squares += gap * (float(values.mean()) - self.mean)
        deviation = math.sqrt(self.squares / self.count) if self.count > 1 else float(values.std())
        normal: np.ndarray = (values - self.mean) / (deviation + 1e-8)
        return normal


def scale_losses(losses: np.ndarray) -> np.ndarray:
    """Clip losses (B,) at their 95 % quantile and scale them to [0, 1]; equal losses become 0."""
    cut: np.ndarray = np.minimum(losses, np.quantile(losses, 0.95))
    scaled: np.ndarray = (cut - cut.min()) / max(cut.max() - cut.min(), np.finfo(np.float64).tiny)
    return scaled


def weigh_by_variance(difficulty: np.ndarray, uncertainty: np.ndarray) -> float:
    """Return w = Var(L̂) / (Var(L̂) + Var(Ĥ) + 1e-8), in [0, 1], with biased variances over the batch."""
    return float(difficulty.var() / (difficulty.var() + uncertainty.var() + 1e-8))


def read_uncertainty(batch: Observation) -> np.ndarray:
    """Return uncertainties (B,) in [0, 1]: as given, or the entropy of the softmax divided by log C.

    Raises
    ------
    SelectbenchError
        Neither or both of logits and uncertainty are given, or a shape or value is wrong.
    """
    import torch

    num = len(batch.ids)
    if batch.logits is not None and batch.uncertainty is None:
        logits = read_tensor("logits", batch.logits).float()
        if logits.ndim != 2 or len(logits) != num or logits.shape[1] < 2:
            raise SelectbenchError(f"observe: logits {tuple(logits.shape)} are not ({num}, C) with two classes or more")
        entropy = torch.special.entr(logits.softmax(dim=1)).sum(dim=1)
        uncertainty = to_numpy("uncertainty", entropy / math.log(logits.shape[1])).clip(0.0, 1.0)
    elif batch.uncertainty is not None and batch.logits is None:
        uncertainty = to_numpy("observe: uncertainty", batch.uncertainty).astype(np.float64)
        if uncertainty.shape != (num,):
            raise SelectbenchError(f"observe: uncertainty {uncertainty.shape} is not ({num},)")
    else:
        raise SelectbenchError("observe: data_agent needs logits (B, C) or an uncertainty (B,) in [0, 1], not both")
    bad = ~((uncertainty >= 0) & (uncertainty <= 1))
    if bad.any():
        raise SelectbenchError(
            f"observe: the uncertainty of sample {batch.ids[bad.argmax()]} is {uncertainty[bad.argmax()]}, not in [0, 1]"
        )
    return uncertainty


def read_features(batch: Observation) -> "torch.Tensor":
    """Return features (B, d) on their device, detached.

    Raises
    ------
    SelectbenchError
        There are none, or a shape or value is wrong.
    """
    if batch.features is None:
        raise SelectbenchError("observe: data_agent needs features (B, d), the states of its agent; only agent='none' works without them")
    features = read_tensor("features", batch.features)
    if features.ndim != 2 or len(features) != len(batch.ids):
        raise SelectbenchError(f"observe: features {tuple(features.shape)} are not ({len(batch.ids)}, d)")
    if not features.isfinite().all():
        raise SelectbenchError("observe: features are not all finite")
    return features


def read_tensor(name: str, values: "Values") -> "torch.Tensor":
    """Return a detached tensor on its device, or one of an array; lists become float32.

    Raises
    ------
    SelectbenchError
        The values are not numbers, or their rows have different lengths.
    """
    import torch

    if is_tensor(values):
        return values.detach()
    array = as_array(f"observe: {name}", values)
    return torch.as_tensor(array) if isinstance(values, np.ndarray) else torch.as_tensor(array).float()

"""PPO with a Beta policy, the agent of Data Agent."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from selectbench.rl.networks import EDGE, ActorCritic, log_probability
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.training.optimisers import Adam, set_learning_rate


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Hyperparameters of the agent.

    Parameters
    ----------
    learning_rate : initial learning rate of Adam
    clip : clipping range of the probability ratio
    passes : K, passes over every rollout
    gamma, decay : discount γ and λ of generalised advantage estimation
    rollout : batches between two updates within an epoch
    """

    learning_rate: float = 3e-4
    clip: float = 0.2
    passes: int = 4
    gamma: float = 0.99
    decay: float = 0.95
    rollout: int = 10


_STEP = frozenset({"states", "actions", "log_probabilities", "values", "rewards"})  # what a rollout keeps of a batch


class FeatureMoments:
    """Running count, means and sums of squared deviations of features (Chan, Golub, LeVeque 1979).

    Parameters
    ----------
    width : number of features
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.squares = torch.zeros(width, dtype=torch.float64)

    def standardise(self, states: torch.Tensor) -> torch.Tensor:
        """Count states (B, d), and return (states − mean) / (standard deviation + 1e-8)."""
        values = states.double()
        total, gap = self.count + len(values), values.mean(dim=0) - self.mean
        self.squares = self.squares + (values - values.mean(dim=0)).square().sum(dim=0) + gap.square() * self.count * len(values) / total
        self.mean = self.mean + gap * len(values) / total
        self.count = total
        return (values - self.mean) / ((self.squares / total).sqrt() + 1e-8)

    def move_to(self, device: torch.device) -> None:
        """Move the moments to a device."""
        self.mean, self.squares = self.mean.to(device), self.squares.to(device)


@contextmanager
def own_mode() -> Iterator[None]:
    """Use the default modes whatever the caller has set: autocast, no_grad or inference mode would keep the agent from learning."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        yield


class PPO:
    """Learns from rollouts of batches; a batch is one step of B parallel episodes, one per position in it, which end with the rollout.

    An update happens when the rollout is full, and at the end of an epoch for the batches that are left.

    Parameters
    ----------
    width : d of the states
    seed : for the weights and all actions
    learns : whether it updates; otherwise it stores nothing and acts as initialised
    standardise : whether states are standardised by the running moments of each feature
    settings : hyperparameters

    Attributes
    ----------
    updates : number of rollouts learned from so far
    """

    @own_mode()
    def __init__(
        self, width: int, seed: int, *, learns: bool = True, standardise: bool = False, settings: PPOSettings = PPOSettings()
    ) -> None:
        self.width = width
        self.moments = FeatureMoments(width) if standardise else None
        self.learns = learns
        self.settings = settings
        self.updates = 0
        self.generator = torch.Generator().manual_seed(derive_seed("ppo", "actions", seed))
        with isolated_torch_rng(derive_seed("ppo", "weights", seed)):
            self.net = ActorCritic(width, actor_width=128, gain=1.0)
        self.optimisers = [
            Adam(values, lr=settings.learning_rate, eps=1e-5, weight_decay=5e-4, fused=True)
            for values in ([*self.net.actor.parameters(), *self.net.heads.parameters()], list(self.net.critic.parameters()))
        ]
        self.rollout: list[dict[str, torch.Tensor]] = []

    @own_mode()
    def move_to(self, device: torch.device) -> None:
        """Move the agent and its rollout to a device."""
        if self.moments:
            self.moments.move_to(device)
        if self.net.heads.weight.device == device:
            return
        self.net.to(device)
        for optimiser in self.optimisers:
            optimiser.load_state_dict(optimiser.state_dict())  # moves Adam's moments to the weights' device
        self.rollout = [{name: value.to(device) for name, value in step.items()} for step in self.rollout]

    def set_progress(self, done: float) -> None:
        """Set the learning rate, which decays linearly to 1 %; ``done`` is the completed share of training, in [0, 1]."""
        for optimiser in self.optimisers:
            set_learning_rate(optimiser, self.settings.learning_rate * (1.0 - 0.99 * done))

    @own_mode()
    def act(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return actions (B,) in (0, 1) for states (B, d), and their means under the policy; the rewards are passed to ``pay`` next."""
        if self.moments:
            states = self.moments.standardise(states)
        states = states.to(torch.float32, copy=True)
        with torch.no_grad():
            policy = self.net.policy(states)
            actions = draw_beta(policy, self.generator)
            if self.learns:
                logarithms, values = log_probability(policy, actions), self.net.value(states)
                self.rollout.append({"states": states, "actions": actions, "log_probabilities": logarithms, "values": values})
        return actions, policy.mean

    def pay(self, rewards: np.ndarray | torch.Tensor) -> None:
        """Give the last actions their rewards (B,), and learn if the rollout is full."""
        if not self.learns:
            return
        self.rollout[-1]["rewards"] = torch.as_tensor(rewards).to(self.rollout[-1]["values"])
        if len(self.rollout) == self.settings.rollout:
            self._learn()

    def end_epoch(self) -> None:
        """Learn from the batches of an epoch that no full rollout holds."""
        if self.rollout:
            self._learn()

    @own_mode()
    def _learn(self) -> None:
        advantages = estimate_advantages(
            [step["rewards"] for step in self.rollout],
            [step["values"] for step in self.rollout],
            self.settings.gamma,
            self.settings.decay,
        )
        steps = {name: torch.cat([step[name] for step in self.rollout]) for name in self.rollout[0]}
        gains = torch.cat(advantages)
        returns = gains + steps["values"]
        if len(gains) > 1:  # a single one has no standard deviation
            gains = gains / (gains.std(correction=0) + 1e-8)
        for _ in range(self.settings.passes):
            policy = self.net.policy(steps["states"])
            ratios = (log_probability(policy, steps["actions"]) - steps["log_probabilities"]).exp()
            clipped = ratios.clamp(1 - self.settings.clip, 1 + self.settings.clip)
            actor_loss = -torch.minimum(ratios * gains, clipped * gains).mean()
            critic_loss = (self.net.value(steps["states"]) - returns).square().mean()
            for optimiser, loss in zip(self.optimisers, (actor_loss, critic_loss), strict=True):
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimiser.step()
        self.rollout = []
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume."""
        return copy.deepcopy(
            {
                "width": self.width,
                "updates": self.updates,
                "net": self.net.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                "generator": self.generator.get_state(),
                "rollout": self.rollout,
                "moments": vars(self.moments) if self.moments else None,
            }
        )

    @own_mode()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a ``state_dict``.

        Raises
        ------
        ValueError, RuntimeError, TypeError, KeyError, AttributeError
            It does not fit this agent.
        """
        self._check_shapes(state)
        self.updates = state["updates"]
        self.net.load_state_dict(state["net"])
        for optimiser, stored in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(copy.deepcopy(stored))  # the optimiser would update the given tensors in place
        self.generator.set_state(state["generator"].cpu())
        if self.moments:
            vars(self.moments).update(copy.deepcopy(state["moments"]))
        self.rollout = [{name: value.to(self.net.heads.weight.device) for name, value in step.items()} for step in state["rollout"]]

    def _check_shapes(self, state: Mapping[str, Any]) -> None:
        """Raise a ``ValueError`` for what torch's own loading lets pass: the parts of optimisers, rollout and moments."""
        for optimiser, stored in zip(self.optimisers, state["optimisers"], strict=True):
            values = [value for group in optimiser.param_groups for value in group["params"]]
            if stored["state"].keys() != (set(range(len(values))) if state["updates"] else set()):
                raise ValueError(f"an optimiser holds {len(stored['state'])} of {len(values)} moments")
            for place, moments in stored["state"].items():
                check_shape("a first moment", moments["exp_avg"], values[place].shape)
                check_shape("a second moment", moments["exp_avg_sq"], values[place].shape)
        if len(state["rollout"]) >= self.settings.rollout:
            raise ValueError(f"the rollout has {len(state['rollout'])} batches")
        for step in state["rollout"]:
            if step.keys() != _STEP:
                raise ValueError(f"a batch of the rollout has {', '.join(sorted(step))} instead of {', '.join(sorted(_STEP))}")
            for name, value in step.items():
                check_shape(name, value, (len(step["states"]), self.width) if name == "states" else (len(step["states"]),))
        if (state["moments"] is None) != (self.moments is None):
            raise ValueError("moments of features are given or missing")
        if self.moments:
            if state["moments"].keys() != vars(self.moments).keys():
                raise ValueError(f"moments are {', '.join(sorted(state['moments']))}")
            check_shape("moments.mean", state["moments"]["mean"], (self.width,))
            check_shape("moments.squares", state["moments"]["squares"], (self.width,))


def check_shape(name: str, value: torch.Tensor, shape: Sequence[int]) -> None:
    """Raise a ``ValueError`` unless a tensor has a shape."""
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"{name} has the shape {tuple(value.shape)} instead of {tuple(shape)}")


def estimate_advantages(rewards: Sequence[torch.Tensor], values: Sequence[torch.Tensor], gamma: float, decay: float) -> list[torch.Tensor]:
    """Generalised advantage estimation per episode, A_t = r_t + γ·V_{t+1} − V_t + γλ·A_{t+1}; nothing follows the last step.

    Parameters
    ----------
    rewards, values : one tensor (B_t,) per step; if step t + 1 is smaller, the remaining episodes end with step t
    gamma, decay : γ and λ

    Returns
    -------
    One tensor (B_t,) per step.
    """
    advantages: list[torch.Tensor] = []
    next_values = next_advantages = values[-1][:0]
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        surprise = reward + gamma * _fit(next_values, len(value)) - value
        next_values, next_advantages = value, surprise + gamma * decay * _fit(next_advantages, len(value))
        advantages.insert(0, next_advantages)
    return advantages


def draw_beta(policy: torch.distributions.Beta, generator: torch.Generator) -> torch.Tensor:
    """Draw from a Beta policy with a CPU generator, as x / (x + y) of two Gamma draws."""
    x, y = (torch._standard_gamma(shape.cpu(), generator=generator) for shape in (policy.concentration1, policy.concentration0))
    return (x / (x + y)).clamp(EDGE, 1.0 - EDGE).to(policy.concentration1.device)


def _fit(values: torch.Tensor, num: int) -> torch.Tensor:
    """Truncate to a length, or pad with zeros."""
    return nn.functional.pad(values[:num], (0, max(0, num - len(values))))

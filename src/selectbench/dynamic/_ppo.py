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
from selectbench.training.optimisers import Adam


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Hyperparameters of the agent.

    Parameters
    ----------
    learning_rate : initial learning rate of Adam
    clip : clipping range of the probability ratio
    passes : K, passes over every rollout
    gamma, decay : discount γ and λ of generalised advantage estimation
    rollout : batches between two updates
    """

    learning_rate: float = 3e-4
    clip: float = 0.2
    passes: int = 4
    gamma: float = 0.99
    decay: float = 0.95
    rollout: int = 10


@contextmanager
def own_mode() -> Iterator[None]:
    """Use the default modes whatever the caller has set: autocast, no_grad or inference mode would keep the agent from learning."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        yield


class PPO:
    """Learns from rollouts of batches; a batch is one step of B parallel episodes, one per position in it, which end with the epoch.

    An update happens when the rollout is full and the next batch is available for bootstrapping, or when the epoch ends.

    Parameters
    ----------
    width : d of the states
    seed : for the weights and all actions
    settings : hyperparameters
    """

    @own_mode()
    def __init__(self, width: int, seed: int, settings: PPOSettings = PPOSettings()) -> None:
        self.width = width
        self.settings = settings
        self.generator = torch.Generator().manual_seed(derive_seed("ppo", "actions", seed))
        with isolated_torch_rng(derive_seed("ppo", "weights", seed)):
            self.net = ActorCritic(width, actor_width=128)
        self.optimiser = Adam(self.net.parameters(), lr=settings.learning_rate, eps=1e-5, weight_decay=5e-4, fused=True)
        self.rollout: list[dict[str, torch.Tensor]] = []

    @own_mode()
    def move_to(self, device: torch.device) -> None:
        """Move the agent and its rollout to a device."""
        if self.net.heads.weight.device == device:
            return
        self.net.to(device)
        self.optimiser.load_state_dict(self.optimiser.state_dict())  # moves Adam's moments to the weights' device
        self.rollout = [{name: value.to(device) for name, value in step.items()} for step in self.rollout]

    def set_progress(self, done: float) -> None:
        """Set the learning rate, which decays linearly to 1 %; ``done`` is the completed share of training, in [0, 1]."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * (1.0 - 0.99 * done)

    @own_mode()
    def act(self, states: torch.Tensor) -> torch.Tensor:
        """Return actions (B,) in (0, 1) for states (B, d); their rewards are passed to ``pay`` next."""
        states = states.to(torch.float32, copy=True)
        if len(self.rollout) == self.settings.rollout:
            self._learn(self.net.value(states).detach())
        with torch.no_grad():
            policy = self.net.policy(states)
            actions = draw_beta(policy, self.generator)
            logarithms, values = log_probability(policy, actions), self.net.value(states)
            step = {"states": states, "actions": actions, "log_probabilities": logarithms, "values": values}
        self.rollout.append(step)
        return actions

    def pay(self, rewards: np.ndarray | torch.Tensor) -> None:
        """Store the rewards (B,) of the last actions."""
        self.rollout[-1]["rewards"] = torch.as_tensor(rewards).to(self.rollout[-1]["values"])

    def end_episode(self) -> None:
        """Learn from the remaining batches of an epoch, after which the episodes end."""
        if self.rollout:
            self._learn(self.rollout[-1]["values"][:0])

    @own_mode()
    def _learn(self, beyond: torch.Tensor) -> None:
        advantages = estimate_advantages(
            [step["rewards"] for step in self.rollout],
            [step["values"] for step in self.rollout],
            beyond,
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
            self.optimiser.zero_grad(set_to_none=True)
            (actor_loss + 0.5 * critic_loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self.optimiser.step()
        self.rollout = []

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume."""
        return copy.deepcopy(
            {
                "width": self.width,
                "net": self.net.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generator": self.generator.get_state(),
                "rollout": self.rollout,
            }
        )

    @own_mode()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a ``state_dict``."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))  # the optimiser would update the given tensors in place
        self.generator.set_state(state["generator"].cpu())
        self.rollout = [{name: value.to(self.net.heads.weight.device) for name, value in step.items()} for step in state["rollout"]]


def estimate_advantages(
    rewards: Sequence[torch.Tensor], values: Sequence[torch.Tensor], beyond: torch.Tensor, gamma: float, decay: float
) -> list[torch.Tensor]:
    """Generalised advantage estimation per episode: A_t = r_t + γ·V_{t+1} − V_t + γλ·A_{t+1}.

    Parameters
    ----------
    rewards, values : one tensor (B_t,) per step; if step t + 1 is smaller, the remaining episodes end with step t
    beyond : (B,) values of the states after the last step; empty if all episodes end there
    gamma, decay : γ and λ

    Returns
    -------
    One tensor (B_t,) per step.
    """
    advantages: list[torch.Tensor] = []
    next_values, next_advantages = beyond, torch.zeros_like(beyond)
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

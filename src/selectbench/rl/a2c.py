"""A2C with a Beta policy, the agent of RL-Selector."""

from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from selectbench.errors import SelectbenchError
from selectbench.rl.environment import SelectionEnvironment
from selectbench.rl.networks import EDGE, ActorCritic, log_probability
from selectbench.training.optimisers import Adam, set_learning_rate


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Hyperparameters of the agent.

    Parameters
    ----------
    learning_rate : initial learning rate of Adam; decays linearly to 1 % over all steps
    noise : whether the mask stores sampled actions instead of the policy's means; exploration samples actions either way
    normalise : whether the advantages of a batch are standardised
    """

    learning_rate: float
    noise: bool = True
    normalise: bool = True


class AgentState(TypedDict):
    """What an interrupted agent resumes from.

    Parameters
    ----------
    net, optimiser : state dicts of the network and of Adam
    step : updates done
    """

    net: dict[str, torch.Tensor]
    optimiser: dict[str, Any]  # as torch types it
    step: int


class A2C:
    """One update per batch with actor loss −log π(a|s) · A and critic loss A²; A = r − V(s), since every episode has one step.

    Parameters
    ----------
    width : d of the states
    settings : hyperparameters
    total_steps : steps over which the learning rate decays
    device : where the networks live
    """

    def __init__(self, width: int, settings: AgentSettings, total_steps: int, device: torch.device) -> None:
        self.settings = settings
        self.total_steps = total_steps
        self.step = 0
        self.net = ActorCritic(width, actor_width=64).to(device)
        self.optimiser = Adam(self.net.parameters(), lr=settings.learning_rate, eps=1e-5, weight_decay=5e-4, fused=True)

    def run_epoch(self, environment: SelectionEnvironment) -> None:
        """Act on every batch of one epoch and learn from each."""
        environment.begin_epoch()
        for _ in range(environment.num_batches):
            states = environment.observe()
            policy = self.net.policy(states)
            actions = policy.sample().clamp(EDGE, 1.0 - EDGE)
            rewards = environment.step(actions, None if self.settings.noise else policy.mean.detach())
            self._learn(log_probability(policy, actions), rewards - self.net.value(states))
        environment.end_epoch()
        if not bool(environment.mask.isfinite().all()):
            raise SelectbenchError(f"the agent's actions are not finite after epoch {environment.epoch}")

    def _learn(self, log_probabilities: torch.Tensor, advantages: torch.Tensor) -> None:
        weights = advantages.detach()
        if self.settings.normalise and len(weights) > 1:
            weights = (weights - weights.mean()) / (weights.std() + 1e-8)
        loss = -(log_probabilities * weights).mean() + 0.5 * advantages.square().mean()
        done = min(1.0, self.step / max(1, self.total_steps - 1))
        set_learning_rate(self.optimiser, self.settings.learning_rate * (1.0 - 0.99 * done))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimiser.step()
        self.step += 1

    def state_dict(self) -> AgentState:
        """Return everything needed to resume."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step}

    def load_state_dict(self, state: AgentState) -> None:
        """Resume from a ``state_dict``."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]

"""A2C with a Beta policy: the agent of RL-Selector."""

from dataclasses import dataclass

import torch

from selectbench.errors import SelectbenchError
from selectbench.rl.environment import SelectionEnvironment
from selectbench.rl.networks import EDGE, ActorCritic
from selectbench.training.optimisers import Adam, set_learning_rate


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """How an agent learns.

    Parameters
    ----------
    learning_rate : of Adam, falling linearly to a hundredth over all steps
    noise : whether the mask holds sampled actions or the policy's means; actions are sampled for exploration either way
    normalise : whether the advantages of a batch are standardised
    """

    learning_rate: float
    noise: bool = True
    normalise: bool = True


class A2C:
    """One update a batch: actor loss −log π(a|s) · A, critic loss A², A = r − V(s), as every sample is an episode of one step.

    Parameters
    ----------
    width : d of the states
    settings : how it learns
    total_steps : over which the learning rate falls
    device : where it lives
    """

    def __init__(self, width: int, settings: AgentSettings, total_steps: int, device: torch.device) -> None:
        self.settings = settings
        self.total_steps = total_steps
        self.step = 0
        self.net = ActorCritic(width, actor_width=64).to(device)
        self.optimiser = Adam(self.net.parameters(), lr=settings.learning_rate, eps=1e-5, weight_decay=5e-4, fused=True)

    def run_epoch(self, environment: SelectionEnvironment) -> None:
        """Act on every batch of an epoch and learn from each."""
        environment.begin_epoch()
        for _ in range(environment.num_batches):
            states = environment.observe()
            policy = self.net.policy(states)
            actions = policy.sample().clamp(EDGE, 1.0 - EDGE)
            rewards = environment.step(actions, None if self.settings.noise else policy.mean.detach())
            self._learn(policy.log_prob(actions), rewards - self.net.value(states))
        environment.end_epoch()
        if not bool(environment.mask.isfinite().all()):
            raise SelectbenchError(f"the agent's actions are no longer numbers after epoch {environment.epoch}")

    def _learn(self, log_probabilities: torch.Tensor, advantages: torch.Tensor) -> None:
        weights = advantages.detach()
        if self.settings.normalise and len(weights) > 1:
            weights = (weights - weights.mean()) / (weights.std() + 1e-8)
        loss = -(log_probabilities * weights).mean() + 0.5 * advantages.square().mean()
        done = min(1.0, self.step / max(1, self.total_steps - 1))
        set_learning_rate(self.optimiser, self.settings.learning_rate * (1.0 - 0.99 * done))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1

    def state_dict(self) -> dict:
        """Return everything a continuation needs."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict) -> None:
        """Continue where ``state_dict`` was taken."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]

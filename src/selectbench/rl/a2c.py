"""A2C with a Beta policy, the agent of RL-Selector."""

from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from selectbench.errors import SelectbenchError
from selectbench.rl.environment import SelectionEnvironment
from selectbench.rl.networks import EDGE, ActorCritic, log_probability
from selectbench.rl.settings import Baseline
from selectbench.training.optimisers import Adam, set_learning_rate


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Hyperparameters of the agent; the defaults are those of plain A2C, as published.

    Parameters
    ----------
    learning_rate : initial learning rate of Adam; decays linearly to 1 % over all steps
    noise : whether the mask stores sampled actions instead of the policy's means; exploration samples actions either way
    baseline : whether an action's advantage A is its reward minus V(s), or minus the mean reward of the other draws; A2C has a critic
    normalise : whether the advantages of an update are standardised
    entropy : weight of the policy's entropy in the actor's loss, which keeps actions from saturating at 0 and 1
    draws : actions sampled per state and update; what they would be paid is known without taking them
    updates : updates per batch, each with actions drawn anew; the last of them are taken
    learns : whether the agent is updated; otherwise it acts alike and stays as it is
    """

    learning_rate: float
    noise: bool = True
    baseline: Baseline = "critic"
    normalise: bool = False
    entropy: float = 0.0
    draws: int = 1
    updates: int = 1
    learns: bool = True


class AgentState(TypedDict):
    """What an interrupted agent resumes from.

    Parameters
    ----------
    net, optimiser : state dicts of the network and of Adam
    step : updates scheduled so far
    updates : updates done, those of the agent it continues included
    """

    net: dict[str, torch.Tensor]
    optimiser: dict[str, Any]  # as torch types it
    step: int
    updates: int


class A2C:
    """Actor loss −log π(a|s) · A and critic loss A², with A = r − V(s) since every episode has one step.

    What hypothetical actions would be paid is known, so several can be drawn and several updates made per batch.

    Parameters
    ----------
    width : d of the states
    settings : hyperparameters
    num_batches : batches over which the learning rate decays
    device : where the networks live
    """

    def __init__(self, width: int, settings: AgentSettings, num_batches: int, device: torch.device) -> None:
        self.settings = settings
        self.total_steps = num_batches * settings.updates
        self.step = self.updates = 0
        self.net = ActorCritic(width, actor_width=64).to(device)
        self.optimiser = Adam(self.net.parameters(), lr=settings.learning_rate, eps=1e-5, weight_decay=5e-4, fused=True)

    def run_epoch(self, environment: SelectionEnvironment) -> None:
        """Learn from every batch of one epoch and act on it."""
        environment.begin_epoch()
        for _ in range(environment.num_batches):
            states = environment.observe()
            for _ in range(self.settings.updates):
                policy = self.net.policy(states)
                actions = policy.sample((self.settings.draws,)).clamp(EDGE, 1.0 - EDGE)
                rewards = environment.pay(actions)
                if self.settings.baseline == "critic":
                    advantages = rewards - self.net.value(states)
                else:
                    advantages = rewards - (rewards.sum(dim=0) - rewards) / (len(rewards) - 1)
                self._learn(policy, actions, advantages)
            environment.step(actions[0], None if self.settings.noise else policy.mean.detach())
        environment.end_epoch(self.updates)
        if not bool(environment.mask.isfinite().all()):
            raise SelectbenchError(f"the agent's actions are not finite after epoch {environment.epoch}")

    def _learn(self, policy: torch.distributions.Beta, actions: torch.Tensor, advantages: torch.Tensor) -> None:
        """Take one step of Adam, given draws of actions (K, B) and their advantages (K, B)."""
        loss = find_actor_loss(policy, actions, advantages.detach(), self.settings) + 0.5 * advantages.square().mean()
        done = min(1.0, self.step / max(1, self.total_steps - 1))
        self.step += 1
        if not self.settings.learns:
            return
        set_learning_rate(self.optimiser, self.settings.learning_rate * (1.0 - 0.99 * done))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimiser.step()
        self.updates += 1

    def state_dict(self) -> AgentState:
        """Return everything needed to resume."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step, "updates": self.updates}

    def load_state_dict(self, state: AgentState) -> None:
        """Resume from a ``state_dict``."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.updates = state["step"], state["updates"]


def find_actor_loss(
    policy: torch.distributions.Beta, actions: torch.Tensor, advantages: torch.Tensor, settings: AgentSettings
) -> torch.Tensor:
    """Return −mean(log π(a|s) · A) minus the weighted entropy (), for actions (K, B) and advantages (K, B).

    Standardising takes a constant off, and with it a reward that all samples of a single draw share.
    """
    if settings.normalise and advantages.numel() > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    loss = -(log_probability(policy, actions) * advantages).mean()
    if settings.entropy:
        loss = loss - settings.entropy * policy.entropy().mean()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return loss

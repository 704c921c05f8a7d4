"""Networks shared by the agents with a Beta policy."""

import torch
from torch import nn

EDGE = 1e-4  # actions keep this distance from 0 and 1, where the log-density diverges


class ActorCritic(nn.Module):
    """Actor d → 128 → a → 2 (softplus + 1 gives the Beta parameters) and critic d → 128 → 128 → 1, with orthogonal initialisation.

    Parameters
    ----------
    width : d of the states
    actor_width : a, 64 in RL-Selector and 128 in Data Agent
    gain : of the initialisation of hidden layers, √2 in RL-Selector and 1 in Data Agent
    """

    def __init__(self, width: int, actor_width: int, gain: float = 2**0.5) -> None:
        super().__init__()
        self.actor = nn.Sequential(_linear(width, 128, gain), nn.ReLU(), _linear(128, actor_width, gain), nn.ReLU())
        self.heads = _linear(actor_width, 2, gain=0.01)
        self.critic = nn.Sequential(_linear(width, 128, gain), nn.ReLU(), _linear(128, 128, gain), nn.ReLU(), _linear(128, 1, gain=1.0))

    def policy(self, states: torch.Tensor) -> torch.distributions.Beta:
        """Return the policy at states (B, d)."""
        alpha, beta = (nn.functional.softplus(self.heads(self.actor(states))) + 1.0).unbind(dim=1)
        return torch.distributions.Beta(alpha, beta, validate_args=False)  # validation would wait for the device

    def value(self, states: torch.Tensor) -> torch.Tensor:
        """Return V (B,) at states (B, d)."""
        values: torch.Tensor = self.critic(states).squeeze(1)
        return values


def log_probability(policy: torch.distributions.Distribution, actions: torch.Tensor) -> torch.Tensor:
    """Return log π(a|s) (B,) of actions (B,)."""
    return policy.log_prob(actions)


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer

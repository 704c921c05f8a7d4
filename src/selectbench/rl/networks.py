"""Networks that agents with a Beta policy share."""

import torch
from torch import nn

EDGE = 1e-4  # actions stay this far inside (0, 1), where the Beta density is finite


class ActorCritic(nn.Module):
    """Actor d → 128 → a → two heads (softplus + 1: the parameters of a Beta) and critic d → 128 → 128 → 1, orthogonally initialised.

    Parameters
    ----------
    width : d of the states
    actor_width : a, 64 in RL-Selector and 128 in Data Agent
    """

    def __init__(self, width: int, actor_width: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(_linear(width, 128), nn.ReLU(), _linear(128, actor_width), nn.ReLU())
        self.heads = _linear(actor_width, 2, gain=0.01)
        self.critic = nn.Sequential(_linear(width, 128), nn.ReLU(), _linear(128, 128), nn.ReLU(), _linear(128, 1, gain=1.0))

    def policy(self, states: torch.Tensor) -> torch.distributions.Beta:
        """Return the policy at states (B, d)."""
        alpha, beta = (nn.functional.softplus(self.heads(self.actor(states))) + 1.0).unbind(dim=1)
        return torch.distributions.Beta(alpha, beta, validate_args=False)  # checking waits for the device

    def value(self, states: torch.Tensor) -> torch.Tensor:
        """Return V (B,) at states (B, d)."""
        return self.critic(states).squeeze(1)


def _linear(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer

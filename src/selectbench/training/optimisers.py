"""Optimisers of ``torch.optim`` in eager mode, without the wrappers that torch adds for its compiler.

At their first call these wrappers import the compiler, needed or not, which would cost every training process two seconds.
"""

import inspect
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from selectbench.training.recipes import Descent


class EagerMethods:
    """The unwrapped methods that all optimisers share."""

    param_groups: list[dict[str, Any]]  # torch sets it

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove all gradients, or fill them with zeros."""
        for group in self.param_groups:
            for value in group["params"]:
                if set_to_none:
                    value.grad = None
                elif value.grad is not None:
                    value.grad.zero_()

    def _patch_step_function(self) -> None:
        """Leave ``step`` unwrapped; torch would wrap it for its profiler and hooks, which slows down small models."""


class SGD(EagerMethods, torch.optim.SGD):
    """``torch.optim.SGD`` whose steps are neither compiled nor differentiated."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class Adam(EagerMethods, torch.optim.Adam):
    """``torch.optim.Adam`` whose steps are neither compiled nor differentiated."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(EagerMethods, torch.optim.AdamW):
    """``torch.optim.AdamW`` whose steps are neither compiled nor differentiated."""

    step = Adam.step


def make_optimiser(model: nn.Module, recipe: Descent) -> Optimizer:
    """Return the recipe's optimiser over all parameters of a model; AdamW does not decay vectors, that is, biases and norm layers."""
    if recipe.optimiser == "sgd":
        return SGD(
            model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    groups = [
        {"params": [value for value in model.parameters() if value.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [value for value in model.parameters() if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=recipe.learning_rate, fused=True)


def fuse_adam(eps: float) -> dict[str, Any]:
    """Return ``policy_kwargs`` of stable-baselines3 that select fused Adam; its default ``eps`` is 1e-5 for PPO and 1e-8 for DQN."""
    return {"optimizer_class": Adam, "optimizer_kwargs": {"eps": eps, "fused": True}}


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate

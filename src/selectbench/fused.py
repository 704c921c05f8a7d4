"""The fused optimiser kernels of torch with little around them: on small nets the bookkeeping of torch.optim costs as much as the step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import torch
from torch import nn

from selectbench.recipes import Descent

_BETAS = (0.9, 0.999)


@dataclass
class Group:
    """Parameters of one device and type that take their steps in one call.

    Parameters
    ----------
    weights : the parameters
    weight_decay : of these
    """

    weights: list[nn.Parameter]
    weight_decay: float
    moments: list[list[torch.Tensor]] = field(default_factory=list)


class Optimiser:
    """SGD, Adam or AdamW: the steps of torch.optim's fused forms, bit by bit.

    All parameters count the same steps; one without a gradient is left out of a step.

    Parameters
    ----------
    kind : ``adam`` adds the decay to the gradient, ``adamw`` decouples it
    groups : (parameters, weight decay) of each
    learning_rate : of the next step; set it anew at any time
    momentum, nesterov : of ``sgd``
    epsilon : of the other two
    """

    def __init__(
        self,
        kind: Literal["sgd", "adam", "adamw"],
        groups: Iterable[tuple[Iterable[nn.Parameter], float]],
        learning_rate: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        epsilon: float = 1e-8,
    ) -> None:
        self.kind = kind
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.epsilon = epsilon
        self.steps = 0
        self.groups = [Group(part, decay) for weights, decay in groups for part in split_types(weights)]
        self._counts: dict[torch.device, torch.Tensor] = {}

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        for group in self.groups:
            for weight in group.weights:
                weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take a step along the gradients."""
        first, self.steps = self.steps == 0, self.steps + 1
        for group in self.groups:
            if not group.moments:
                group.moments = [[torch.zeros_like(weight) for weight in group.weights] for _ in range(self._count_moments())]
            gradients = [weight.grad for weight in group.weights]
            given = [index for index, gradient in enumerate(gradients) if gradient is not None]
            if not given:
                continue
            if len(given) == len(gradients):
                self._move(group.weights, gradients, group.moments, group.weight_decay, first)
                continue
            columns = (group.weights, gradients, *group.moments)
            weights, gradients, *moments = ([column[index] for index in given] for column in columns)
            self._move(weights, gradients, moments, group.weight_decay, first)

    def _count_moments(self) -> int:
        return 2 if self.kind != "sgd" else int(self.momentum > 0)

    def _move(
        self, weights: list[nn.Parameter], gradients: list[torch.Tensor], moments: Sequence[list], weight_decay: float, first: bool
    ) -> None:
        if self.kind == "sgd":
            torch._fused_sgd_(
                weights,
                gradients,
                moments[0] if moments else [],
                weight_decay=weight_decay,
                momentum=self.momentum,
                lr=self.learning_rate,
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
                is_first_step=first,
            )
            return
        move = torch._fused_adam_ if self.kind == "adam" else torch._fused_adamw_
        move(
            weights,
            gradients,
            *moments,
            [],
            [self._count_steps(weights[0].device)] * len(weights),
            lr=self.learning_rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=weight_decay,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
        )

    def _count_steps(self, device: torch.device) -> torch.Tensor:
        """Return the number of this step where the kernels read it."""
        if device not in self._counts:
            self._counts[device] = torch.zeros((), device=device)
        return self._counts[device].fill_(self.steps)

    def state_dict(self) -> dict:
        """Return everything a continuation needs, by reference."""
        return {"steps": self.steps, "moments": [group.moments for group in self.groups]}

    def load_state_dict(self, state: dict) -> None:
        """Continue where ``state_dict`` was taken, on the device of the parameters."""
        self.steps = state["steps"]
        for group, moments in zip(self.groups, state["moments"], strict=True):
            group.moments = [
                [torch.zeros_like(weight).copy_(value) for weight, value in zip(group.weights, column, strict=True)] for column in moments
            ]


def split_types(weights: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Return parameters that are trained, parted by device and type, in their order."""

    def name_type(weight: nn.Parameter) -> str:
        return f"{weight.device} {weight.dtype}"

    trained = [weight for weight in weights if weight.requires_grad]
    return [list(part) for _, part in groupby(sorted(trained, key=name_type), key=name_type)]


def make_optimiser(model: nn.Module, recipe: Descent) -> Optimiser:
    """Return the recipe's optimiser over all parameters of a model; AdamW does not decay vectors, which are biases and norms."""
    weights = list(model.parameters())
    if recipe.optimiser == "sgd":
        groups = [(weights, recipe.weight_decay)]
        return Optimiser("sgd", groups, recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov)
    groups = [
        ([weight for weight in weights if weight.ndim > 1], recipe.weight_decay),
        ([weight for weight in weights if weight.ndim <= 1], 0.0),
    ]
    return Optimiser("adamw", groups, recipe.learning_rate)

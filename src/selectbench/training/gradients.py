"""Per-sample loss gradients over all parameters: norms and alignments with the mean gradient, without storing N × P numbers."""

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import reduce

import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from selectbench.errors import SelectbenchError
from selectbench.training.devices import spare_bytes

Batches = Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]  # each call is a pass over (inputs, labels) in canonical order

_differentiable_attention = sdpa_kernel(SDPBackend.MATH)  # the fast kernels lack forward-mode derivatives and batching rules


@_differentiable_attention
def measure_norms(model: nn.Module, batches: Batches) -> torch.Tensor:
    """Return ‖∇_θ ℓ_i‖₂ for every sample: one forward and backward pass per sample, vectorised over as many as fit into ``spare_bytes``.

    Parameters
    ----------
    model : in evaluation mode; gradients are taken over the parameters that require them
    batches : a pass over inputs and labels

    Returns
    -------
    (N,) float64 on the CPU; ℓ_i is the cross-entropy of sample i.

    Raises
    ------
    SelectbenchError
        The model is in training mode.
    """
    parameters, buffers = split_state(model)
    rows = count_rows(parameters, 4)

    gradients_of = differentiate_samples(model, buffers)
    norms = []
    for images, labels in batches():
        for start in range(0, len(images), rows):
            gradients = gradients_of(parameters, images[start : start + rows], labels[start : start + rows])
            norms.append(add_squares(gradients.values()).sqrt())
    return torch.cat(norms).cpu()


@_differentiable_attention
def measure_alignments(model: nn.Module, batches: Batches) -> torch.Tensor:
    """Return ⟨∇L, ∇ℓ_i⟩ for every sample, where L is the mean loss: a backward pass for ∇L, then one forward-mode product per batch.

    No per-sample gradient is formed: the derivative of a batch's losses in the direction ∇L contains all inner products.

    Parameters
    ----------
    model, batches : as for ``measure_norms``; ``batches`` is called twice

    Returns
    -------
    (N,) float64 on the CPU.

    Raises
    ------
    SelectbenchError
        The model is in training mode.
    """
    parameters, buffers = split_state(model)
    direction = average_gradient(model, batches)
    products = []
    for images, labels in batches():

        def losses(values: dict[str, torch.Tensor], images: torch.Tensor = images, labels: torch.Tensor = labels) -> torch.Tensor:
            return nn.functional.cross_entropy(functional_call(model, (values, buffers), (images,)), labels, reduction="none")

        tangent = jvp(losses, (parameters,), (direction,))[1]
        products.append(tangent.double())
    return torch.cat(products).cpu()


def count_rows(parameters: Mapping[str, torch.Tensor], size: int) -> int:
    """Return for how many samples at a time the gradients of all parameters, ``size`` bytes per number, fit into ``spare_bytes``."""
    device = next(iter(parameters.values())).device
    return max(1, spare_bytes(device) // (size * sum(value.numel() for value in parameters.values())))


def add_squares(gradients: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the squared norms (B,) float64 of per-sample gradients (B, …), summed over parameters."""
    return reduce(operator.add, (value.double().square().flatten(1).sum(dim=1) for value in gradients))


def average_gradient(model: nn.Module, batches: Batches) -> dict[str, torch.Tensor]:
    """Return ∇L per parameter, where L is the mean cross-entropy over a pass, by summed backward passes."""
    parameters, buffers = split_state(model)
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    count = 0
    for images, labels in batches():
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        loss = nn.functional.cross_entropy(functional_call(model, (leaves, buffers), (images,)), labels, reduction="sum")
        for name, value in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            total[name] += value
        count += len(labels)
    return {name: value / count for name, value in total.items()}


def differentiate_samples(model: nn.Module, buffers: dict[str, torch.Tensor]) -> Callable[..., dict[str, torch.Tensor]]:
    """Return a function (parameters, inputs (B, …), labels (B,)) → per-sample gradients (B, …) of the cross-entropy, per parameter.

    Parameters
    ----------
    model : in evaluation mode
    buffers : what a forward pass reads besides the parameters, see ``split_state``
    """

    def loss_of_one(values: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(model, (values, buffers), (image[None],)), label[None])

    return vmap(grad(loss_of_one), in_dims=(None, 0, 0))


def split_state(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the trainable parameters, detached, and everything else that a forward pass reads.

    Raises
    ------
    SelectbenchError
        A module is in training mode, where the loss of a sample depends on its batch.
    """
    for name, module in model.named_modules():
        if module.training:
            raise SelectbenchError(f"gradients: module {name or 'model'!r} is in training mode; call model.eval() first")
    trained = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    fixed = {name: value.detach() for name, value in model.named_parameters() if not value.requires_grad}
    return trained, {**fixed, **dict(model.named_buffers())}

import pytest
import torch
from torch import nn

from selectbench.fused import Optimiser


def make_nets():
    nets = [nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5, 7)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    return nets


def take_steps(pairs, count, generator, without=()):
    for _ in range(count):
        gradients = [torch.randn(weight.shape, generator=generator) for weight in pairs[0][0].parameters()]
        for net, optimiser in pairs:
            for index, (weight, gradient) in enumerate(zip(net.parameters(), gradients, strict=True)):
                weight.grad = None if index in without else gradient.clone()
            optimiser.step()


def same(nets):
    return all(torch.equal(one, other) for one, other in zip(*(net.parameters() for net in nets), strict=True))


def torch_form(kind, weights):
    return {
        "sgd": lambda: torch.optim.SGD(weights, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01, fused=True),
        "plain": lambda: torch.optim.SGD(weights, 0.1, weight_decay=0.01, fused=True),
        "adam": lambda: torch.optim.Adam(weights, 0.1, eps=1e-5, weight_decay=0.01, fused=True),
        "adamw": lambda: torch.optim.AdamW(weights, 0.1, weight_decay=0.01, fused=True),
    }[kind]()


def own_form(kind, weights):
    if kind in ("sgd", "plain"):
        return Optimiser("sgd", [(weights, 0.01)], 0.1, momentum=0.9 if kind == "sgd" else 0.0, nesterov=kind == "sgd")
    return Optimiser(kind, [(weights, 0.01)], 0.1, epsilon=1e-5 if kind == "adam" else 1e-8)


@pytest.mark.parametrize("without", [(), (1,)])
@pytest.mark.parametrize("kind", ["sgd", "plain", "adam", "adamw"])
def test_steps_are_those_of_torch_bit_by_bit_and_resume(kind, without):
    nets, generator = make_nets(), torch.Generator().manual_seed(0)
    own, other = own_form(kind, nets[0].parameters()), torch_form(kind, nets[1].parameters())
    take_steps(list(zip(nets, (own, other), strict=True)), 4, generator, without)
    other.param_groups[0]["lr"] = own.learning_rate = 0.03
    continued = own_form(kind, nets[0].parameters())
    continued.load_state_dict(own.state_dict())
    continued.learning_rate = 0.03
    take_steps(list(zip(nets, (continued, other), strict=True)), 4, generator, without)
    assert same(nets)


def test_frozen_weights_stay_and_gradients_are_forgotten():
    net, _ = make_nets()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    optimiser = own_form("adamw", net.parameters())
    net(torch.ones(2, 3, 3, 3)).sum().backward()
    optimiser.step()
    optimiser.clear_gradients()
    assert torch.equal(net[0].weight, before)
    assert all(weight.grad is None for weight in net.parameters())

"""Eager optimisers against torch's, and what they avoid importing."""

import subprocess
import sys

import pytest
import torch

from selectbench.training import optimisers

KINDS = {
    "SGD": {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "Adam": {"lr": 0.01, "weight_decay": 1e-3},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1},
}


def descend(optimiser_class, settings, *, fused, continued):
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in ((4, 3), (3,))]
    optimiser = optimiser_class(weights, fused=fused, **settings)
    for step in range(6):
        if continued and step == 3:
            state = optimiser.state_dict()
            optimiser = optimiser_class(weights, fused=fused, **settings)
            optimiser.load_state_dict(state)
        optimiser.zero_grad(set_to_none=True)
        sum(((weight - 0.5) ** 4).sum() for weight in weights).backward()
        optimiser.step()
    return weights


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_steps_are_those_of_torch(name, fused):
    expected = descend(getattr(torch.optim, name), KINDS[name], fused=fused, continued=False)
    for continued in (False, True):
        for ours, theirs in zip(descend(getattr(optimisers, name), KINDS[name], fused=fused, continued=continued), expected, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_are_forgotten_or_zero(name):
    seen, unseen = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimiser = getattr(optimisers, name)([seen, unseen], **KINDS[name])
    seen.sum().backward()
    optimiser.zero_grad(set_to_none=False)
    assert torch.equal(seen.grad, torch.zeros(3))
    assert unseen.grad is None
    optimiser.zero_grad()
    assert seen.grad is None


def test_a_step_imports_no_compiler():
    code = """
import sys, torch
from selectbench.training import optimisers
for make in (optimisers.SGD, optimisers.Adam, optimisers.AdamW):
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = make([weight], lr=0.1, fused=True)
    optimiser.zero_grad()
    weight.sum().backward()
    optimiser.step()
    optimiser.load_state_dict(optimiser.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("name", "eps"), [("PPO", 1e-5), ("DQN", 1e-8)])
def test_one_kernel_takes_the_steps_of_stable_baselines3(name, eps):
    import stable_baselines3

    def learn(policy_arguments):
        few = {"n_steps": 16, "batch_size": 16} if name == "PPO" else {"learning_starts": 8}
        agent = getattr(stable_baselines3, name)("MlpPolicy", "CartPole-v1", seed=0, device="cpu", policy_kwargs=policy_arguments, **few)
        agent.learn(64)
        return agent.policy

    ours, theirs = learn(optimisers.fuse_adam(eps)), learn({})
    assert (ours.optimizer.defaults["eps"], ours.optimizer.defaults["fused"]) == (theirs.optimizer.defaults["eps"], True)
    for (_, own), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(own, other)

"""The cluster MDP: telescoping returns, masks, and what gymnasium requires of an environment."""

import math

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import selectbench as sb
from selectbench.errors import SelectbenchError
from selectbench.llm.environment import TRANSFORMS, transform_loss


def square(chosen):
    return float(sum(chosen)) ** 2 - 3.0 * len(chosen)


def test_returns_telescope_to_the_final_value_less_that_of_the_empty_set():
    env, draws = sb.llm.ClusterEnv(clusters=9, budget=4, reward=square), np.random.default_rng(0)
    for _ in range(20):
        env.reset()
        total, done = 0.0, False
        while not done:
            _, reward, done, truncated, _ = env.step(draws.choice(np.flatnonzero(env.action_masks())))
            assert not truncated
            total += reward
        assert len(env.chosen) == 4
        assert total == pytest.approx(square(env.chosen) - square(()))


def test_masks_forbid_repeats_and_observations_are_the_mask():
    env = sb.llm.ClusterEnv(clusters=5, budget=3, reward=square)
    observation, _ = env.reset()
    assert observation.dtype == np.float32 and not observation.any() and env.action_masks().all()
    observation, *_ = env.step(2)
    assert observation.tolist() == [0, 0, 1, 0, 0]
    assert env.action_masks().tolist() == [True, True, False, True, True]
    with pytest.raises(SelectbenchError, match="cluster 2 is already chosen"):
        env.step(2)
    with pytest.raises(SelectbenchError, match="cluster 5 is not among 0 … 4"):
        env.step(5)
    env.step(0)
    assert env.step(4)[2]
    with pytest.raises(SelectbenchError, match="the set is complete with 3 clusters"):
        env.step(1)


@pytest.mark.parametrize("budget", [0, 6])
def test_a_budget_that_cannot_be_is_refused(budget):
    with pytest.raises(SelectbenchError, match=f"budget: {budget} is not between 1 and 5"):
        sb.llm.ClusterEnv(clusters=5, budget=budget, reward=square)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64, np.array])
def test_integers_may_be_those_of_numpy(kind):
    whole = int if kind is np.array else kind
    env, usual = (sb.llm.ClusterEnv(clusters=number(5), budget=number(2), reward=square) for number in (whole, int))
    assert env.reset(seed=whole(3))[0].tolist() == usual.reset(seed=3)[0].tolist()
    for action in (4, 1):
        taken, expected = env.step(kind(action)), usual.step(action)
        assert taken[0].tolist() == expected[0].tolist() and taken[1:] == expected[1:]
    assert all(type(number) is int for number in (env.clusters, env.budget, *env.chosen))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: sb.llm.ClusterEnv(clusters=5.0, budget=2, reward=square), "clusters: 5.0 is not a whole number"),
        (lambda: sb.llm.ClusterEnv(clusters=5, budget=np.float64(2.5), reward=square), "budget: 2.5 is not a whole number"),
        (lambda: sb.llm.ClusterEnv(clusters=5, budget=2, reward=square, at_end="no"), "at_end: 'no' is not true or false"),
        (lambda: sb.llm.ClusterEnv(clusters=5, budget=2, reward=square).step(1.7), "step: 1.7 is not a whole number"),
        (lambda: sb.llm.ClusterEnv(clusters=5, budget=2, reward=square).step(True), "step: True is not a whole number"),
        (lambda: sb.llm.ClusterEnv(clusters=5, budget=2, reward=square).reset(seed=1.5), "seed: 1.5 is not a whole number"),
        (lambda: sb.llm.ClusterEnv(clusters=5, budget=2, reward=square).reset(seed="0"), "seed: '0' is not a whole number"),
        (lambda: sb.llm.ClusterEnv(clusters=5, budget=2, reward=square).reset(seed=True), "seed: True is not a whole number"),
        (lambda: sb.llm.ClusterEnv(clusters=5, budget=2, reward=square).reset(seed=-1), "seed: -1 is below 0"),
    ],
)
def test_numbers_of_another_kind_are_refused(use, message):
    with pytest.raises(SelectbenchError, match=message):
        use()


def bad_reward(value, at=1):
    """Return a reward that is a number for sets of fewer than ``at`` clusters, and then the given value."""

    def reward_of_mine(chosen):
        return value if len(chosen) >= at else 0.0

    return reward_of_mine


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (math.nan, "nan, which is not finite"),
        (np.float32("inf"), "inf, which is not finite"),
        (-math.inf, "-inf, which is not finite"),
        (torch.tensor(math.nan), "nan, which is not finite"),
        (None, "None, which is no number"),
        ("0.5", "'0.5', which is no number"),
        (1j, "1j, which is no number"),
        ([0.5], "an array of shape (1,), which is no number"),
        (np.zeros(3), "an array of shape (3,), which is no number"),
    ],
)
@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("at", [0, 1])
def test_a_reward_that_is_no_finite_number_is_refused_and_nothing_is_chosen(value, told, at_end, at):
    env = sb.llm.ClusterEnv(clusters=5, budget=1, reward=bad_reward(value, at), at_end=at_end)
    env.reset()
    with pytest.raises(SelectbenchError) as raised:
        env.step(2)
    assert str(raised.value) == f"reward: bad_reward.<locals>.reward_of_mine returned {told}"
    assert env.chosen == () and env.action_masks().all()


@pytest.mark.parametrize("kind", [int, float, np.float32, np.int64, np.array, torch.tensor])
def test_rewards_may_be_any_kind_of_number(kind):
    env = sb.llm.ClusterEnv(clusters=5, budget=2, reward=lambda chosen: kind(len(chosen) + 1))
    env.reset()
    paid = env.step(2)[1]
    assert type(paid) is float and paid == 1.0


@pytest.mark.parametrize(("transform", "loss"), [("logarithm", -0.5), ("exponential", -1000.0)])
def test_a_loss_without_a_value_is_told(transform, loss):
    with pytest.raises(SelectbenchError, match=f"^transform: '{transform}' has no value for the loss {loss:g} "):
        transform_loss(transform, loss)
    assert transform_loss(transform, 0.5) == TRANSFORMS[transform](0.5)


def test_gymnasium_accepts_the_environment_where_any_action_is_allowed():
    class Forgiving(sb.llm.ClusterEnv):  # the checker samples actions without asking for masks
        def step(self, action):
            return super().step(action if self.action_masks()[action] else int(np.flatnonzero(self.action_masks())[0]))

    check_env(Forgiving(clusters=6, budget=3, reward=square), skip_render_check=True)


def test_transforms_fall_with_the_loss():
    assert TRANSFORMS["negative"](2.0) == -2.0
    assert TRANSFORMS["exponential"](2.0) == pytest.approx(math.exp(-2.0))
    assert TRANSFORMS["logarithm"](2.0) == pytest.approx(-math.log(2.0))
    for transform in TRANSFORMS.values():
        assert transform(0.5) > transform(0.6)

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import selectbench as sb
from selectbench.errors import SelectionFailedError
from selectbench.methods.rl_selector import RLSelector
from selectbench.planning.config import read_yaml
from selectbench.records.records import tabulate
from selectbench.rl.a2c import AgentSettings, find_actor_loss
from selectbench.rl.cover import sample_cover
from selectbench.rl.environment import SelectionEnvironment, describe_mask
from selectbench.rl.external import BatchOfSamples
from selectbench.rl.networks import ActorCritic
from selectbench.rl.redundancy import measure_redundancy, scale_redundancy
from selectbench.rl.reward import Reward
from selectbench.rl.selector import Store, make_reward, run_agent, take_mask
from selectbench.seeds import isolated_generators


@pytest.fixture(scope="module")
def frozen() -> sb.Signals:
    """Two hundred digits, with pixels as frozen features."""
    inputs, labels = load_digits(return_X_y=True)
    return sb.Signals(labels=labels[:200], features=inputs[:200] / 16.0)


def make_environment(signals, method, keep, epochs=None):
    cover = scale_redundancy(measure_redundancy("cover", signals.features, signals.labels), "standard", signals.labels)
    return SelectionEnvironment(
        torch.from_numpy(signals.features.astype(np.float32)),
        lambda features: cover,
        make_reward(method, keep),
        batch_size=method.batch_size,
        epochs=epochs or method.epochs,
        tolerance=method.tolerance,
        stream=("test", 0),
    )


class Identity(SelectionEnvironment):
    """Gives reward 1 for keeping exactly the samples whose first feature is positive."""

    def pay(self, actions):
        wanted = (self.table[self._where, 0] > 0).float()
        return 1.0 - (actions - wanted).abs()


@pytest.mark.parametrize("algorithm", ["a2c", "ppo", "dqn"])
def test_every_agent_solves_the_identity_environment(algorithm):
    features = torch.randn(150, 3, generator=torch.Generator().manual_seed(0))
    method = RLSelector(algorithm=algorithm, learning_rate=0.003, epochs=60, batch_size=32)
    environment = Identity(
        features, lambda features: np.zeros(150), Reward(keep=0.5), batch_size=32, epochs=60, tolerance=0.5, stream=("identity", algorithm)
    )
    run_agent(method, environment, seed=0)
    assert len(environment.trajectory) == 60
    right = (environment.mask > 0.5) == (features[:, 0] > 0)
    assert right.float().mean() > 0.95


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_the_final_reward_is_near_the_analytic_optimum_and_k_is_in_the_band(frozen, keep):
    method = RLSelector(epochs=60, batch_size=32)
    environment = make_environment(frozen, method, keep)
    run_agent(method, environment, seed=1)
    chosen = environment.trajectory[environment.chosen_epoch - 1]
    assert abs(chosen["kept_fraction"] - keep) <= 0.01 + 1e-9
    kept = take_mask(method, environment, round(keep * 200), frozen.labels, frozen.ids, 0)
    cover = sample_cover(frozen.features, frozen.labels)

    def final_reward(positions):  # in the paper's units: distances, here of mean 1
        mask = torch.zeros(200, dtype=torch.float64)
        mask[torch.from_numpy(np.array(positions))] = 1.0
        return float(environment.reward.measure(mask, torch.from_numpy(cover / cover.mean())))

    optimum = final_reward(np.argsort(-environment.cover.numpy(), kind="stable")[: len(kept)])
    assert final_reward(kept) >= 0.95 * optimum
    assert chosen["regret"] < 0.15


def test_frozen_redundancy_equals_brute_force(frozen):
    members = [frozen.features[frozen.labels == label] for label in frozen.labels]
    brute = [sum(np.linalg.norm(row - other) for other in others) for row, others in zip(frozen.features, members, strict=True)]
    np.testing.assert_allclose(sample_cover(frozen.features, frozen.labels), brute, rtol=1e-10)


def test_a_resumed_agent_ends_as_an_unbroken_one(frozen):
    method, states = RLSelector(epochs=8, batch_size=32), []
    whole = make_environment(frozen, method, 0.4)
    agent = run_agent(method, whole, seed=3)
    broken = make_environment(frozen, method, 0.4)

    class Interrupted(Exception):
        pass

    def save(state):
        states.append(state)
        if len(states) == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_agent(method, broken, seed=3, store=Store(load=lambda: None, save=save))
    resumed = make_environment(frozen, method, 0.4)
    again = run_agent(method, resumed, seed=3, store=Store(load=lambda: states[-1], save=lambda state: None))
    torch.testing.assert_close(resumed.mask, whole.mask, rtol=0, atol=0)
    assert resumed.trajectory == whole.trajectory
    assert all(torch.equal(one, other) for one, other in zip(agent.net.state_dict().values(), again.net.state_dict().values(), strict=True))


def test_a_thresholded_mask_out_of_its_band_fails_with_its_trajectory(frozen):
    method = RLSelector(terms="redundancy", binarise="threshold", epochs=6, tolerance=0.001)
    environment = make_environment(frozen, method, 0.15)
    run_agent(method, environment, seed=0)
    message = r"the policy never came within 0\.1 points of keep 0\.15; nearest 0\.\d+ after epoch \d of 6"
    with pytest.raises(SelectionFailedError, match=message):
        take_mask(method, environment, 30, frozen.labels, frozen.ids, 0)
    assert tabulate(environment.trajectory, None)["epoch"] == [1, 2, 3, 4, 5, 6]
    exact = take_mask(replace(method, binarise="exact"), environment, 30, frozen.labels, frozen.ids, 0)
    assert len(set(exact)) == 30


def test_the_nearest_epoch_is_taken_and_within_tolerance_the_best(frozen):
    environment = make_environment(frozen, RLSelector(tolerance=0.01), 0.5, epochs=6)
    by_cover = np.argsort(-environment.redundancy(environment.table))
    masks = {  # kept fraction → mask: the samples of the largest redundancies, or of the smallest
        0.30: by_cover[:60], 0.40: by_cover[:80], 0.35: by_cover[:70], 0.505: by_cover[-101:], 0.50: by_cover[:100], 0.495: by_cover[-99:]
    }  # fmt: skip
    chosen, distances = [], []
    with pytest.raises(sb.SelectbenchError, match="no epoch has ended"):
        _ = environment.distance
    for kept in masks.values():
        environment.begin_epoch()
        environment.mask = torch.zeros(200)
        environment.mask[torch.from_numpy(kept.copy())] = 1.0
        environment.end_epoch(0)
        chosen.append(environment.chosen_epoch)
        distances.append(environment.distance)
        assert float(environment.best.mean()) == pytest.approx(environment.trajectory[environment.chosen_epoch - 1]["kept_fraction"])
    assert chosen == [1, 2, 2, 4, 5, 5]
    assert distances == pytest.approx([0.2, 0.1, 0.1, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("algorithm", ["a2c", "ppo", "dqn"])
def test_updates_of_the_policy_are_counted(frozen, algorithm):
    method = RLSelector(algorithm=algorithm, epochs=3, batch_size=50, updates=2)
    environment = make_environment(frozen, method, 0.4)
    run_agent(method, environment, seed=0)
    updates = [row["updates"] for row in environment.trajectory]
    # four batches an epoch; PPO: four passes over a rollout of four batches, once it has ended; DQN: two a batch after the second
    assert updates == {"a2c": [8, 16, 24], "ppo": [0, 16, 32], "dqn": [2, 10, 18]}[algorithm]


@pytest.mark.parametrize("published", [True, False], ids=["published", "tuned"])
def test_a_twin_acts_as_its_agent_would_and_never_changes(frozen, root, published):
    parameters = read_yaml(root / "config/methods.yaml", "methods")["rl_selector"]["parameters"] if published else {}
    method = RLSelector(**parameters, learns=False)
    environment, first = make_environment(frozen, method, 0.4, epochs=3), make_environment(frozen, method, 0.4, epochs=1)
    agent = run_agent(method, environment, seed=5)
    fresh = run_agent(method, first, seed=5)
    assert [row["updates"] for row in environment.trajectory] == [0, 0, 0]
    assert all(torch.equal(one, other) for one, other in zip(agent.net.parameters(), fresh.net.parameters(), strict=True))
    learning = make_environment(frozen, method, 0.4, epochs=3)
    learner = run_agent(replace(method, learns=True), learning, seed=5)
    assert learning.trajectory[0]["updates"] == 3 * method.updates
    assert any(not torch.equal(one, other) for one, other in zip(agent.net.parameters(), learner.net.parameters(), strict=True))


@pytest.mark.parametrize("normalise", [False, True])
def test_standardised_advantages_hide_a_scalar_reward(normalise):
    torch.manual_seed(0)
    net, states = ActorCritic(6, actor_width=64), torch.randn(32, 6)
    actions = net.policy(states).sample((1,)).clamp(0.01, 0.99)
    settings = AgentSettings(learning_rate=1.0, normalise=normalise)

    def find_gradient(reward):
        net.zero_grad()
        advantages = (reward - net.value(states))[None].detach()
        find_actor_loss(net.policy(states), actions, advantages, settings).backward()
        return torch.cat([value.grad.flatten() for value in (*net.actor.parameters(), *net.heads.parameters())])

    gradients = [find_gradient(torch.full((32,), constant)) for constant in (0.0, 5.0, -100.0)]
    changes = [float((gradient - gradients[0]).norm() / gradients[0].norm()) for gradient in gradients[1:]]
    assert all(change < 1e-3 for change in changes) if normalise else all(change > 2.0 for change in changes)


def test_entropy_keeps_apart_what_would_saturate(frozen):
    """The tuned agent's regret on frozen features is close to the optimum, and lower than without the weight of its entropy."""
    regrets = {}
    for entropy in (0.0, 0.2):
        method = RLSelector(entropy=entropy, batch_size=32, epochs=60)
        environment = make_environment(frozen, method, 0.3)
        run_agent(method, environment, seed=1)
        regrets[entropy] = environment.trajectory[-1]["regret"]
    assert regrets[0.2] < 0.1
    assert regrets[0.2] < regrets[0.0]


def test_the_price_follows_the_kept_fraction():
    reward = Reward(keep=0.25, alignment="price", price_rate=0.2)
    assert reward.move_price(1.0, torch.tensor([0.9, 0.6, 0.1, 0.2])) == pytest.approx(1.0 + 0.2 * 0.25)
    assert reward.move_price(1.0, torch.tensor([0.1, 0.2, 0.3, 0.4])) == pytest.approx(1.0 - 0.2 * 0.25)


def test_masks_are_described_by_hand():
    cover = torch.tensor([3.0, 1.0, 0.0, 0.0])
    row = describe_mask(torch.tensor([0.9, 0.2, 0.8, 0.1]), cover, Reward(keep=0.5, delta=1.0))
    assert row["kept_fraction"] == 0.5
    assert row["redundancy"] == pytest.approx((2.7 + 0.2) / 4)
    assert row["reward"] == pytest.approx(1.0 + 2.9 / 4)
    assert row["regret"] == pytest.approx(1 - (1.5 - 1) / (2 - 1))  # top two by mask: mean 1.5; by cover: 2; random: 1
    assert describe_mask(torch.ones(4), cover, Reward(keep=1.0))["regret"] is None


def test_batches_are_filled_up_for_stable_baselines(frozen):
    environment = make_environment(frozen, RLSelector(batch_size=64), 0.5, epochs=2)
    batch = BatchOfSamples(environment, discrete=True)
    assert batch.num_envs == 67
    states = batch.reset()
    assert states.shape == (67, 64)
    for _ in range(6):
        states, rewards, ended, _ = batch.step(np.ones(67, dtype=int))
        assert states.shape == (67, 64)
        assert rewards.shape == (67,)
        assert ended.all()
    assert [row["kept_fraction"] for row in environment.trajectory] == [1.0, 1.0]
    _, rewards, _, _ = batch.step(np.zeros(67, dtype=int))  # an algorithm may request more than exists
    assert not rewards.any()
    assert len(environment.trajectory) == 2
    assert (environment.mask == 1).all()


def test_global_random_states_are_left_alone():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    with isolated_generators(5):
        np.random.rand()
        torch.rand(1)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_select_on_signals_of_ones_own(frozen):
    subset = sb.select("rl_selector", frozen, keep=0.3, seed=1)
    assert len(np.unique(subset.ids)) == 60
    np.testing.assert_array_equal(sb.select("rl_selector", frozen, keep=0.3, seed=1).ids, subset.ids)
    order = np.random.default_rng(0).permutation(200)
    moved = sb.Signals(labels=frozen.labels[order], features=frozen.features[order], ids=frozen.ids[order])
    np.testing.assert_array_equal(sb.select("rl_selector", moved, keep=0.3, seed=1).ids, subset.ids)
    assert len(sb.select("rl_selector", frozen, keep=1).ids) == 200
    equal = sb.select("rl_selector", frozen, keep=0.3, seed=1, quota="equal")
    assert np.ptp(np.bincount(frozen.labels[equal.ids])) <= 1
    with pytest.raises(sb.MissingSignal):
        sb.select("rl_selector", replace(frozen, features=None), keep=0.3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"reward": "scalar", "normalise": True, "draws": 1}, "normalise: standardised advantages of one draw do not depend on a scalar"),
        ({"learns": False, "algorithm": "ppo"}, "learns: only a2c has a never-learning twin, not ppo"),
        ({"baseline": "draws", "draws": 1}, "baseline: draws has nothing to compare a single draw with"),
        ({"entropy": -0.1}, "entropy: -0.1 is negative"),
        ({"draws": 0}, "draws: 0 is less than 1"),
        ({"delta": 0.0}, "delta: 0.0 is not positive"),
        ({"start": 2.0}, r"start: 2.0 is outside \[0, 1\]"),
        ({"epochs": 0}, "epochs: 0 is less than 1"),
        ({"start": 0.5, "algorithm": "dqn"}, "start: only a2c is fine-tuned"),
        ({"metric": "covr"}, "metric: unknown 'covr'; did you mean 'cover'?"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(sb.SelectbenchError, match=message):
        RLSelector(**parameters)


def test_another_process_chooses_the_same(frozen, tmp_path):
    frozen.save(tmp_path / "signals.npz")
    program = (
        "import sys, json, selectbench as sb;"
        "print(json.dumps(sb.select('rl_selector', sb.Signals.load(sys.argv[1]), 0.3, seed=1, epochs=20, tolerance=0.5).ids.tolist()))"
    )
    here = sb.select("rl_selector", frozen, 0.3, seed=1, epochs=20, tolerance=0.5).ids.tolist()
    there = subprocess.run([sys.executable, "-c", program, str(tmp_path / "signals.npz")], capture_output=True, text=True, check=True)
    assert json.loads(there.stdout) == here

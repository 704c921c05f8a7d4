"""Data Agent: reward, agent, ablations, and what the released code does instead."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import selectbench as sb
from selectbench.dynamic._ppo import PPO, PPOSettings, draw_beta, estimate_advantages
from selectbench.dynamic.data_agent import Moments, scale_losses, weigh_by_variance
from selectbench.errors import SelectbenchError
from selectbench.rl.networks import ActorCritic

NUM = 40


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(**parameters):
    return sb.dynamic.make("data_agent", **({"num_samples": NUM, "keep": 0.5, "epochs": 8} | parameters))


def make_batch(num=NUM, seed=0, classes=4, width=6):
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(num, generator=generator, dtype=torch.float64)
    return losses, torch.randn(num, classes, generator=generator), torch.randn(num, width, generator=generator)


def weights_of(agent):
    return torch.cat([value.detach().flatten().clone() for value in agent.net.parameters()])


# ---- the reward


def test_difficulty_is_cut_at_the_quantile_and_scaled():
    losses = np.arange(21.0)  # the 95 % quantile is 19
    np.testing.assert_allclose(scale_losses(losses[::-1]), np.minimum(losses, 19)[::-1] / 19)
    np.testing.assert_allclose(scale_losses(5 + 3 * losses), scale_losses(losses))
    assert scale_losses(np.full(4, 0.3)).tolist() == [0, 0, 0, 0]
    assert scale_losses(np.array([2.0])).tolist() == [0]


def test_weight_is_the_share_of_the_variances():
    difficulty, uncertainty = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.5, 0.5, 0.0])
    assert weigh_by_variance(difficulty, uncertainty) == pytest.approx(0.25 / (0.25 + 0.0625))
    assert weigh_by_variance(difficulty, np.full(4, 0.7)) == pytest.approx(1)
    assert weigh_by_variance(np.zeros(4), uncertainty) == 0
    assert weigh_by_variance(np.zeros(1), np.zeros(1)) == 0


def test_rewards_are_standardised_by_all_so_far():
    moments, parts = Moments(), [np.random.default_rng(seed).gamma(2.0, size=size) for seed, size in enumerate((7, 1, 12))]
    for end, part in enumerate(parts, start=1):
        so_far = np.concatenate(parts[:end])
        np.testing.assert_allclose(moments.standardise(part), (part - so_far.mean()) / (so_far.std() + 1e-8))
    assert (Moments().standardise(np.full(3, 2.0)) == 0).all()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, lambda w, hard, unsure: w * hard + (1 - w) * unsure),
        ({"adaptive": False}, lambda w, hard, unsure: 0.5 * hard + 0.5 * unsure),
        ({"reward": "difficulty"}, lambda w, hard, unsure: hard),
        ({"reward": "uncertainty"}, lambda w, hard, unsure: unsure),
        ({"reward": "uncertainty", "adaptive": False}, lambda w, hard, unsure: unsure),
    ],
)
def test_without_an_agent_the_score_is_the_composite_reward(parameters, expected):
    losses, logits, _ = make_batch()
    sampler = make(agent="none", **parameters)
    ids = np.array(list(sampler))
    sampler.observe(ids, losses[ids], logits[ids])
    hard, probabilities = scale_losses(losses.numpy()), logits.double().softmax(dim=1).numpy()
    unsure = -(probabilities * np.log(probabilities)).sum(axis=1) / math.log(4)
    weight = hard.var() / (hard.var() + unsure.var() + 1e-8)
    scores = expected(weight, hard, unsure)
    np.testing.assert_allclose(sampler.scores, scores, atol=1e-6)
    assert set(sampler) == set(np.argsort(-scores)[:20])
    row = sampler.trace[0]
    assert row["reward"] == pytest.approx(scores.mean()) and row["action"] == 1
    assert row["weight"] == pytest.approx({"difficulty": 1, "uncertainty": 0}.get(sampler.reward, weight if sampler.adaptive else 0.5))


def test_an_agent_is_paid_its_action_times_that():
    losses, logits, features = make_batch()
    sampler, plain = make(), make(agent="none")
    for each in (sampler, plain):
        each.observe(np.arange(NUM), losses, logits, features)
    rewards = plain.scores * sampler.scores
    paid = sampler._ppo.rollout[-1]["rewards"]
    np.testing.assert_allclose(paid, (rewards - rewards.mean()) / (rewards.std() + 1e-8), rtol=1e-5)
    assert ((sampler.scores > 0) & (sampler.scores < 1)).all()


def test_the_trace_averages_over_the_batches_of_an_epoch():
    losses, logits, features = make_batch()
    sampler, weights, actions = make(), [], []
    ids = np.array(list(sampler))
    for batch in np.array_split(ids, 3):
        sampler.observe(batch, losses[batch], logits[batch], features[batch])
        hard, chances = scale_losses(losses[batch].numpy()), logits[batch].double().softmax(dim=1).numpy()
        weights.append(weigh_by_variance(hard, -(chances * np.log(chances)).sum(axis=1) / math.log(4)))
        actions.append(sampler.scores[batch].mean())
    row = sampler.trace[0]
    assert list(row) == ["epoch", "kept", "observed", "batches", "loss", "weight", "action", "reward"]
    assert row["weight"] == pytest.approx(np.mean(weights), rel=1e-5) and row["action"] == pytest.approx(np.mean(actions))
    assert row["batches"] == 3 and row["loss"] == pytest.approx(losses.mean())


def test_an_epoch_keeps_the_highest_latest_actions():
    sampler, latest = make(keep=0.3), np.full(NUM, np.nan)
    for epoch in range(7):
        expected = set(range(NUM)) if epoch == 0 else set(np.argsort(-latest)[:12])
        ids = np.array(list(sampler))
        assert set(ids) == expected
        losses, logits, features = make_batch(len(ids), seed=epoch)
        sampler.observe(ids, losses, logits, features)
        latest[ids] = sampler.scores[ids]
        np.testing.assert_array_equal(sampler.scores, latest)


def test_uncertainty_may_come_without_classes():
    losses, logits, features = make_batch()
    entropy = torch.special.entr(logits.softmax(dim=1)).sum(dim=1) / math.log(4)
    by_logits, by_value = make(), make()
    by_logits.observe(np.arange(NUM), losses, logits=logits, features=features)
    by_value.observe(np.arange(NUM), losses, features=features, uncertainty=entropy)
    np.testing.assert_array_equal(by_logits.scores, by_value.scores)
    masked = torch.where(torch.arange(4) < 2, 0.0, -torch.inf).expand(NUM, 4)
    plain = make(agent="none", reward="uncertainty")
    plain.observe(np.arange(NUM), losses, logits=masked)
    np.testing.assert_allclose(plain.scores, 0.5)


# ---- the agent


def test_advantages_are_those_computed_by_hand():
    # γ = ½, λ = ½, bootstrap value 4: δ = r + V'/2 − V
    # δ₂ = 3 + 2 − 1 = 4             A₂ = 4
    # δ₁ = 2 + 1/2 − 2 = 1/2         A₁ = 1/2 + 4/4 = 3/2
    # δ₀ = 1 + 2/2 − 3 = −1          A₀ = −1 + (3/2)/4 = −5/8
    rewards, values = [torch.tensor([value]) for value in (1.0, 2.0, 3.0)], [torch.tensor([value]) for value in (3.0, 2.0, 1.0)]
    advantages = estimate_advantages(rewards, values, torch.tensor([4.0]), 0.5, 0.5)
    assert [advantage.item() for advantage in advantages] == [-0.625, 1.5, 4.0]
    # without anything beyond: A₂ = 3 − 1 = 2, A₁ = 1/2 + 2/4 = 1, A₀ = −1 + 1/4
    assert [advantage.item() for advantage in estimate_advantages(rewards, values, torch.zeros(0), 0.5, 0.5)] == [-0.75, 1.0, 2.0]


def test_places_that_a_smaller_batch_lacks_end_before_it():
    rewards, values = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0])], [torch.tensor([0.5, 0.5, 2.0]), torch.tensor([1.0])]
    first, second = estimate_advantages(rewards, values, torch.tensor([9.0, 9.0]), 0.5, 0.5)
    assert second.tolist() == [2 + 4.5 - 1]
    assert first.tolist() == [1 + 0.5 - 0.5 + 5.5 / 4, 0.5, -1.0]


def test_places_do_not_mix():
    generator = torch.Generator().manual_seed(0)
    rewards, values = ([torch.randn(5, generator=generator) for _ in range(4)] for _ in "rv")
    beyond = torch.randn(5, generator=generator)
    together = torch.stack(estimate_advantages(rewards, values, beyond, 0.99, 0.95))
    for place in range(5):
        alone = estimate_advantages([r[[place]] for r in rewards], [v[[place]] for v in values], beyond[[place]], 0.99, 0.95)
        torch.testing.assert_close(torch.cat(alone), together[:, place])


def test_networks_are_as_published():
    agent = PPO(6, seed=0)
    shapes = [tuple(layer.weight.shape) for layer in agent.net.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(128, 6), (128, 128), (2, 128), (128, 6), (128, 128), (1, 128)]
    torch.testing.assert_close(torch.linalg.svdvals(agent.net.heads.weight), torch.full((2,), 0.01))
    torch.testing.assert_close(torch.linalg.svdvals(agent.net.actor[2].weight), torch.full((128,), math.sqrt(2)))
    policy = ActorCritic(6, actor_width=128).policy(torch.randn(9, 6, generator=torch.Generator().manual_seed(0)))
    assert policy.concentration1.shape == (9,) and (policy.concentration1 > 1).all() and (policy.concentration0 > 1).all()
    assert policy.mean.detach().sub(0.5).abs().max() < 0.01
    (group,) = agent.optimiser.param_groups
    assert (group["lr"], group["eps"], group["weight_decay"]) == (3e-4, 1e-5, 5e-4)
    assert PPOSettings() == PPOSettings(learning_rate=3e-4, clip=0.2, passes=4, gamma=0.99, decay=0.95, rollout=10)


def test_learning_rate_falls_to_a_hundredth_by_the_last_epoch():
    losses, logits, features = make_batch()
    sampler, rates = make(epochs=5), []
    for _ in range(5):
        ids = np.array(list(sampler))
        sampler.observe(ids, losses[ids], logits[ids], features[ids])
        rates.append(sampler._ppo.optimiser.param_groups[0]["lr"])
    np.testing.assert_allclose(rates, 3e-4 * (1 - 0.99 * np.arange(5) / 4))


def test_draws_follow_the_policy_and_a_generator_of_their_own():
    policy = torch.distributions.Beta(torch.full((20000,), 3.0), torch.full((20000,), 1.5))
    before = torch.get_rng_state()
    draws = [draw_beta(policy, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert draws[0].mean().item() == pytest.approx(2 / 3, abs=0.01)
    assert draws[0].var().item() == pytest.approx(policy.variance[0].item(), rel=0.05)


def test_learns_every_ten_batches_and_at_the_end_of_an_epoch():
    agent, states = PPO(6, seed=0), make_batch()[2]
    start = weights_of(agent)
    for _ in range(10):
        agent.pay(agent.act(states))
    assert torch.equal(weights_of(agent), start)
    agent.pay(agent.act(states))  # the eleventh batch closes the rollout of ten
    after_ten = weights_of(agent)
    assert not torch.equal(after_ten, start) and len(agent.rollout) == 1
    agent.end_episode()
    assert not torch.equal(weights_of(agent), after_ten) and not agent.rollout
    after_end = weights_of(agent)
    agent.end_episode()
    assert torch.equal(weights_of(agent), after_end)


def test_an_epoch_of_the_sampler_is_an_episode():
    sampler, (losses, logits, features) = make(), make_batch()
    ids = np.array(list(sampler))
    for batch in np.array_split(ids, 3):
        sampler.observe(batch, losses[batch], logits[batch], features[batch])
    before = weights_of(sampler._ppo)
    assert len(sampler._ppo.rollout) == 3
    sampler.set_epoch(1)
    assert not sampler._ppo.rollout and not torch.equal(weights_of(sampler._ppo), before)


def test_first_step_follows_the_policy_gradient_with_advantages_over_their_deviation():
    agent, reference = PPO(6, seed=0, settings=PPOSettings(passes=1)), PPO(6, seed=0)
    states = [make_batch(seed=seed)[2] for seed in range(3)]
    rewards = [make_batch(seed=seed)[0].float() for seed in range(3)]
    actions = []
    for state, reward in zip(states, rewards, strict=True):
        actions.append(agent.act(state))
        agent.pay(reward)
    values = [reference.net.value(state).detach() for state in states]
    advantages = torch.cat(estimate_advantages(rewards, values, torch.zeros(0), 0.99, 0.95))
    log_probabilities = reference.net.policy(torch.cat(states)).log_prob(torch.cat(actions))
    errors = reference.net.value(torch.cat(states)) - (advantages + torch.cat(values))
    loss = -(log_probabilities * advantages / advantages.std(correction=0)).mean() + 0.5 * errors.square().mean()
    loss.backward()
    reference.optimiser.step()
    agent.end_episode()
    torch.testing.assert_close(weights_of(agent), weights_of(reference))


def test_an_epoch_may_leave_one_sample_over():
    agent, states = PPO(6, seed=0), make_batch()[2]
    agent.act(states[:1])
    agent.pay(torch.ones(1))
    agent.end_episode()
    assert max(state["exp_avg"].abs().max().item() for state in agent.optimiser.state.values()) < 10


def test_ratios_are_clipped():
    moves = []
    for clip in (0.02, 0.2):
        agent = PPO(6, seed=0, settings=PPOSettings(passes=60, clip=clip))
        states = make_batch()[2]
        actions = agent.act(states)
        before = agent.rollout[0]["log_probabilities"].clone()
        agent.pay(actions)
        agent.end_episode()
        moves.append((agent.net.policy(states).log_prob(actions) - before).abs().mean().item())
    assert moves[0] < 0.5 * moves[1]


def test_agent_learns_whom_it_is_paid_for():
    agent, generator = PPO(2, seed=0, settings=PPOSettings(learning_rate=3e-3)), torch.Generator().manual_seed(1)
    for _ in range(12):
        for _ in range(10):
            good = torch.rand(64, generator=generator) < 0.5
            states = torch.stack([good.float(), torch.rand(64, generator=generator)], dim=1)
            actions = agent.act(states)
            agent.pay(torch.where(good, actions, -actions))
        agent.end_episode()
    good, bad = agent.net.policy(torch.tensor([[1.0, 0.5], [0.0, 0.5]])).mean.tolist()
    assert good > 0.65 and bad < 0.35


# ---- the released code


def test_released_code_never_prunes_and_weighs_everything_by_the_inverse_keep_fraction():
    visits = {}
    for variant in ("paper", "released_code"):
        sampler, (losses, logits, features) = make(variant=variant, keep=0.4), make_batch()
        weights = []
        for _ in range(8):
            ids = np.array(list(sampler))
            sampler.observe(ids, losses[ids], logits[ids], features[ids])
            weights.append(set(sampler.weights(ids).tolist()))
        visits[variant] = sampler.visits
        assert weights == [{1.0 if variant == "paper" else 2.5}] * 8
    assert visits == {"paper": 2 * 40 + 6 * 16, "released_code": 8 * 40}


def test_the_same_weight_for_all_that_is_kept_only_scales_the_learning_rate():
    inputs, labels = make_batch()[2], torch.arange(NUM) % 3

    def train(loss_weight, factor):
        model = nn.Linear(6, 3)
        with torch.no_grad():
            for value in model.parameters():
                value.copy_(torch.linspace(-1, 1, value.numel()).view_as(value))
        sampler = make(keep=0.25, loss_weight=loss_weight)
        for epoch in range(8):
            ids = torch.tensor(list(sampler))
            for batch in ids.split(8):
                logits = model(inputs[batch])
                losses = nn.functional.cross_entropy(logits, labels[batch], reduction="none")
                gradients = torch.autograd.grad((losses * sampler.weights(batch)).mean(), list(model.parameters()))
                with torch.no_grad():
                    for value, gradient in zip(model.parameters(), gradients, strict=True):
                        value -= 0.05 * (factor if sampler.prunes(epoch) else 1) * gradient
                sampler.observe(batch, losses, logits, inputs[batch])
        return torch.cat([value.detach().flatten() for value in model.parameters()])

    assert torch.equal(train("inverse_keep", 1.0), train("none", 4.0))
    assert not torch.allclose(train("inverse_keep", 1.0), train("none", 1.0))


# ---- in a custom training loop


MODES = {
    "autocast": lambda: torch.autocast("cpu"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}


@pytest.mark.parametrize("mode", MODES)
def test_learns_the_same_in_any_mode_of_the_loop(mode):
    losses, logits, features = make_batch()
    plain, nested = make(), make()
    for sampler, context in ((plain, nullcontext), (nested, MODES[mode])):
        for _ in range(2):
            ids = np.array(list(sampler))
            with context():
                for batch in np.array_split(ids, 12):
                    own = features[batch] * 1.0
                    sampler.observe(batch, losses[batch], logits[batch], own)
                    own.zero_()
        with context():
            sampler.load_state_dict(sampler.state_dict())
            sampler.set_epoch(2)
        list(sampler)
        sampler.observe(ids, losses[ids], logits[ids], features[ids])
        sampler.set_epoch(3)
    assert torch.equal(weights_of(plain._ppo), weights_of(nested._ppo))
    np.testing.assert_array_equal(plain.scores, nested.scores)


def test_observing_leaves_the_models_graph_alone():
    model, sampler = nn.Linear(6, 4), make()
    _, _, inputs = make_batch()
    logits = model(inputs)
    losses = logits.square().mean(dim=1)
    sampler.observe(np.arange(NUM), losses, logits, features=logits)
    losses.mean().backward()
    sampler.set_epoch(1)
    assert model.weight.grad is not None and not any(step["states"].requires_grad for step in sampler._ppo.rollout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": None}, "needs features .B, d., the states of its agent; only agent='none' works without them"),
        ({"features": torch.zeros(NUM)}, r"features \(40,\) are not \(40, d\)"),
        ({"features": torch.zeros(3, 6)}, r"features \(3, 6\) are not"),
        ({"features": torch.full((NUM, 6), torch.nan)}, "features are not all finite"),
        ({"logits": None}, "needs logits .B, C. or an uncertainty"),
        ({"uncertainty": torch.zeros(NUM)}, "needs logits .* or an uncertainty .*, not both"),
        ({"logits": torch.zeros(NUM, 1)}, r"logits \(40, 1\) are not \(40, C\) with two classes or more"),
        ({"logits": None, "uncertainty": torch.zeros(3)}, r"uncertainty \(3,\) is not \(40,\)"),
        ({"logits": None, "uncertainty": torch.full((NUM,), 1.5)}, "the uncertainty of sample 0 is 1.5, not in"),
        ({"logits": torch.full((NUM, 4), torch.nan)}, "the uncertainty of sample 0 is nan"),
    ],
)
def test_what_is_missing_or_wrong_is_told(change, message):
    losses, logits, features = make_batch()
    sampler = make()
    with pytest.raises(SelectbenchError, match=message):
        sampler.observe(np.arange(NUM), losses, **({"logits": logits, "features": features} | change))
    assert np.isnan(sampler.scores).all()


def test_features_keep_their_width():
    losses, logits, features = make_batch()
    sampler = make()
    sampler.observe(np.arange(NUM), losses, logits, features)
    with pytest.raises(SelectbenchError, match="features have width 5, but had 6 before"):
        sampler.observe(np.arange(NUM), losses, logits, features[:, :5])


def test_difficulty_alone_needs_no_uncertainty():
    losses, _, features = make_batch()
    sampler = make(reward="difficulty")
    sampler.observe(np.arange(NUM), losses, features=features)
    assert not np.isnan(sampler.scores).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_lives_where_the_features_are_and_moves_with_them():
    losses, logits, features = make_batch()
    sampler = make()
    for device in ("cuda", "cuda", "cpu", "cuda"):
        ids = torch.tensor(list(sampler), device=device)
        sampler.observe(ids, losses.to(device)[ids], logits.to(device)[ids], features.to(device)[ids])
        assert sampler.weights(ids).device == ids.device
        assert sampler._ppo.net.heads.weight.device.type == device
    restored = make()
    restored.load_state_dict(sampler.state_dict())
    assert list(restored) == list(sampler)

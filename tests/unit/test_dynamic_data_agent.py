"""Data Agent: reward, agent, ablations, and what the released code does instead."""

import io
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import spearmanr
from torch import nn

import selectbench as sb
from selectbench.dynamic._ppo import PPO, FeatureMoments, PPOSettings, draw_beta, estimate_advantages
from selectbench.dynamic.data_agent import BatchMeans, scale_losses, weigh_by_variance
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


def act(agent, states):
    """The agent's actions, without the policy's means."""
    return agent.act(states)[0]


def run_epoch(sampler, batches=3, seed=0):
    """Visit an epoch in batches, with outputs that depend on the epoch and the sample."""
    losses, logits, features = make_batch(seed=100 * seed + sampler.epoch + 2)
    ids = np.array(list(sampler))
    for batch in np.array_split(ids, batches):
        sampler.observe(batch, losses[batch], logits[batch], features[batch])
    return ids


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


def test_rewards_are_divided_by_the_deviation_of_the_means_of_batches():
    means, parts = BatchMeans(), [np.array([1.0, 3.0]), np.array([5.0]), np.array([0.0, 4.0, 5.0])]
    np.testing.assert_allclose(means.normalise(parts[0]), [-1.0, 1.0], rtol=1e-7)  # mean 2; one mean has no deviation: that of 1 and 3
    np.testing.assert_allclose(means.normalise(parts[1]), [1.0], rtol=1e-7)  # means 2 and 5: mean 3.5, deviation 1.5
    np.testing.assert_allclose(means.normalise(parts[2]), (parts[2] - 10 / 3) / np.sqrt(14 / 9), rtol=1e-7)  # means 2, 5 and 3
    assert (BatchMeans().normalise(np.full(3, 2.0)) == 0).all()


def test_rewards_grow_as_batches_average_them_out():
    rng, means = np.random.default_rng(0), BatchMeans()
    spread = [means.normalise(rng.uniform(size=100)).std() for _ in range(200)][-1]
    assert spread == pytest.approx(10, rel=0.2)  # √100: the deviation of a mean is a tenth of that of the rewards


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
    assert list(row) == ["epoch", "kept", "observed", "batches", "loss", "weight", "action", "reward", "merit", "updates"]
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
    # γ = ½, λ = ½, nothing after the last step: δ = r + V'/2 − V
    # δ₂ = 3 − 1 = 2                 A₂ = 2
    # δ₁ = 2 + 1/2 − 2 = 1/2         A₁ = 1/2 + 2/4 = 1
    # δ₀ = 1 + 2/2 − 3 = −1          A₀ = −1 + 1/4 = −3/4
    rewards, values = [torch.tensor([value]) for value in (1.0, 2.0, 3.0)], [torch.tensor([value]) for value in (3.0, 2.0, 1.0)]
    assert [advantage.item() for advantage in estimate_advantages(rewards, values, 0.5, 0.5)] == [-0.75, 1.0, 2.0]


def test_places_that_a_smaller_batch_lacks_end_before_it():
    rewards, values = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0])], [torch.tensor([0.5, 0.5, 2.0]), torch.tensor([1.0])]
    first, second = estimate_advantages(rewards, values, 0.5, 0.5)
    assert second.tolist() == [2 - 1]
    assert first.tolist() == [1 + 0.5 - 0.5 + 1 / 4, 0.5, -1.0]


def test_places_do_not_mix():
    generator = torch.Generator().manual_seed(0)
    rewards, values = ([torch.randn(5, generator=generator) for _ in range(4)] for _ in "rv")
    together = torch.stack(estimate_advantages(rewards, values, 0.99, 0.95))
    for place in range(5):
        alone = estimate_advantages([r[[place]] for r in rewards], [v[[place]] for v in values], 0.99, 0.95)
        torch.testing.assert_close(torch.cat(alone), together[:, place])


def test_networks_are_as_published():
    agent = PPO(6, seed=0)
    shapes = [tuple(layer.weight.shape) for layer in agent.net.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(128, 6), (128, 128), (2, 128), (128, 6), (128, 128), (1, 128)]
    torch.testing.assert_close(torch.linalg.svdvals(agent.net.heads.weight), torch.full((2,), 0.01))
    for layer in (agent.net.actor[2], agent.net.critic[2]):
        torch.testing.assert_close(torch.linalg.svdvals(layer.weight), torch.ones(128))
    torch.testing.assert_close(torch.linalg.svdvals(ActorCritic(6, actor_width=64).actor[2].weight), torch.full((64,), math.sqrt(2)))
    policy = ActorCritic(6, actor_width=128).policy(torch.randn(9, 6, generator=torch.Generator().manual_seed(0)))
    assert policy.concentration1.shape == (9,) and (policy.concentration1 > 1).all() and (policy.concentration0 > 1).all()
    assert policy.mean.detach().sub(0.5).abs().max() < 0.01
    groups = [group for optimiser in agent.optimisers for group in optimiser.param_groups]
    assert [(group["lr"], group["eps"], group["weight_decay"]) for group in groups] == 2 * [(3e-4, 1e-5, 5e-4)]
    assert [len(group["params"]) for group in groups] == [6, 6]  # of the actor, and of the critic
    assert PPOSettings() == PPOSettings(learning_rate=3e-4, clip=0.2, passes=4, gamma=0.99, decay=0.95, rollout=10)


def test_learning_rate_decays_from_the_third_epoch_on():
    sampler, rates = make(epochs=5), []
    for _ in range(5):
        run_epoch(sampler)
        rates.append({group["lr"] for optimiser in sampler._ppo.optimisers for group in optimiser.param_groups})
    assert all(len(found) == 1 for found in rates)
    np.testing.assert_allclose([*map(min, rates)], 3e-4 * (1 - 0.99 * np.array([0, 0, 1, 2, 3]) / 4))


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
    for _ in range(9):
        agent.pay(act(agent, states))
    assert torch.equal(weights_of(agent), start) and agent.updates == 0
    agent.pay(act(agent, states))  # the tenth fills the rollout; nothing has to follow it
    after_ten = weights_of(agent)
    assert not torch.equal(after_ten, start) and not agent.rollout and agent.updates == 1
    agent.end_epoch()
    assert torch.equal(weights_of(agent), after_ten) and agent.updates == 1
    agent.pay(act(agent, states))
    agent.end_epoch()
    assert not torch.equal(weights_of(agent), after_ten) and not agent.rollout and agent.updates == 2


def test_no_rollout_outlasts_an_epoch_of_the_sampler():
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
        actions.append(act(agent, state))
        agent.pay(reward)
    values = [reference.net.value(state).detach() for state in states]
    advantages = torch.cat(estimate_advantages(rewards, values, 0.99, 0.95))
    log_probabilities = reference.net.policy(torch.cat(states)).log_prob(torch.cat(actions))
    errors = reference.net.value(torch.cat(states)) - (advantages + torch.cat(values))
    loss = -(log_probabilities * advantages / advantages.std(correction=0)).mean() + errors.square().mean()
    loss.backward()  # actor and critic share no weights
    for optimiser in reference.optimisers:
        optimiser.step()
    agent.end_epoch()
    torch.testing.assert_close(weights_of(agent), weights_of(reference))


def test_an_epoch_may_leave_one_sample_over():
    agent, states = PPO(6, seed=0), make_batch()[2]
    agent.act(states[:1])
    agent.pay(torch.ones(1))
    agent.end_epoch()
    moments = [state["exp_avg"] for optimiser in agent.optimisers for state in optimiser.state.values()]
    assert max(moment.abs().max().item() for moment in moments) < 10


def test_ratios_are_clipped():
    moves = []
    for clip in (0.02, 0.2):
        agent = PPO(6, seed=0, settings=PPOSettings(passes=60, clip=clip))
        states = make_batch()[2]
        actions = act(agent, states)
        before = agent.rollout[0]["log_probabilities"].clone()
        agent.pay(actions)
        agent.end_epoch()
        moves.append((agent.net.policy(states).log_prob(actions) - before).abs().mean().item())
    assert moves[0] < 0.5 * moves[1]


def test_agent_learns_whom_it_is_paid_for():
    agent, generator = PPO(2, seed=0, settings=PPOSettings(learning_rate=3e-3)), torch.Generator().manual_seed(1)
    for _ in range(12):
        for _ in range(10):
            good = torch.rand(64, generator=generator) < 0.5
            states = torch.stack([good.float(), torch.rand(64, generator=generator)], dim=1)
            actions = act(agent, states)
            agent.pay(torch.where(good, actions, -actions))
        agent.end_epoch()
    good, bad = agent.net.policy(torch.tensor([[1.0, 0.5], [0.0, 0.5]])).mean.tolist()
    assert good > 0.65 and bad < 0.35


# ---- what it has learnt


def test_a_twin_that_never_learns_draws_the_same_actions_and_keeps_its_network():
    learner, twin = make(), make(learns=False)
    for sampler in (learner, twin):
        losses, logits, features = make_batch()
        sampler.observe(np.arange(NUM), losses, logits, features)
    np.testing.assert_array_equal(learner.scores, twin.scores)  # before the first update
    start = weights_of(twin._ppo)
    assert torch.equal(weights_of(learner._ppo), start)
    learner, twin = make(), make(learns=False)
    for _ in range(8):
        run_epoch(learner, batches=11)
        run_epoch(twin, batches=11)
    assert torch.equal(weights_of(twin._ppo), start) and not torch.equal(weights_of(learner._ppo), start)
    assert not twin._ppo.rollout
    assert [row["updates"] for row in twin.trace] == 8 * [0]


def test_updates_are_counted_to_the_end_of_each_epoch():
    sampler = make()
    for epoch in range(8):
        run_epoch(sampler, batches=3 if epoch % 2 else 11)
    assert [row["updates"] for row in sampler.trace] == [2, 3, 5, 6, 8, 9, 11, 11]  # what is left of the last epoch is not learned from
    assert sampler._ppo.updates == 11


def test_merit_is_the_rank_correlation_of_the_policy_with_what_actions_are_paid():
    sampler, plain = make(keep=1, learns=False), make(keep=1, agent="none")
    losses, logits, features = make_batch()
    expected = []
    for batch in np.array_split(np.array(list(sampler)), 3):
        for each in (sampler, plain):
            each.observe(batch, losses[batch], logits[batch], features[batch])
        means = sampler._ppo.net.policy(features[batch]).mean.detach().numpy()
        expected.append(spearmanr(means, plain.scores[batch]).statistic)
    assert sampler.trace[0]["merit"] == pytest.approx(np.mean(expected))
    list(plain)
    assert plain.trace[0]["updates"] is None and plain.trace[0]["merit"] is None


def test_a_policy_that_orders_nothing_has_no_merit():
    sampler, (losses, logits, _) = make(), make_batch()
    list(sampler)
    assert sampler.trace[0]["merit"] is None
    sampler.observe(np.arange(NUM), losses, logits, torch.ones(NUM, 6))
    assert sampler.trace[0]["merit"] == 0


def test_the_published_number_of_updates_follows_from_its_training():
    config = yaml.safe_load((Path(__file__).parents[2] / "config/methods.yaml").read_text(encoding="utf-8"))
    sampler = make(num_samples=50_000, epochs=200)
    visits = [25_000 if sampler.prunes(epoch) else 50_000 for epoch in range(200)]
    assert visits.count(25_000) == 174
    assert config["data_agent"]["published_updates"] == sum(math.ceil(math.ceil(count / 128) / 10) for count in visits)


# ---- standardised features


def test_standardised_features_are_those_of_all_so_far():
    moments, parts = FeatureMoments(6), [make_batch(num, seed=num)[2] * 3 + 5 for num in (7, 1, 12)]
    for end, part in enumerate(parts, start=1):
        so_far = torch.cat(parts[:end]).double()
        expected = (part.double() - so_far.mean(dim=0)) / (so_far.std(dim=0, correction=0) + 1e-8)
        torch.testing.assert_close(moments.standardise(part), expected)
    assert (FeatureMoments(2).standardise(torch.full((3, 2), 7.0)) == 0).all()


def test_an_agent_with_standardised_features_ignores_their_unit():
    plain, scaled = make(standardise=True), make(standardise=True)
    raw = make()
    losses, logits, features = make_batch()
    plain.observe(np.arange(NUM), losses, logits, features)
    scaled.observe(np.arange(NUM), losses, logits, 100 * features.double() - 3)
    raw.observe(np.arange(NUM), losses, logits, features)
    np.testing.assert_allclose(plain.scores, scaled.scores, rtol=1e-5)
    assert not np.allclose(plain.scores, raw.scores, rtol=1e-5)


@pytest.mark.parametrize("parameters", [{"standardise": True}, {"standardise": True, "learns": False}, {"learns": False}])
def test_variants_resume_bit_identically(parameters):
    whole, resumed = make(**parameters), make(**parameters)
    for _ in range(3):
        run_epoch(whole, batches=4)
    stream = io.BytesIO()
    torch.save(whole.state_dict(), stream)
    stream.seek(0)
    resumed.load_state_dict(torch.load(stream, weights_only=True))
    for _ in range(5):
        assert run_epoch(whole, batches=4).tolist() == run_epoch(resumed, batches=4).tolist()
    np.testing.assert_array_equal(whole.scores, resumed.scores)
    assert torch.equal(weights_of(whole._ppo), weights_of(resumed._ppo)) and whole.trace == resumed.trace
    with pytest.raises(SelectbenchError, match="(standardise|learns) is (True|False) in the state and (True|False) here"):
        make().load_state_dict(whole.state_dict())


# ---- the released code


def test_released_code_is_full_data_with_weights_of_one():
    sampler, full = make(variant="released_code", keep=0.4), sb.dynamic.make("full", num_samples=NUM, keep=1, epochs=8)
    for _ in range(8):
        ids = run_epoch(sampler)
        assert ids.tolist() == list(full)  # the same samples in the same order
        assert set(sampler.weights(ids).tolist()) == {1.0}
    assert sampler.visits == full.visits == sampler.planned_visits == 8 * NUM
    assert make(keep=0.4).planned_visits == 2 * 40 + 6 * 16


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
        ids = np.array(list(sampler))
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

import itertools

import numpy as np
import pytest
import torch

from selectbench.rl.reward import Reward


def shared(mask, cover, keep, delta):
    """The shared reward, written out."""
    fraction = sum(value > 0.5 for value in mask) / len(mask)
    gap = fraction - keep
    room = 1 - keep if gap >= 0 else keep
    return delta * (1 - abs(gap) / room) + sum(e * m for e, m in zip(cover, mask, strict=True)) / len(mask)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.random(40)), torch.from_numpy(rng.normal(1.0, 0.5, 40))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_the_shared_reward_is_alignment_plus_mean_redundancy(case, keep):
    mask, cover = case
    reward = Reward(keep=keep, delta=5.0)
    assert float(reward.measure(mask, cover)) == pytest.approx(shared(mask.tolist(), cover.tolist(), keep, 5.0))


def test_alignment_is_symmetric_between_all_and_nothing():
    reward = Reward(keep=0.3, delta=5.0)
    values = [float(reward.align(torch.tensor(fraction, dtype=torch.float64))) for fraction in (0.0, 0.15, 0.3, 0.65, 1.0)]
    assert values == pytest.approx([0.0, 2.5, 5.0, 2.5, 0.0])


def test_scalar_pays_everybody_the_shared_reward(case):
    mask, cover = case
    reward = Reward(keep=0.4, form="scalar")
    paid = reward.pay(mask[:8], torch.arange(8), mask, cover)
    assert paid.tolist() == pytest.approx([float(reward.measure(mask, cover))] * 8)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_per_sample_pays_what_the_shared_reward_would_lose_without_the_sample(case, keep):
    mask, cover = case
    reward = Reward(keep=keep, delta=2.0)
    paid = reward.pay(mask, torch.arange(40), mask, cover)
    for sample in range(40):
        dropped = mask.clone()
        dropped[sample] = 0.0
        lost = 40 * (shared(mask.tolist(), cover.tolist(), keep, 2.0) - shared(dropped.tolist(), cover.tolist(), keep, 2.0))
        assert float(paid[sample]) == pytest.approx(lost, abs=1e-9)


@pytest.mark.parametrize("alignment", ["gap", "price"])
@pytest.mark.parametrize("form", ["per_sample", "scalar"])
def test_terms_add_up(case, form, alignment):
    mask, cover = case

    def pay(terms):
        return Reward(keep=0.3, form=form, terms=terms, alignment=alignment).pay(mask[:5], torch.arange(5), mask, cover, price=0.7)

    torch.testing.assert_close(pay("alignment") + pay("redundancy"), pay("both"))


@pytest.mark.parametrize("alignment", ["gap", "price"])
@pytest.mark.parametrize("form", ["per_sample", "scalar"])
def test_draws_are_paid_as_if_each_were_stored_alone(case, form, alignment):
    mask, cover = case
    reward, positions = Reward(keep=0.4, form=form, alignment=alignment), torch.arange(3, 11)
    draws = torch.rand(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = mask.clone()
    paid = reward.pay(draws, positions, mask, cover, price=0.3)
    assert torch.equal(mask, before)
    for draw, row in zip(draws, paid, strict=True):
        stored = mask.clone()
        stored[positions] = draw
        torch.testing.assert_close(row, reward.pay(draw, positions, stored, cover, price=0.3))


def test_a_price_is_paid_for_what_is_kept(case):
    mask, cover = case
    actions, positions = mask[:4], torch.arange(4)
    own = Reward(keep=0.4, alignment="price").pay(actions, positions, mask, cover, price=0.3)
    torch.testing.assert_close(own, (cover[:4] - 0.3) * actions)
    shared_by_all = Reward(keep=0.4, form="scalar", alignment="price").pay(actions, positions, mask, cover, price=0.3)
    torch.testing.assert_close(shared_by_all, ((cover - 0.3) * mask).mean().expand(4))


def test_the_best_mask_of_k_samples_is_the_top_k_of_redundancy():
    rng = np.random.default_rng(1)
    cover = torch.from_numpy(rng.normal(size=9))
    reward = Reward(keep=1 / 3)
    masks = [torch.tensor([float(i in chosen) for i in range(9)], dtype=torch.float64) for chosen in itertools.combinations(range(9), 3)]
    best = max(masks, key=lambda mask: float(reward.measure(mask, cover)))
    assert set(np.flatnonzero(best.numpy())) == set(np.argsort(-cover.numpy())[:3])

import numpy as np
import pytest
import torch

import selectbench as sb
from selectbench.seeds import derive_seed, hash_ids, isolated_torch_rng, uniform_by_id


def test_seeds_depend_on_every_axis_and_their_borders():
    seeds = {derive_seed(*axes) for axes in (("a", "b"), ("ab",), ("a", "b", 0), ("a", "b", 1), ("b", "a"))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_hashes_follow_their_ids_and_do_not_collide():
    ids = np.arange(200_000)
    keys = hash_ids(ids, 7)
    assert len(np.unique(keys)) == len(ids)
    order = np.random.default_rng(0).permutation(len(ids))
    np.testing.assert_array_equal(hash_ids(ids[order], 7), keys[order])
    assert (hash_ids(ids, 8) != keys).all()


def test_draws_are_uniform_and_streams_independent():
    ids = np.arange(100_000)
    draws = np.stack([uniform_by_id(ids, seed) for seed in range(4)])
    assert ((draws >= 0) & (draws < 1)).all()
    counts = np.stack([np.histogram(row, 50, (0, 1))[0] for row in draws])
    chi_squared = ((counts - 2000) ** 2 / 2000).sum(axis=1)
    assert (chi_squared < 49 + 5 * np.sqrt(2 * 49)).all()
    correlation = np.corrcoef(draws)[~np.eye(4, dtype=bool)]
    assert np.abs(correlation).max() < 5 / np.sqrt(len(ids))


def test_torch_is_seeded_inside_the_block_only():
    before = torch.random.get_rng_state()
    with isolated_torch_rng(3):
        first = torch.rand(4)
    with isolated_torch_rng(3):
        second = torch.rand(4)
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_torch_is_seeded_as_by_its_own_function():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2**62 + 3)
        expected = torch.rand(4)
    with isolated_torch_rng(2**62 + 3):
        assert torch.equal(torch.rand(4), expected)


def draw_with(seed):
    """Return what every function of the library gives that takes a seed, by name."""
    signals = sb.Signals(labels=np.arange(20) % 2)
    return {
        "score": lambda: sb.score("random", signals, seed=seed).tolist(),
        "select": lambda: sb.select("random", signals, 0.5, seed=seed).ids.tolist(),
        "take": lambda: sb.take(np.zeros(20), 0.5, seed=seed).ids.tolist(),
        "make": lambda: list(sb.dynamic.make("random_dynamic", num_samples=20, keep=0.5, epochs=9, seed=seed)),
    }


@pytest.mark.parametrize("seed", [0.0, 1.5, "1", None, True, [1], np.float64(1)])
def test_seeds_that_are_no_integers_are_refused_everywhere(seed):
    for draw in draw_with(seed).values():
        with pytest.raises(sb.SelectbenchError) as caught:
            draw()
        assert str(caught.value) == f"seed: {seed.item() if isinstance(seed, np.floating) else seed!r} is not a whole number"


def test_integers_of_numpy_are_seeds_like_others():
    assert sb.select("random", sb.Signals(labels=np.arange(20) % 2), 0.5, seed=np.int64(3)).seed == 3
    for name in ("score", "select", "take"):
        assert draw_with(np.int64(3))[name]() == draw_with(3)[name]() != draw_with(4)[name]()

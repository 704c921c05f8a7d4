import numpy as np
import pytest
import torch

from selectbench.data.splits import ArraySplit
from selectbench.seeds import derive_seed, hash_ids, uniform_by_id
from selectbench.training.augment import Augment, draw_augmentations, hash_on_device, name_draws, uniform_on_device
from selectbench.training.pools import TrainingBatches, load_training_batch, open_pool

ALL = Augment(crop_padding=1, flip=True, cutout=2, crop_fill="reflect")
IDS = np.concatenate([np.arange(2000), np.array([2**31, 2**40 + 7, 2**62, 2**63 - 1, -1, -(2**63)])])


@pytest.mark.parametrize("seed", [0, 1, 2**62, derive_seed("a", 3)])
def test_hashes_on_the_device_are_those_of_numpy(seed):
    expected = hash_ids(IDS, seed)
    assert np.array_equal(hash_on_device(torch.from_numpy(IDS), seed).numpy().view(np.uint64), expected)
    assert np.array_equal(uniform_on_device(torch.from_numpy(IDS), seed).numpy(), uniform_by_id(IDS, seed))


def test_draws_are_named_and_each_is_that_of_its_sample():
    names = name_draws(ALL)
    assert names == ("row", "column", "flip", "cutout-row", "cutout-column")
    drawn = draw_augmentations(torch.arange(50), ALL, ("stream", 4))
    for row, name in zip(drawn.numpy(), names, strict=True):
        assert np.array_equal(row, uniform_by_id(np.arange(50), derive_seed("stream", 4, name)))
    assert draw_augmentations(torch.arange(50), Augment(crop_padding=0, flip=False, cutout=0), ("stream",)).shape == (0, 50)


@pytest.mark.parametrize("augment", [ALL, Augment(0, True, 0), Augment(0, False, 0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_draws_of_an_epoch_at_once_give_the_batches_of_draws_one_by_one(tmp_path, augment, channels):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (40, channels, 8, 8), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros(40, dtype=np.int64))
    pool = open_pool(ArraySplit(tmp_path), [0.5] * channels, [0.25] * channels, torch.device("cpu"))
    batches = TrainingBatches(pool, augment, ("stream", 0))
    for epoch in (0, 1, 0):
        for positions in (np.array([3, 39, 0]), np.arange(20)):
            expected = load_training_batch(pool, positions, augment, ("stream", 0, "augment", epoch))
            made = batches.load(positions, epoch)
            assert torch.equal(made, expected)
            assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pool.load_clean(np.array([5, 2])), pool.normalise(pool.images[[5, 2]]))

"""Images decoded ahead equal images decoded on demand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from training_fixtures import RECIPE

from selectbench.data.splits import FolderSplit
from selectbench.errors import DataError
from selectbench.models.factory import build_model
from selectbench.seeds import isolated_torch_rng
from selectbench.training.engine import Checkpoint, predict, train_model
from selectbench.training.epochs import visit_subset
from selectbench.training.pools import open_pool, supervised_loss

NUM = 12
NET = {"library": "selectbench", "name": "convnet", "width": 2}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(NUM):
        Image.fromarray(rng.integers(0, 256, (30 + index, 40, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "paths.txt").write_text("\n".join(f"{index}.png" for index in range(NUM)))
    np.save(tmp_path / "labels.npy", np.arange(NUM) % 3)
    return tmp_path


def make_batches(with_draws):
    rng = np.random.default_rng(1)
    batches = np.array_split(rng.permutation(NUM), 4)
    return [(positions, rng.random((len(positions), 5)) if with_draws else None) for positions in batches]


@pytest.mark.parametrize("with_draws", [False, True])
def test_bytes_and_order_do_not_depend_on_threads_or_on_what_was_expected(folder, with_draws):
    batches = make_batches(with_draws)
    on_demand = [FolderSplit(folder, folder, 0).load(*batch) for batch in batches]
    for threads in (0, 1, 3):
        split = FolderSplit(folder, folder, threads)
        split.expect(batches)
        assert all(np.array_equal(split.load(*batch), expected) for batch, expected in zip(batches, on_demand, strict=True))
        assert not split._ahead
        split.expect(batches)
        assert all(np.array_equal(split.load(*batches[index]), on_demand[index]) for index in (3, 1, 1, 0, 2))


def test_only_a_few_batches_are_decoded_ahead(folder):
    split, asked = FolderSplit(folder, folder, 1), []
    split.expect(asked.append(index) or batch for index, batch in enumerate(make_batches(False) * 5))
    assert len(asked) <= 4
    split.expect([])
    assert not split._ahead


def test_a_damaged_picture_is_told_once_in_one_line_whichever_thread_met_it(folder, caplog):
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:200])
    split = FolderSplit(folder, folder, 3)
    for _ in range(2):
        split.expect(make_batches(False))
        for batch in make_batches(False):
            split.load(*batch)
    (message,) = caplog.messages
    assert message.startswith(f"{folder / '5.png'}: unreadable image") and "\n" not in message
    (folder / "6.png").write_bytes(b"no image")
    split.expect([(np.arange(NUM), None)])
    with pytest.raises(DataError, match="2 of 12 images cannot be read, too many to go on"):
        split.load(np.arange(NUM))


def test_an_error_of_a_thread_comes_out_once_and_ends_what_was_expected(folder, monkeypatch):
    split = FolderSplit(folder, folder, 2)
    read = split._read_image

    def fail(position, draws):
        if position == 4:
            raise RuntimeError("a bug")
        return read(position, draws)

    monkeypatch.setattr(split, "_read_image", fail)
    split.expect([(np.arange(6), None), (np.arange(6, NUM), None)])
    with pytest.raises(RuntimeError, match="a bug"):
        split.load(np.arange(6))
    assert not split._ahead
    assert len(split.load(np.arange(6, NUM))) == 6


def test_a_training_from_files_does_not_depend_on_threads(folder):
    ends = []
    for threads in (0, 2):
        split = FolderSplit(folder, folder, threads)
        pool = open_pool(split, [0.5] * 3, [0.25] * 3, torch.device("cpu"))
        recipe = replace(RECIPE, epochs=2, batch_size=5)
        with isolated_torch_rng(0):
            model = build_model(NET, "small", split.input_shape, 3)
        train_model(
            model,
            pool,
            visit_subset(np.arange(NUM - 1), NUM, recipe, "equal_epochs"),
            recipe,
            stream=("test",),
            batch_loss=supervised_loss(pool, recipe, ("test",)),
            on_epoch_end=lambda *_: None,
            checkpoint=Checkpoint(folder / "state.pt", "key", every_s=1e9),
        )
        assert not split._ahead
        ends.append(torch.cat([logits for _, _, logits in predict(model, pool, 5)]))
    assert torch.equal(*ends)

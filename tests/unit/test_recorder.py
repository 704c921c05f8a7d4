from dataclasses import replace

import numpy as np
import pytest
import torch

from selectbench.data.splits import ArraySplit
from selectbench.models.factory import build_model
from selectbench.seeds import isolated_torch_rng
from selectbench.signals import error_norms
from selectbench.training import recorder as recorder_module
from selectbench.training.augment import Augment
from selectbench.training.engine import Checkpoint, predict, train_model
from selectbench.training.epochs import Progress, visit_subset
from selectbench.training.pools import open_pool, supervised_loss
from selectbench.training.recipes import Recipe, learning_rate_at
from selectbench.training.recorder import Recorder

RECIPE = Recipe(
    epochs=4,
    batch_size=16,
    optimiser="sgd",
    learning_rate=0.1,
    momentum=0.9,
    nesterov=False,
    weight_decay=0,
    schedule="linear",
    warmup_epochs=1,
    label_smoothing=0,
    augment=Augment(crop_padding=0, flip=False, cutout=0),
    stem="small",
    precision="fp32",
    track_test=False,
)


@pytest.fixture
def pool(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (41, 1, 8, 8), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", rng.integers(0, 3, 41))
    return open_pool(ArraySplit(tmp_path), [0.5], [0.25], torch.device("cpu"))


def make_model(epoch):
    with isolated_torch_rng(epoch):
        return build_model({"library": "selectbench", "name": "convnet", "width": 4}, "small", (1, 8, 8), 3)


def make_logits(epoch):
    """Outputs of a training pass, different from those of the model that ``record`` shows at the end of the epoch."""
    return torch.from_numpy(np.random.default_rng(epoch).normal(size=(41, 3)).astype(np.float32))


def record(pool, epochs=4, record_at=(0.25, 0.5, 1.0), align_at=(0.75, 1.0)):
    recipe = replace(RECIPE, epochs=epochs, record_at=record_at, align_at=align_at)
    recorder, progress = Recorder(pool, 3, recipe), Progress()
    for epoch in range(1, epochs + 1):
        logits = make_logits(epoch)
        for positions in np.array_split(np.random.default_rng(epoch).permutation(41), 3):
            recorder.watch(positions, logits[positions])
        recorder.observe(epoch, make_model(epoch), progress)
    return recorder, progress


def test_rows_come_from_the_declared_epochs(pool):
    recorder, progress = record(pool)
    signals = recorder.signals(progress)
    assert signals.recorded_at.tolist() == [0.25, 0.5, 1.0]
    for row, epoch in zip(signals.logits, (1, 2, 4), strict=True):
        expected = torch.cat([logits for _, _, logits in predict(make_model(epoch), pool)])
        np.testing.assert_array_equal(row, expected.numpy())
    assert signals.features.shape == (41, 8)
    assert progress.forward_visits == 3 * 41


def test_correctness_and_margins_are_those_of_the_training_pass(pool):
    recorder, progress = record(pool)
    signals = recorder.signals(progress)
    logits = np.stack([make_logits(epoch).numpy() for epoch in range(1, 5)])
    np.testing.assert_array_equal(signals.correct, logits.argmax(axis=2) == signals.labels)
    assert ((signals.aum > 0) | ~signals.correct.all(axis=0)).all()
    assert ((signals.aum < 0) | signals.correct.any(axis=0)).all()


def test_the_engine_shows_each_sample_once_an_epoch_before_the_model_learns_from_it(pool, tmp_path):
    recipe, seen = replace(RECIPE, record_at=(1.0,)), []
    recorder, model = Recorder(pool, 3, recipe), make_model(0)

    def spy(module, _, logits):
        if module.training:
            seen.append(logits.detach().clone())

    model.register_forward_hook(spy)
    shown, watch = [], recorder.watch
    train_model(
        model,
        pool,
        visit_subset(np.arange(41), 41, recipe, "equal_epochs"),
        recipe,
        stream=("test",),
        batch_loss=supervised_loss(pool, recipe, ("test",), lambda positions, logits: (shown.append(positions), watch(positions, logits))),
        on_epoch_end=recorder.observe,
        checkpoint=Checkpoint(tmp_path / "state.pt", "test"),
    )
    assert np.sort(np.concatenate(shown).reshape(4, 41), axis=1).tolist() == [list(range(41))] * 4
    last = torch.cat(seen[-3:])[np.argsort(np.concatenate(shown[-3:]))]
    torch.testing.assert_close(recorder._logits, last, rtol=0, atol=0)


@pytest.mark.parametrize("limit", ["_RESIDENT_BYTES", "_BLOCK_BYTES"])
def test_nothing_depends_on_where_logits_lie_or_how_many_are_reduced_at_once(pool, monkeypatch, limit):
    expected = record(pool)
    monkeypatch.setattr(recorder_module, limit, 100)
    found = record(pool)
    for name in ("correct", "aum", "divergences"):
        values = [getattr(recorder.signals(progress), name) for recorder, progress in (expected, found)]
        np.testing.assert_array_equal(*values)


def test_margins_are_the_labels_probability_minus_the_next():
    logits, labels = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 2])
    probabilities = logits.double().softmax(dim=1)
    expected = torch.stack([probabilities[0, 0] - probabilities[0, 1], probabilities[1, 2] - probabilities[1, 1]])
    torch.testing.assert_close(recorder_module.measure_margins(logits, labels), expected)


def test_norms_are_streamed_where_logits_would_not_fit(pool, monkeypatch):
    full_recorder, full_progress = record(pool)
    full = full_recorder.signals(full_progress)
    monkeypatch.setattr(recorder_module, "_MAX_LOGIT_BYTES", 3 * 41 * 3 * 4 - 1)
    recorder, progress = record(pool)
    compact = recorder.signals(progress)
    assert compact.logits is None
    assert compact.errors.shape == (3, 41)
    np.testing.assert_allclose(compact.errors, [error_norms(row, full.labels) for row in full.logits], rtol=1e-6)
    np.testing.assert_array_equal(compact.features, full.features)


def test_weights_are_kept_at_the_declared_epochs_with_the_rate_that_led_there(pool):
    recorder, progress = record(pool)
    kept = recorder.weights(progress)
    assert [entry["epoch"] for entry in kept] == [1, 2, 3, 4]
    assert [entry["step_size"] for entry in kept] == [learning_rate_at(step, 12, recorder.recipe) for step in (2, 5, 8, 11)]
    for entry in kept:
        expected = make_model(entry["epoch"]).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in entry["model"].items() if "running" not in name)
    sparse, sparse_progress = record(pool, record_at=(1.0,), align_at=(0.5,))
    assert [entry["epoch"] for entry in sparse.weights(sparse_progress)] == [2, 4]


def test_divergences_compare_each_epoch_with_the_one_before(pool):
    recorder, progress = record(pool)
    outputs = np.stack([make_logits(epoch).double().softmax(dim=1).numpy() for epoch in range(1, 5)])
    expected = np.abs(outputs[1:] * np.log(outputs[1:] / outputs[:-1])).sum(axis=2)
    np.testing.assert_allclose(recorder.signals(progress).divergences, expected, rtol=1e-4, atol=1e-7)

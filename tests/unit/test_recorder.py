import numpy as np
import pytest
import torch

from selectbench.data.splits import ArraySplit
from selectbench.engine import Progress, open_pool
from selectbench.models import build_model
from selectbench.seeds import isolated_torch_rng
from selectbench.signals import error_norms
from selectbench.stages import train_proxy
from selectbench.stages.train_proxy import Recorder


@pytest.fixture
def pool(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (41, 1, 8, 8), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", rng.integers(0, 3, 41))
    return open_pool(ArraySplit(tmp_path), [0.5], [0.25], torch.device("cpu"))


def record(pool, epochs=4, record_at=(0.25, 0.5, 1.0)):
    recorder, progress = Recorder(pool, 3, epochs, record_at), Progress()
    for epoch in range(1, epochs + 1):
        with isolated_torch_rng(epoch):
            model = build_model({"library": "selectbench", "name": "convnet", "width": 4}, "small", (1, 8, 8), 3)
        recorder.observe(epoch, model, progress)
    return recorder, progress


def test_rows_come_from_the_declared_epochs(pool):
    recorder, progress = record(pool)
    signals = recorder.signals(progress)
    assert signals.recorded_at.tolist() == [0.25, 0.5, 1.0]
    right = signals.logits.argmax(axis=2) == signals.labels
    np.testing.assert_array_equal(right, signals.correct[[0, 1, 3]])
    assert signals.features.shape == (41, 8)
    assert progress.forward_visits == 4 * 41
    assert ((signals.aum > 0) | ~signals.correct.all(axis=0)).all()
    assert ((signals.aum < 0) | signals.correct.any(axis=0)).all()


def test_margins_are_the_labels_probability_minus_the_next():
    logits, labels = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 2])
    probabilities = logits.double().softmax(dim=1)
    expected = torch.stack([probabilities[0, 0] - probabilities[0, 1], probabilities[1, 2] - probabilities[1, 1]])
    torch.testing.assert_close(train_proxy.measure_margins(logits, labels), expected)


def test_norms_are_streamed_where_logits_would_not_fit(pool, monkeypatch):
    full_recorder, full_progress = record(pool)
    full = full_recorder.signals(full_progress)
    monkeypatch.setattr(train_proxy, "_MAX_LOGIT_BYTES", 3 * 41 * 3 * 4 - 1)
    recorder, progress = record(pool)
    compact = recorder.signals(progress)
    assert compact.logits is None
    assert compact.errors.shape == (3, 41)
    np.testing.assert_allclose(compact.errors, [error_norms(row, full.labels) for row in full.logits], rtol=1e-6)
    np.testing.assert_array_equal(compact.features, full.features)

import numpy as np
import pytest

import selectbench as sb
from selectbench.signals import error_norms


def test_a_saved_record_comes_back_with_bits_packed(signals, tmp_path):
    signals.save(tmp_path / "signals.npz")
    back = sb.Signals.load(tmp_path / "signals.npz")
    for name in ("labels", "features", "logits", "correct", "ids", "recorded_at", "inputs"):
        np.testing.assert_array_equal(getattr(back, name), getattr(signals, name))
    with np.load(tmp_path / "signals.npz") as archive:
        assert archive["correct"].nbytes == 7 * -(-203 // 8)


def test_equal_records_are_equal_bytes(signals, tmp_path):
    for name in ("one.npz", "two.npz"):
        signals.save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_one_checkpoint_may_come_without_its_axis():
    assert sb.Signals(labels=[0, 1], logits=np.zeros((2, 2))).logits.shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": []}, r"labels: shape \(0,\)"),
        ({"labels": [0.5, 1]}, "labels: holds float64, not integers"),
        ({"labels": [0, 1], "features": np.zeros((3, 2))}, r"features: shape \(3, 2\) does not fit 2 labels"),
        ({"labels": [0, 1], "features": np.zeros(2)}, "features: shape"),
        ({"labels": [0, 1], "features": [[np.nan], [0]]}, "features: holds NaN"),
        ({"labels": [0, 1], "logits": np.zeros((3, 5, 2))}, "logits: shape"),
        ({"labels": [0, 2], "logits": np.zeros((1, 2, 2))}, "logits have 2 classes"),
        ({"labels": [0, 1], "correct": np.full((2, 2), 7)}, "correct: holds values other than true and false"),
        ({"labels": [0, 1], "ids": [4, 4]}, "ids: 4 occurs 2 times"),
        ({"labels": [0, 1], "logits": np.zeros((3, 2, 2)), "recorded_at": [1.0]}, r"recorded_at: shape \(1,\) should be \(3,\)"),
    ],
)
def test_bad_arrays_are_named(arrays, message):
    with pytest.raises(sb.SelectbenchError, match=message):
        sb.Signals(**arrays)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(sb.SelectbenchError, match="mine.npz: no such file"):
        sb.Signals.load(path)
    path.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(sb.SelectbenchError, match="mine.npz: not a readable"):
        sb.Signals.load(path)
    np.savez(path, labels=np.array([0, 1]), feature=np.zeros((2, 2)))
    with pytest.raises(sb.SelectbenchError, match="unknown array 'feature'; did you mean 'features'"):
        sb.Signals.load(path)
    np.savez(path, features=np.zeros((2, 2)))
    with pytest.raises(sb.SelectbenchError, match="has no array 'labels'"):
        sb.Signals.load(path)
    np.savez(path, labels=np.array([{}, 1], dtype=object))
    with pytest.raises(sb.SelectbenchError, match="not a readable .npz of plain arrays"):
        sb.Signals.load(path)


def test_recorded_errors_stand_in_for_logits(signals):
    norms = np.stack([error_norms(row, signals.labels) for row in signals.logits])
    compact = sb.Signals(labels=signals.labels, ids=signals.ids, errors=norms, features=signals.features)
    for method in ("el2n", "grand"):
        np.testing.assert_array_equal(sb.score(method, compact), sb.score(method, signals))

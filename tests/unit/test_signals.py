import numpy as np
import pandas as pd
import pytest
import torch

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
        ({"labels": [0, 1], "logits": np.zeros((1, 2, 2)), "recorded_at": [np.nan]}, "recorded_at: holds NaN or infinity"),
        ({"labels": [0, 1], "features": [[1.0], [1.0, 2.0]]}, "features: its rows have different lengths; give every sample as many"),
        ({"labels": [0, 1], "features": [["a"], ["b"]]}, r"features: holds text \('a'\), not numbers$"),
        ({"labels": [0, 1], "features": [[None], [1.0]]}, "features: holds object, not numbers"),
        ({"labels": [0, 1], "aum": np.ma.masked_array([1.0, 2.0], [False, True])}, "aum: has masked entries; fill them in"),
        ({"labels": [0, 1], "aum": torch.tensor([1.0, torch.inf])}, "aum: holds NaN or infinity; remove these samples"),
        ({"labels": [0, 1], "aum": torch.zeros(2).to_sparse()}, "aum: not an array of numbers"),
        ({"labels": [0, 1], "validation_embeddings": 3.0}, r"validation_embeddings: shape \(\) does not fit"),
        (
            {"labels": ["cat", "dog"]},
            r"labels: holds text \('cat'\), not integers; number them: `names, labels",
        ),
        ({"labels": pd.Series(["cat", "dog"], dtype="category")}, r"labels: holds text \('cat'\), not integers"),
    ],
)
def test_bad_arrays_are_named(arrays, message):
    with pytest.raises(sb.SelectbenchError, match=message):
        sb.Signals(**arrays)


def test_tensors_lists_and_columns_are_arrays():
    values = np.arange(12.0).reshape(6, 2)
    labels = np.arange(6) % 2
    plain = sb.select("herding", sb.Signals(labels=labels, features=values), 0.5, seed=1)
    given = {
        "with a graph": (torch.tensor(labels), torch.tensor(values, requires_grad=True) * 1),
        "bfloat16": (torch.tensor(labels, dtype=torch.int8), torch.tensor(values, dtype=torch.bfloat16)),
        "a list of tensors": (list(torch.tensor(labels)), list(torch.tensor(values, requires_grad=True))),
        "lists": (labels.tolist(), values.tolist()),
        "a data frame": (pd.Series(labels, dtype="Int64"), pd.DataFrame(values).astype(object)),
    }
    for name, (own_labels, features) in given.items():
        signals = sb.Signals(labels=own_labels, features=features)
        np.testing.assert_array_equal(signals.features, values, err_msg=name)
        assert sb.select("herding", signals, 0.5, seed=np.int32(1)).ids.tolist() == plain.ids.tolist()
        np.testing.assert_allclose(sb.sample_cover(features, own_labels), sb.sample_cover(values, labels))
    assert sb.Signals(labels=labels, features=torch.zeros(6, 2)).features.dtype == np.float32
    assert sb.take(torch.arange(6.0, requires_grad=True), 0.5).ids.tolist() == [5, 4, 3]


@pytest.mark.parametrize("seed", [3.0, "x", None, True, np.float64(3)])
def test_a_seed_is_a_whole_number_everywhere(seed):
    signals = sb.Signals(labels=np.arange(60) % 3)
    calls = {
        "select": lambda: sb.select("random", signals, 0.5, seed=seed),
        "score": lambda: sb.score("random", signals, seed=seed),
        "take": lambda: sb.take(np.zeros(60), 0.5, seed=seed),
        "make": lambda: sb.dynamic.make("random_dynamic", num_samples=60, keep=0.5, epochs=8, seed=seed),
    }
    for call in calls.values():
        with pytest.raises(sb.SelectbenchError, match="seed: .* is not a whole number"):
            call()


def test_numpys_numbers_are_parameters():
    signals = sb.Signals(labels=np.arange(60) % 3, inputs=np.random.default_rng(0).normal(size=(60, 5)))
    plain = sb.select("cg_score", signals, 0.5, seed=3, repeats=2, jitter=0.01)
    given = sb.select("cg_score", signals, np.float32(0.5), seed=np.uint8(3), repeats=np.int64(2), jitter=np.float32(0.01))
    assert given.ids.tolist() == plain.ids.tolist() and type(given.seed) is int and given.keep == 0.5


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(sb.SelectbenchError, match="mine.npz: no such file"):
        sb.Signals.load(path)
    path.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(sb.SelectbenchError, match="mine.npz: not a readable"):
        sb.Signals.load(path)
    path.write_text("label,f0\n0,1.5\n")
    with pytest.raises(sb.SelectbenchError, match="mine.npz: not a readable .npz of plain arrays .it has another format; `np.savez"):
        sb.Signals.load(path)
    with open(path, "wb") as stream:
        np.save(stream, np.zeros((2, 2)))
    with pytest.raises(sb.SelectbenchError, match="mine.npz: not a readable .npz of plain arrays .it has another format"):
        sb.Signals.load(path)
    np.savez(path, labels=np.array(["dog", "cat"]))
    with pytest.raises(sb.SelectbenchError, match=r"mine.npz: labels: holds text \('dog'\), not integers; number them: `names"):
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

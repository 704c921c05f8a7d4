import numpy as np
import pytest
import torch

from selectbench.rl.cover import sample_cover
from selectbench.rl.redundancy import measure_redundancy, scale_redundancy


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [30, 12, 1]))
    return rng.normal(size=(43, 5)) + 3.0, labels


def by_hand(metric, features, labels):
    values = []
    for row, label in zip(features, labels, strict=True):
        others = features[labels == label]
        distances = np.linalg.norm(others - row, axis=1)
        if metric == "cover":
            values.append(distances.mean())
        elif metric == "squared":
            values.append(np.square(distances).mean())
        elif metric == "centroid":
            values.append(np.linalg.norm(row - others.mean(axis=0)))
        elif metric == "nearest":
            values.append(np.sort(distances)[1] if len(others) > 1 else 0.0)
        else:
            cosines = others @ row / np.linalg.norm(others, axis=1) / np.linalg.norm(row)
            values.append((1 - cosines).mean())
    return np.array(values)


@pytest.mark.parametrize("metric", ["cover", "squared", "centroid", "nearest", "cosine"])
def test_equals_the_definition_pair_by_pair(case, metric):
    np.testing.assert_allclose(measure_redundancy(metric, *case), by_hand(metric, *case), rtol=1e-9, atol=1e-9)


def test_cover_is_the_sum_divided_by_the_class_size(case):
    features, labels = case
    sizes = np.bincount(labels)[labels]
    np.testing.assert_allclose(measure_redundancy("cover", features, labels), sample_cover(features, labels) / sizes, rtol=1e-12)


@pytest.mark.parametrize("metric", ["cover", "centroid"])
def test_tensors_and_arrays_agree(case, metric):
    features, labels = case
    np.testing.assert_allclose(measure_redundancy(metric, torch.from_numpy(features), labels), by_hand(metric, *case), rtol=1e-9, atol=1e-9)


def test_scales():
    values, labels = np.array([1.0, 2.0, 6.0]), np.array([7, 7, -1])
    assert scale_redundancy(values, "mean", labels).mean() == pytest.approx(1.0)
    standard = scale_redundancy(values, "standard", labels)
    assert (standard.mean(), standard.std()) == pytest.approx((0.0, 1.0))
    assert scale_redundancy(values, "none", labels).tolist() == [1.0, 2.0, 6.0]
    assert scale_redundancy(values, "sum", labels).tolist() == [2.0, 4.0, 6.0]
    for scale in ("mean", "standard"):
        assert np.isfinite(scale_redundancy(np.zeros(3), scale, labels)).all()


def test_the_summed_scale_is_the_sample_cover_of_the_paper(case):
    features, labels = case
    summed = scale_redundancy(measure_redundancy("cover", features, labels), "sum", labels)
    np.testing.assert_allclose(summed, sample_cover(features, labels), rtol=1e-12)

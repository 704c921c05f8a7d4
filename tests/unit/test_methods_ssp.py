import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.cluster import KMeans

import selectbench as sb
from selectbench.methods.ssp import distances_to_prototypes
from selectbench.rl.geometry import normalise_rows


def blobs(num=300, classes=3, width=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % classes
    return labels, rng.normal(scale=0.15, size=(num, width)) + 2.0 * np.eye(classes, width)[labels]


def test_distance_is_the_brute_cosine_to_the_assigned_centroid():
    _, rows = blobs()
    units = normalise_rows(rows)
    fitted = KMeans(3, n_init=10, random_state=5).fit(units)
    expected = []
    for row, label in zip(units, fitted.labels_, strict=True):
        centre = units[fitted.labels_ == label].mean(axis=0)
        expected.append(1 - row @ centre / np.linalg.norm(row) / np.linalg.norm(centre))
    np.testing.assert_allclose(distances_to_prototypes(units, 3, 10, 5), expected, atol=1e-9)


def test_as_many_prototypes_as_samples_leave_no_distance():
    labels, rows = blobs(num=30)
    np.testing.assert_allclose(sb.score("ssp", sb.Signals(labels=labels, embeddings=rows), clusters=30), 0.0, atol=1e-9)


def test_far_samples_are_the_outer_shell_of_a_blob():
    rng = np.random.default_rng(0)
    rows = rng.normal(scale=0.2, size=(500, 5)) + np.array([3.0, 0, 0, 0, 0])
    shell = np.linalg.norm(normalise_rows(rows) - normalise_rows(normalise_rows(rows).mean(axis=0)[None]), axis=1)
    signals = sb.Signals(labels=np.zeros(500, int), embeddings=rows)
    np.testing.assert_array_equal(np.sort(sb.select("ssp", signals, 0.2).ids), np.sort(np.argsort(-shell)[:100]))
    np.testing.assert_array_equal(np.sort(sb.select("ssp", signals, 0.2, tail="low").ids), np.sort(np.argsort(shell)[:100]))


def test_length_does_not_matter_but_direction_does():
    labels, rows = blobs()
    stretched = rows * np.random.default_rng(1).uniform(0.5, 4.0, size=(300, 1))
    scores = [sb.score("ssp", sb.Signals(labels=labels, embeddings=array)) for array in (rows, stretched)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-9)


def test_ranks_are_stable_between_seeds():
    labels, rows = blobs()
    scores = [sb.score("ssp", sb.Signals(labels=labels, embeddings=rows), seed=seed) for seed in range(3)]
    assert min(spearmanr(scores[0], other).statistic for other in scores[1:]) > 0.99


def test_every_class_keeps_half_of_its_proportional_share():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [800, 200])
    rows = rng.normal(size=(1000, 4)) * np.where(labels == 0, 1.0, 0.05)[:, None] + np.array([1.0, 0, 0, 0])
    signals = sb.Signals(labels=labels, embeddings=rows)
    kept = labels[sb.select("ssp", signals, 0.2, clusters=1).ids]
    assert np.bincount(kept).tolist() == [180, 20]
    free = labels[sb.select("ssp", signals, 0.2, clusters=1, floor=0).ids]
    assert np.bincount(free, minlength=2)[1] < 20


def test_rows_of_zeros_and_few_distinct_rows_are_scored():
    rows = np.repeat([[0.0, 0.0], [1.0, 0.0]], [6, 6], axis=0)
    scores = sb.score("ssp", sb.Signals(labels=np.arange(12) % 4, embeddings=rows))
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"clusters": -1}, "clusters: -1"), ({"starts": 0}, "starts: 0"), ({"floor": 1.5}, r"floor: 1.5 is outside \[0, 1\]")],
)
def test_bad_parameters_are_named(signals, parameters, message):
    with pytest.raises(sb.SelectbenchError, match=message):
        sb.score("ssp", signals, **parameters)

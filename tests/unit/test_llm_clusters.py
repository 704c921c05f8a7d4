"""Clusters of embeddings, and their statistics, against brute force."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from selectbench.errors import SelectbenchError
from selectbench.llm.clusters import agree_by_chance, cap_union, cluster_embeddings, describe_clusters, fill_clusters, share_clusters
from selectbench.seeds import hash_ids


@pytest.fixture
def blobs():
    draws = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    rows = draws.normal(size=(100, 6)) * 0.1 + np.eye(6)[np.arange(100) % 5]
    rows[1] = rows[0]
    return rows, labels


@pytest.mark.parametrize("kind", ["kmeans", "stratified"])
def test_no_cluster_is_empty_and_equal_rows_share_one(blobs, kind):
    rows, labels = blobs
    found = cluster_embeddings(rows, labels, kind, 10, 3)
    assert sorted(set(found.tolist())) == list(range(10))
    assert found[0] == found[1]
    assert np.array_equal(found, cluster_embeddings(rows, labels, kind, 10, 3))
    if kind == "stratified":
        assert all(len(set(labels[found == cluster].tolist())) == 1 for cluster in range(10))


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("seed", range(6))
def test_no_cluster_is_empty_where_scales_differ_by_much(seed):
    draws = np.random.default_rng(seed)
    base = draws.normal(size=(20, 3)) * draws.choice([1e-6, 1, 1e3], size=(20, 1))
    rows = base[draws.integers(20, size=60)]
    distinct = len(np.unique(rows, axis=0))
    for count in (distinct, distinct // 2):
        found = cluster_embeddings(rows, np.zeros(60, dtype=int), "kmeans", count, seed)
        assert set(found.tolist()) == set(range(count))
        assert len(np.unique(np.column_stack([rows, found]), axis=0)) == distinct


def test_an_empty_cluster_takes_the_farthest_row_that_is_not_alone():
    rows = np.array([[0.0], [1.0], [2.0], [6.0], [50.0]])
    assert fill_clusters(rows, np.array([0, 0, 0, 0, 2]), 4).tolist() == [3, 0, 0, 1, 2]
    nearly_equal = np.array([[5.0], [0.0], [1e-170]])
    assert fill_clusters(nearly_equal, np.array([0, 1, 1]), 3).tolist() == [0, 2, 1]


def test_kmeans_finds_separate_blobs(blobs):
    found = cluster_embeddings(*blobs, "kmeans", 5, 0)
    assert all(len(set(found[np.arange(100) % 5 == blob][2:].tolist())) == 1 for blob in range(5))


def test_clusters_are_shared_by_largest_remainder_with_one_each():
    assert share_clusters(np.repeat([0, 1, 2], [60, 30, 10]), 10) == {0: 6, 1: 3, 2: 1}
    assert share_clusters(np.repeat([0, 1, 2], [98, 1, 1]), 4) == {0: 2, 1: 1, 2: 1}
    assert sum(share_clusters(np.repeat([3, 7], [51, 50]), 7).values()) == 7


def test_too_few_rows_or_clusters_are_named(blobs):
    rows, labels = blobs
    with pytest.raises(SelectbenchError, match="the pool has 99 distinct embeddings, too few for 100 clusters"):
        cluster_embeddings(rows, labels, "kmeans", 100, 0)
    with pytest.raises(SelectbenchError, match="2 are too few for 3 labels"):
        cluster_embeddings(rows, labels, "stratified", 2, 0)


def test_the_description_is_what_brute_force_says(blobs):
    rows, labels = blobs
    found = cluster_embeddings(rows, labels, "kmeans", 7, 1)
    said = describe_clusters(rows, labels, found, neighbours=4)
    assert said["silhouette"] == pytest.approx(silhouette_score(rows, found))
    assert said["sizes"] == [int((found == cluster).sum()) for cluster in range(7)]
    assert said["purities"] == [max(np.mean(labels[found == cluster] == label) for label in range(3)) for cluster in range(7)]
    distances = np.linalg.norm(rows[:, None] - rows, axis=2) + np.diag(np.full(100, np.inf))
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :4]
    assert said["neighbours_in_label"] == pytest.approx((labels[nearest] == labels[:, None]).mean(), abs=0.011)
    assert said["neighbours_in_cluster"] == pytest.approx((found[nearest] == found[:, None]).mean(), abs=0.011)
    pairs = [labels[a] == labels[b] for a in range(100) for b in range(100) if a != b]
    assert agree_by_chance(labels) == said["chance_in_label"] == pytest.approx(np.mean(pairs))


def test_many_duplicates_have_neighbours_too():
    rows = np.concatenate([np.zeros((30, 3)), np.random.default_rng(0).normal(size=(20, 3))])
    found = np.repeat([0, 1], [30, 20])
    assert 0 <= describe_clusters(rows, found, found, neighbours=5)["neighbours_in_label"] <= 1


def test_a_pool_of_a_few_samples_is_described_too():
    rows = np.arange(5.0)[:, None]
    alone, one = np.arange(5), np.zeros(5, dtype=int)
    said = describe_clusters(rows, one, alone)
    assert said["silhouette"] == 0.0 and said["neighbours_in_cluster"] == 0.0 and said["neighbours_in_label"] == 1.0
    assert describe_clusters(rows, one, one)["silhouettes"] == [0.0]


def test_a_union_is_capped_by_the_hashes_of_its_ids():
    assignment = np.array([0, 1, 2, 0, 1, 2, 0, 0])
    assert cap_union(assignment, (0, 2), 10, 5).tolist() == [0, 2, 3, 5, 6, 7]
    capped = cap_union(assignment, (0, 2), 3, 5)
    ids = np.array([0, 2, 3, 5, 6, 7])
    assert capped.tolist() == sorted(ids[np.argsort(hash_ids(ids, 5))[:3]].tolist())
    assert cap_union(assignment, (), 3, 5).tolist() == []

"""What misleads a search: interactions of clusters against the eigenspaces of the Johnson scheme, and overestimation by hand."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from selectbench.llm.signatures import find_gaps, split_by_order
from selectbench.stages.measure_searches import describe_coherence, describe_gaps, describe_orders


def make_values(num_clusters, size, value):
    return {chosen: float(value(chosen)) for chosen in combinations(range(num_clusters), size)}


def project_on_eigenspaces(values, num_clusters, size):
    """Return the shares of the variance in the eigenspaces of the graph in which sets are neighbours that differ in one cluster."""
    sets = sorted(values)
    common = np.array([[len(set(one) & set(other)) for other in sets] for one in sets])
    eigenvalues, vectors = np.linalg.eigh((common == size - 1).astype(float))
    centred = np.array([values[chosen] for chosen in sets])
    centred -= centred.mean()
    parts = (vectors.T @ centred) ** 2
    of_order = [(size - order) * (num_clusters - size - order) - order for order in range(1, size + 1)]
    return [parts[np.isclose(eigenvalues, eigenvalue)].sum() / parts.sum() for eigenvalue in of_order]


@pytest.mark.parametrize(("num_clusters", "size"), [(7, 2), (12, 3), (9, 4), (6, 3)])
def test_shares_are_those_of_the_eigenspaces(num_clusters, size):
    draws = np.random.default_rng(size)
    values = make_values(num_clusters, size, lambda chosen: draws.normal() + sum(chosen))
    shares = split_by_order(values).shares
    assert shares == pytest.approx(project_on_eigenspaces(values, num_clusters, size), abs=1e-9)
    assert sum(shares) == pytest.approx(1)


def test_sums_of_single_clusters_and_products_of_pairs_are_told_apart():
    worth = np.random.default_rng(0).normal(size=12)
    additive = split_by_order(make_values(12, 3, lambda chosen: 5 + sum(worth[cluster] for cluster in chosen)))
    assert additive.shares == pytest.approx([1, 0, 0], abs=1e-9)
    values = make_values(12, 3, lambda chosen: 5 + sum(worth[cluster] for cluster in chosen))
    assert additive.sums == pytest.approx([values[chosen] for chosen in sorted(values)])
    paired = split_by_order(make_values(12, 3, lambda chosen: {0, 1} <= set(chosen))).shares
    assert paired[1] > 0.5 and paired[2] == pytest.approx(0, abs=1e-9)
    whole = split_by_order(make_values(6, 3, lambda chosen: chosen == (0, 1, 2))).shares
    assert whole == pytest.approx([5 / 19, 9 / 19, 5 / 19])  # the free parameters of each order, over all


def test_noise_has_the_share_of_its_free_parameters():
    draws = np.random.default_rng(3)
    shares = np.mean([split_by_order(make_values(12, 3, lambda _: draws.normal())).shares for _ in range(60)], axis=0)
    expected = np.array([comb(12, order) - comb(12, order - 1) for order in (1, 2, 3)]) / (comb(12, 3) - 1)
    assert shares == pytest.approx(expected, abs=0.02)


def test_equal_values_have_no_shares():
    orders = split_by_order(make_values(5, 2, lambda _: 0.5))
    assert orders.shares is None and orders.sums == pytest.approx(np.full(10, 0.5))


def test_sets_of_one_cluster_are_their_own_sums():
    orders = split_by_order({(0,): 1.0, (1,): 3.0, (2,): 2.0})
    assert orders.shares == [1.0] and orders.sums.tolist() == [1.0, 3.0, 2.0]


def test_gaps_are_taken_beyond_those_of_random_sets():
    drawn = np.array([[1.0, 1.2], [1.4, 1.4]])  # test texts are harder by 0.1
    assert find_gaps(np.array([[0.8, 1.0], [0.9, 1.0]]), drawn) == pytest.approx([0.1, 0.0])


def test_a_search_is_described_by_its_best_set_and_its_number_of_trainings():
    losses = {(0, 1): (0.5, 0.9), (2, 3): (0.6, 0.7), (1, 2): (1.0, 1.1), (0, 3): (1.2, 1.3)}
    searches = [{"best": [0, 1], "states": [{}] * 448}, {"best": [2, 3], "states": [{}] * 112}]
    found = describe_gaps(searches, [(1, 2), (0, 3)], losses)
    assert (found["x"], found["y"]) == ([112, 448], pytest.approx([0, 0.3]))
    assert found["statistic"] == {"gap": pytest.approx(0.15), "spearman": pytest.approx(1)}


def test_an_enumeration_is_described_by_its_complete_sets():
    states = [{"chosen": [], "loss": 9.0}, *({"chosen": [a, b], "loss": 2.0**a + 2.0**b} for a, b in combinations(range(4), 2))]
    found = describe_orders({"states": states, "horizon": 2})
    assert found["num"] == 6
    assert found["statistic"] == pytest.approx({"clusters": 1, "pairs": 0, "larger_sets": 0, "spearman": 1}, abs=1e-9)


def test_clusters_without_a_measured_sample_have_no_point():
    coherence = {"silhouettes": [0.2, None, -0.1], "purities": [1.0, 0.5, 0.75], "silhouette": 0.05, "purity": 0.8}
    found = describe_coherence(coherence)
    assert (found["x"], found["y"]) == ([0.75, 1.0], [-0.1, 0.2])
    assert found["statistic"] == {"silhouette": 0.05, "purity": 0.8}

from itertools import pairwise

import numpy as np
import pytest

import selectbench as sb
from selectbench.methods.d2 import connect_neighbours, pick_by_messages
from selectbench.methods.forgetting import count_forgetting
from selectbench.rl import cover
from selectbench.rl.cover import distance_blocks


def list_edges(graph):
    """The neighbours of every node and their distances."""
    return [(graph.near[start:stop], graph.far[start:stop]) for start, stop in pairwise(graph.starts.tolist())]


def connect_plainly(features, neighbours):
    """The graph as dictionaries that rows fill one after another, from a full sort of every row."""
    edges = [{} for _ in features]
    for block, distances in distance_blocks(features):
        for row, line in zip(range(block.start, block.stop), distances, strict=True):
            line[row] = np.inf
            for near in np.argsort(line, kind="stable")[: min(neighbours, len(features) - 1)]:
                edges[row][int(near)] = edges[int(near)][row] = float(line[near])
    return [(list(near), list(near.values())) for near in edges]


@pytest.mark.parametrize("block_bytes", [1 << 28, 500])
@pytest.mark.parametrize("num", [1, 2, 7, 60])
@pytest.mark.parametrize("is_grid", [False, True])
def test_the_graph_equals_that_of_a_full_sort(is_grid, num, block_bytes, monkeypatch):
    """Also the order of a node's edges, in which messages are summed, and with many equal distances."""
    monkeypatch.setattr(cover, "_BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(num)
    features = rng.integers(0, 3, (num, 3)).astype(float) if is_grid else rng.normal(size=(num, 3))
    found = [(near.tolist(), far.tolist()) for near, far in list_edges(connect_neighbours(features, 6))]
    assert found == connect_plainly(features, 6)


def dense(features, difficulty, neighbours, forward_decay, reverse_decay):
    """The rule with dense matrices and a plain loop."""
    num = len(features)
    distance = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    edge = np.zeros((num, num), dtype=bool)
    for row in range(num):
        edge[row, np.argsort(distance[row], kind="stable")[:neighbours]] = True
    edge |= edge.T
    spread = difficulty + (np.where(edge, np.exp(-forward_decay * distance), 0.0) * difficulty).sum(axis=1)
    order, left = [], list(range(num))
    while left:
        chosen = max(left, key=lambda node: (spread[node], -node))
        left.remove(chosen)
        order.append(chosen)
        for node in left:
            if edge[chosen, node]:
                spread[node] -= np.exp(-reverse_decay * distance[chosen, node]) * spread[chosen]
    return order


@pytest.mark.parametrize("seed", range(4))
def test_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    features, difficulty = rng.normal(size=(50, 3)), rng.random(50)
    graph = connect_neighbours(features, 5)
    assert pick_by_messages(difficulty, graph, 0.7, 1.3, 50).tolist() == dense(features, difficulty, 5, 0.7, 1.3)


def test_limits_of_the_two_decays():
    rng = np.random.default_rng(0)
    features, difficulty = rng.normal(size=(80, 4)), rng.random(80)
    graph = connect_neighbours(features, 6)
    raw = np.argsort(-difficulty)
    np.testing.assert_array_equal(pick_by_messages(difficulty, graph, 1e9, 1e9, 80), raw)
    forward = np.array([score + np.exp(-far) @ difficulty[near] for score, (near, far) in zip(difficulty, list_edges(graph), strict=True)])
    np.testing.assert_array_equal(pick_by_messages(difficulty, graph, 1.0, 1e9, 80), np.argsort(-forward))


def test_far_points_are_hardly_penalised_and_near_ones_are_spread():
    features = np.r_[np.zeros((10, 2)), [[100.0, 100.0]]] + np.random.default_rng(0).normal(scale=0.01, size=(11, 2))
    difficulty = np.r_[np.full(10, 1.0), 0.9]
    order = pick_by_messages(difficulty, connect_neighbours(features, 3), 1.0, 1.0, 11)
    assert order.tolist().index(10) <= 5
    assert np.argsort(-difficulty, kind="stable").tolist().index(10) == 10


def test_small_classes_have_fewer_neighbours(signals):
    scores = sb.score("d2", signals, neighbours=60)
    assert np.isfinite(scores).all()
    assert scores[signals.labels == 3].tolist() == [1.0]


def test_difficulty_is_the_forgetting_count(signals):
    features = np.random.default_rng(0).normal(size=(203, 5))  # no duplicates: at distance 0 no decay is large enough
    flat = sb.Signals(labels=np.zeros(203, dtype=int), ids=signals.ids, correct=signals.correct, features=features)
    subset = sb.select("d2", flat, 0.1, forward_decay=1e9, reverse_decay=1e9).ids
    counts = dict(zip(signals.ids.tolist(), count_forgetting(signals.correct).tolist(), strict=True))
    kept = [counts[sample] for sample in subset.tolist()]
    assert kept == sorted(counts.values(), reverse=True)[:20]

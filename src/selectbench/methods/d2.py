"""D² pruning: difficulty is propagated over a neighbour graph, then samples are picked with a penalty on their neighbours."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import GreedyMethod, ReplicatedMethod
from selectbench.methods.forgetting import count_forgetting
from selectbench.policy import Quota
from selectbench.rl.cover import distance_blocks
from selectbench.rl.ranks import find_smallest
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class D2(ReplicatedMethod, GreedyMethod):
    """Within each class, set s_i = x_i + Σ_{j near i} e^{−γ_f·dist}·x_j; take the largest s, lower the neighbours by e^{−γ_r·dist}·s.

    The difficulty x is the number of forgetting events; neighbours come from a symmetric k-nearest-neighbour graph.

    Parameters
    ----------
    neighbours : int
        Neighbours k of each sample in the graph.
    forward_decay : float
        γ_f, how fast messages decay with distance.
    reverse_decay : float
        γ_r, how fast the penalty decays with distance.
    """

    quota: Quota = "proportional"
    neighbours: int = 10
    forward_decay: float = 1.0
    reverse_decay: float = 1.0

    citation = "Maharana, Yadav & Bansal, D2 Pruning: Message Passing for Balancing Diversity and Difficulty, ICLR 2024, Section 3."
    needs = ("features", "correct")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1:
            raise SelectbenchError(f"neighbours: {self.neighbours} is less than 1")
        for name in ("forward_decay", "reverse_decay"):
            if getattr(self, name) < 0:
                raise SelectbenchError(f"{name}: {getattr(self, name)} is negative")

    def score_first(self, signals: Signals, seed: int, most: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n_c, where t is the step at which the sample is taken within its class; −∞ if it is not reached."""
        signals.require("d2", "features", "correct")
        difficulty = count_forgetting(np.asarray(signals.correct))
        features = np.asarray(signals.features)

        def pick(members: np.ndarray, count: int) -> np.ndarray:
            graph = connect_neighbours(np.asarray(features[members], dtype=np.float64), self.neighbours)
            return pick_by_messages(difficulty[members], graph, self.forward_decay, self.reverse_decay, count)

        return self.score_classes(signals, seed, most, pick)


@dataclass(frozen=True, eq=False)
class Graph:
    """The edges of n nodes: those of node i are at places starts[i] … starts[i + 1] − 1.

    Parameters
    ----------
    starts : (n + 1,) int64
    near : (E,) int64
        The node at the other end of every edge.
    far : (E,) float64
        The length of every edge.
    """

    starts: np.ndarray
    near: np.ndarray
    far: np.ndarray


def connect_neighbours(features: np.ndarray, neighbours: int) -> Graph:
    """Return the symmetric k-nearest-neighbour graph of the rows (n, d); ties go to the earlier row.

    Row after row finds its neighbours, nearest first, and adds an edge at both ends. The edges of a node are in the order in which they
    are first added; where two rows find each other, the length is that of the later one.
    """
    num = len(features)
    count = min(neighbours, num - 1)
    near, far = np.empty((num, count), dtype=np.int64), np.empty((num, count))
    for block, distances in distance_blocks(features):
        for row, line in zip(range(block.start, block.stop), distances, strict=True):
            line[row] = np.inf
            near[row] = find_smallest(line, count)
            far[row] = line[near[row]]
    finders, added = np.repeat(np.arange(num), count), np.arange(near.size)
    first, second = np.r_[finders, near.ravel()], np.r_[near.ravel(), finders]
    times, lengths = np.r_[added, added], np.r_[far.ravel(), far.ravel()]
    by_edge = np.lexsort((times, second, first))
    is_new = np.diff(first[by_edge] * num + second[by_edge], prepend=-1) != 0
    is_last = np.r_[is_new[1:], np.ones(min(1, len(is_new)), dtype=bool)]
    once, lengths = by_edge[is_new], lengths[by_edge[is_last]]
    in_time = np.lexsort((times[once], first[once]))
    degrees = np.bincount(first[once], minlength=num)
    return Graph(starts=np.r_[0, np.cumsum(degrees)], near=second[once][in_time], far=lengths[in_time])


def pick_by_messages(difficulty: np.ndarray, graph: Graph, forward_decay: float, reverse_decay: float, count: int) -> np.ndarray:
    """Return the first nodes (count,) that are picked, in order; ties go to the earlier node."""
    forward, reverse = np.exp(-forward_decay * graph.far), np.exp(-reverse_decay * graph.far)
    edges = [slice(start, stop) for start, stop in pairwise(graph.starts.tolist())]
    spread = np.array([score + forward[at] @ difficulty[graph.near[at]] for score, at in zip(difficulty, edges, strict=True)])
    order = np.empty(count, dtype=np.int64)
    for step in range(count):
        order[step] = chosen = int(spread.argmax())
        at = edges[chosen]
        spread[graph.near[at]] -= reverse[at] * spread[chosen]
        spread[chosen] = -np.inf
    return order

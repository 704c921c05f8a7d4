"""D² pruning: difficulty is propagated over a neighbour graph, then samples are picked with a penalty on their neighbours."""

from dataclasses import dataclass

import numpy as np

from selectbench.errors import SelectbenchError
from selectbench.methods._base import ReplicatedMethod
from selectbench.methods.forgetting import count_forgetting
from selectbench.policy import Quota, score_class_orders
from selectbench.rl.cover import distance_blocks
from selectbench.signals import Signals


@dataclass(frozen=True, kw_only=True)
class D2(ReplicatedMethod):
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

    def score(self, signals: Signals, seed: int) -> np.ndarray:
        """Return (N,) scores 1 − t/n_c, where t is the step at which the sample is taken within its class."""
        signals.require("d2", "features", "correct")
        difficulty = count_forgetting(np.asarray(signals.correct))
        features = np.asarray(signals.features, dtype=np.float64)

        def pick(members: np.ndarray) -> np.ndarray:
            graph = connect_neighbours(features[members], self.neighbours)
            return pick_by_messages(difficulty[members], graph, self.forward_decay, self.reverse_decay)

        return score_class_orders(signals.labels, signals.ids, seed, pick)


Graph = list[tuple[np.ndarray, np.ndarray]]  # for each node, its neighbours and their distances


def connect_neighbours(features: np.ndarray, neighbours: int) -> Graph:
    """Return the symmetric k-nearest-neighbour graph of the rows (n, d); ties go to the earlier row."""
    edges: list[dict[int, float]] = [{} for _ in features]
    for block, distances in distance_blocks(features):
        for row, line in zip(range(block.start, block.stop), distances, strict=True):
            line[row] = np.inf
            for near in np.argsort(line, kind="stable")[: min(neighbours, len(features) - 1)]:
                edges[row][int(near)] = edges[int(near)][row] = float(line[near])
    return [(np.array(list(near), dtype=np.int64), np.array(list(near.values()))) for near in edges]


def pick_by_messages(difficulty: np.ndarray, graph: Graph, forward_decay: float, reverse_decay: float) -> np.ndarray:
    """Return the order in which all nodes are picked; ties go to the earlier node."""
    spread = np.array(
        [score + np.exp(-forward_decay * far) @ difficulty[near] for score, (near, far) in zip(difficulty, graph, strict=True)]
    )
    order = np.empty(len(difficulty), dtype=np.int64)
    for step in range(len(difficulty)):
        order[step] = chosen = int(spread.argmax())
        near, far = graph[chosen]
        spread[near] -= np.exp(-reverse_decay * far) * spread[chosen]
        spread[chosen] = -np.inf
    return order

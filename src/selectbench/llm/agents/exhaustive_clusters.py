"""Exhaustive search over all complete sets, the upper bound if there are few."""

import math
from dataclasses import dataclass
from itertools import combinations

from selectbench.errors import SelectbenchError
from selectbench.llm.agents._base import ClusterAgent, Effort
from selectbench.llm.environment import ClusterEnv

MOST_SETS = 5000


@dataclass(frozen=True, kw_only=True)
class ExhaustiveClusters(ClusterAgent):
    """Measure every complete set, by default with no limit on proxy trainings."""

    trainings: int = 0

    citation = "Control: enumeration."

    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Measure the sets in lexicographic order.

        Raises
        ------
        SelectbenchError
            There are more than 5,000 sets.
        """
        num = math.comb(env.clusters, env.budget)
        if num > MOST_SETS:
            raise SelectbenchError(
                f"exhaustive_clusters: {num:,} sets of {env.budget} out of {env.clusters} clusters; at most {MOST_SETS:,} are allowed"
            )
        for chosen in combinations(range(env.clusters), env.budget):
            env.reward(chosen)

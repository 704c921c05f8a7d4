"""Random search: complete sets drawn uniformly without repetition."""

import math
from dataclasses import dataclass

import numpy as np

from selectbench.llm.agents._base import DEFAULT_TRAININGS, ClusterAgent, Effort
from selectbench.llm.environment import ClusterEnv


@dataclass(frozen=True, kw_only=True)
class RandomClusters(ClusterAgent):
    """Measure distinct random complete sets until the proxy trainings are used up (112 if 0) or all sets are measured."""

    citation = "Control: Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 2012."

    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Draw sets until enough distinct ones are measured."""
        draws = np.random.default_rng(seed)
        seen: set[tuple[int, ...]] = set()
        most = min(self.trainings or DEFAULT_TRAININGS, math.comb(env.clusters, env.budget))
        while len(seen) < most:
            chosen = tuple(sorted(draws.choice(env.clusters, env.budget, replace=False).tolist()))
            if chosen not in seen:
                seen.add(chosen)
                env.reward(chosen)

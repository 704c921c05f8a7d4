"""Random search: complete sets drawn uniformly, each once."""

import math
from dataclasses import dataclass

import numpy as np

from selectbench.llm.agents._base import DEFAULT_TRAININGS, ClusterAgent
from selectbench.llm.environment import ClusterEnv


@dataclass(frozen=True, kw_only=True)
class RandomClusters(ClusterAgent):
    """Measure distinct random complete sets until the proxy trainings are spent (0: 112 of them) or there is no other set."""

    citation = "Control: Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 2012."

    def explore(self, env: ClusterEnv, seed: int) -> None:
        """Draw sets until enough are distinct."""
        draws, seen = np.random.default_rng(seed), set()
        most = min(self.trainings or DEFAULT_TRAININGS, math.comb(env.clusters, env.budget))
        while len(seen) < most:
            chosen = tuple(sorted(draws.choice(env.clusters, env.budget, replace=False).tolist()))
            if chosen not in seen:
                seen.add(chosen)
                env.reward(chosen)

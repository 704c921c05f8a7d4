"""Greedy search: repeatedly add the best remaining cluster."""

from dataclasses import dataclass

import numpy as np

from selectbench.llm.agents._base import ClusterAgent, Effort
from selectbench.llm.environment import ClusterEnv


@dataclass(frozen=True, kw_only=True)
class GreedyClusters(ClusterAgent):
    """Forward selection by measured values; optimal for additive rewards, within 1 − 1/e for monotone submodular ones.

    By default it may train as many proxies as it needs, |C| + (|C| − 1) + …, as a reference for agents with a budget.
    """

    trainings: int = 0

    citation = "Nemhauser, Wolsey and Fisher, An analysis of approximations for maximizing submodular set functions, 1978."

    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Grow a set; ties go to the lower cluster number."""
        env.reset()
        while len(env.chosen) < env.budget:
            left = np.flatnonzero(env.action_masks()).tolist()
            env.step(max(left, key=lambda cluster: (env.reward((*env.chosen, cluster)), -cluster)))

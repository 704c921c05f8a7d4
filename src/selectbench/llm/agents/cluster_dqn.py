"""DQN: a masked Q-network learns from real proxy rewards alone."""

import math
from dataclasses import dataclass
from typing import ClassVar

from selectbench.llm.agents._base import ClusterAgent
from selectbench.llm.environment import ClusterEnv


@dataclass(frozen=True, kw_only=True)
class ClusterDQN(ClusterAgent):
    """Deep Q-learning on the cluster MDP. The paper names DQN alone; network, exploration and updates are ours.

    The DQN of stable-baselines3 knows no masks, which the MDP needs, so this one is our own (``_dqn.py``).

    Parameters
    ----------
    episodes : int
        After which the search ends even if proxy trainings are left; episodes without a new set are free.
    floor : float
        Least probability of a random action.
    """

    episodes: int = 150
    floor: float = 0.2

    bounds: ClassVar = {"episodes": (1, math.inf), "floor": (0, 1)}
    citation = "arXiv 2509.25850 (DQN on the cluster MDP); Mnih et al., Human-level control through deep reinforcement learning, 2015."

    def explore(self, env: ClusterEnv, seed: int) -> None:
        """Play and learn."""
        from selectbench.llm.agents._dqn import Exploration, QLearner, explore_by_learning

        explore_by_learning(env, QLearner(env.clusters, seed), Exploration(self.episodes, 1.0, self.floor), lambda: None)

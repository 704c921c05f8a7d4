"""DQN: a masked Q-network that learns only from real proxy rewards."""

import math
from dataclasses import dataclass
from typing import ClassVar

from selectbench.llm.agents._base import Effort, LearningAgent
from selectbench.llm.environment import ClusterEnv


@dataclass(frozen=True, kw_only=True)
class ClusterDQN(LearningAgent):
    """Deep Q-learning on the cluster MDP. The paper gives no details; network, exploration and updates are our choice.

    The MDP needs action masks, which the DQN of stable-baselines3 does not support, so we use our own (``_dqn.py``).

    Parameters
    ----------
    episodes : int
        The search ends after this many episodes even if proxy trainings remain; episodes without a new set use none.
    floor : float
        Lowest probability of a random action.
    """

    episodes: int = 150
    floor: float = 0.2

    bounds: ClassVar = {"episodes": (1, math.inf), "floor": (0, 1)}
    citation = "arXiv 2509.25850 (DQN on the cluster MDP); Mnih et al., Human-level control through deep reinforcement learning, 2015."

    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Play and learn."""
        from selectbench.llm.agents._dqn import Exploration, QLearner, explore_by_learning

        learner = QLearner(env.clusters, seed, effort, learns=self.learns)
        explore_by_learning(env, learner, Exploration(self.episodes, 1.0, self.floor), lambda: None)

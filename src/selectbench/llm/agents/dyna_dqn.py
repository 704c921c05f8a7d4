"""DynaDQN: real proxy rewards train a reward model, on which the Q-network plays additional episodes."""

import math
from dataclasses import dataclass
from typing import ClassVar

from selectbench.llm.agents._base import Effort, LearningAgent
from selectbench.llm.environment import ClusterEnv


@dataclass(frozen=True, kw_only=True)
class DynaDQN(LearningAgent):
    """DQN with Dyna-style planning, as named in the paper; a ridge regression on clusters as reward model is our choice.

    Parameters
    ----------
    episodes : int
        Largest number of real episodes; those without a new set use no proxy training.
    floor : float
        Lowest probability of a random action.
    simulated : int
        Episodes on the model after each real episode.
    """

    episodes: int = 150
    floor: float = 0.1
    simulated: int = 30

    bounds: ClassVar = {"episodes": (1, math.inf), "floor": (0, 1), "simulated": (0, math.inf)}
    citation = "arXiv 2509.25850 (DynaDQN); Sutton, Integrated architectures for learning, planning and reacting, 1990 (Dyna)."

    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Play, fit the model to all measurements, play on the model, and learn from both."""
        from selectbench.llm.agents._dqn import Exploration, QLearner, explore_by_learning
        from selectbench.llm.agents._model import Recorder, RewardModel

        recorder, learner = Recorder(env), QLearner(env.clusters, seed, effort, learns=self.learns)

        def dream() -> None:
            if not self.learns:
                return
            imagined = RewardModel(recorder.measured, env.clusters, env.budget).imagine(env.at_end)
            for _ in range(self.simulated):
                learner.play(imagined, 0.5)

        real = ClusterEnv(env.clusters, env.budget, recorder, at_end=env.at_end)
        explore_by_learning(real, learner, Exploration(self.episodes, 1.0, self.floor), dream)

"""WarmStart: random sets train a reward model; the Q-network learns first on the model, then on real proxy rewards."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from selectbench.llm.agents._base import DEFAULT_TRAININGS, Effort, LearningAgent
from selectbench.llm.environment import ClusterEnv

_UPDATES_ON_MODEL = 5


@dataclass(frozen=True, kw_only=True)
class WarmStart(LearningAgent):
    """DQN that starts from a reward model fitted to random subsets, as named in the paper; shares and model are our choice.

    Parameters
    ----------
    episodes : int
        Largest number of real episodes after the warm start; those without a new set use no proxy training.
    first, floor : float
        Probability of a random action in the first real episode, and its lowest value.
    simulated : int
        Episodes on the model before the first real episode.
    random_share : float
        Share of the proxy trainings spent on random complete sets, at least one.
    """

    episodes: int = 150
    first: float = 0.2
    floor: float = 0.1
    simulated: int = 400
    random_share: float = 0.5

    bounds: ClassVar = {"episodes": (1, math.inf), "first": (0, 1), "floor": (0, 1), "simulated": (0, math.inf), "random_share": (0, 1)}
    citation = "arXiv 2509.25850 (WarmStart)."

    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Measure random sets, learn on a model fitted to them, then play and learn with real rewards."""
        from selectbench.llm.agents._dqn import Exploration, QLearner, explore_by_learning
        from selectbench.llm.agents._model import Recorder, RewardModel

        recorder, draws = Recorder(env), np.random.default_rng(seed)
        learner = QLearner(env.clusters, seed, effort, learns=self.learns)
        for _ in range(max(1, round(self.random_share * (self.trainings or DEFAULT_TRAININGS)))):
            recorder(tuple(sorted(draws.choice(env.clusters, env.budget, replace=False).tolist())))
        imagined = RewardModel(recorder.measured, env.clusters, env.budget).imagine(env.at_end)
        for _ in range(self.simulated if self.learns else 0):
            learner.play(imagined, 0.5)
            learner.learn(_UPDATES_ON_MODEL)
        explore_by_learning(env, learner, Exploration(self.episodes, self.first, self.floor), lambda: None)

"""PPO: maskable PPO from sb3-contrib on the cluster MDP."""

import math
from dataclasses import dataclass
from typing import ClassVar

from selectbench.llm.agents._base import Effort, LearningAgent
from selectbench.llm.environment import ClusterEnv


@dataclass(frozen=True, kw_only=True)
class ClusterPPO(LearningAgent):
    """Proximal policy optimisation with action masks. The paper gives no details; the settings are our choice.

    Parameters
    ----------
    learning_rate : float
        Learning rate of Adam, for policy and critic.
    episodes_a_update : int
        Episodes per update.
    episodes : int
        The search ends after this many episodes even if proxy trainings remain; episodes without a new set use none.
    """

    learning_rate: float = 0.005
    episodes_a_update: int = 2
    episodes: int = 200

    bounds: ClassVar = {"learning_rate": (0, math.inf), "episodes_a_update": (1, math.inf), "episodes": (1, math.inf)}
    citation = "arXiv 2509.25850 (PPO on the cluster MDP); Huang and Ontañón, Invalid action masking in policy gradient algorithms, 2022."

    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Train the policy until the proxy trainings or the episodes are used up."""
        from sb3_contrib import MaskablePPO

        from selectbench.seeds import isolated_generators
        from selectbench.training.optimisers import fuse_adam

        steps = max(2, self.episodes_a_update * env.budget)  # a single step has no standard deviation to normalise advantages with
        with isolated_generators(seed):
            policy = MaskablePPO(
                "MlpPolicy",
                env,
                learning_rate=self.learning_rate if self.learns else 0.0,
                n_steps=steps,
                batch_size=steps,
                n_epochs=10,
                gamma=1.0,
                gae_lambda=1.0,
                ent_coef=0.05,
                policy_kwargs={"net_arch": [64], **fuse_adam(eps=1e-5)},
                seed=seed % (1 << 32),
                device="cpu",
            )
            try:
                policy.learn(self.episodes * env.budget)
            finally:  # the search may end with any reward
                effort.updates += policy._n_updates if self.learns else 0

"""The cluster MDP: a state is a set of clusters, an action adds one, a reward is the change of a set function."""

import math
from collections.abc import Callable, Mapping

import gymnasium
import numpy as np

from selectbench.errors import SelectbenchError

TRANSFORMS: Mapping[str, Callable[[float], float]] = {
    "negative": lambda loss: -loss,
    "exponential": lambda loss: math.exp(-loss),
    "logarithm": lambda loss: -math.log(loss + 1e-8),
}


class ClusterEnv(gymnasium.Env):
    """Choose ``budget`` of ``clusters`` clusters, one a step (arXiv 2509.25850, the MDP over semantic clusters).

    Observations are binary masks (clusters,) float32. A step pays reward(chosen ∪ {action}) − reward(chosen), so that with a
    discount of 1 an episode's rewards add up to reward(final) − reward(∅). Episodes end at the fixed horizon.

    Parameters
    ----------
    clusters : number of clusters |C|
    budget : clusters of a complete set, δ·|C| in the paper
    reward : sorted clusters → f(validation loss); called for the empty set too

    Raises
    ------
    SelectbenchError
        The budget is not in 1 … clusters.
    """

    metadata: Mapping[str, list] = {"render_modes": []}

    def __init__(self, clusters: int, budget: int, reward: Callable[[tuple[int, ...]], float]) -> None:
        if not 1 <= budget <= clusters:
            raise SelectbenchError(f"budget: {budget} clusters are not between 1 and {clusters}, all there are")
        self.clusters = clusters
        self.budget = budget
        self.reward = reward
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (clusters,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(clusters)
        self.chosen: tuple[int, ...] = ()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """Begin with the empty set; nothing is random."""
        super().reset(seed=seed)
        self.chosen = ()
        return self.observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Add a cluster and return (mask, reward, whether the set is complete, False, {}).

        Raises
        ------
        SelectbenchError
            The cluster is chosen already, there is no such one, or the set is complete.
        """
        action = int(action)
        if len(self.chosen) == self.budget:
            raise SelectbenchError(f"step: the set is complete with {self.budget} clusters; reset first")
        if not 0 <= action < self.clusters:
            raise SelectbenchError(f"step: cluster {action} is not among 0 … {self.clusters - 1}")
        if action in self.chosen:
            raise SelectbenchError(f"step: cluster {action} is chosen already; heed action_masks()")
        before, grown = self.reward(self.chosen), tuple(sorted((*self.chosen, action)))
        change = self.reward(grown) - before
        self.chosen = grown
        return self.observe(), change, len(grown) == self.budget, False, {}

    def action_masks(self) -> np.ndarray:
        """Return which clusters (clusters,) bool may still be chosen."""
        return ~self.observe().astype(bool)

    def observe(self) -> np.ndarray:
        """Return the mask (clusters,) of the chosen clusters."""
        return make_mask(self.chosen, self.clusters)


def make_mask(chosen: tuple[int, ...], clusters: int) -> np.ndarray:
    """Return the float32 mask (clusters,) of a set."""
    mask = np.zeros(clusters, dtype=np.float32)
    mask[list(chosen)] = 1.0
    return mask

"""The cluster MDP: states are sets of clusters, actions add a cluster, rewards are changes of a set function."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from selectbench.arrays import check_returned, name_function
from selectbench.errors import SelectbenchError
from selectbench.registry import check_parameter, check_seed

TRANSFORMS: Mapping[str, Callable[[float], float]] = {
    "negative": lambda loss: -loss,
    "exponential": lambda loss: math.exp(-loss),
    "logarithm": lambda loss: -math.log(loss + 1e-8),
}


def transform_loss(transform: str, loss: float) -> float:
    """Return the value of a validation loss, or of minus a reward, by one of the ``TRANSFORMS``.

    Raises
    ------
    SelectbenchError
        The transform has no finite value for it.
    """
    try:
        return TRANSFORMS[transform](loss)
    except (ValueError, OverflowError):
        raise SelectbenchError(f"transform: {transform!r} has no value for the loss {loss:g} (reward {-loss:g}); use 'negative'") from None


class ClusterEnv(gymnasium.Env[np.ndarray, np.int64]):
    """Choose ``budget`` of ``clusters`` clusters, one per step (arXiv 2509.25850, the MDP over semantic clusters).

    Observations are binary masks (clusters,) float32. The reward of a step is reward(chosen ∪ {action}) − reward(chosen), so that
    with a discount of 1 the rewards of an episode sum to reward(final) − reward(∅). Episodes end at the fixed horizon.

    Parameters
    ----------
    clusters : number of clusters |C|
    budget : clusters in a complete set, δ·|C| in the paper
    reward : sorted clusters → f(validation loss), a finite number; also called for the empty set
    at_end : whether only the last step is rewarded, by reward(final); this differs by a constant, and asks for no reward of other sets

    Raises
    ------
    SelectbenchError
        The budget is not in 1 … clusters, or one of them is not a whole number.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (declared so by gymnasium)

    def __init__(self, clusters: int, budget: int, reward: Callable[[tuple[int, ...]], float], *, at_end: bool = False) -> None:
        clusters, budget = check_parameter("clusters", int, clusters), check_parameter("budget", int, budget)
        if not 1 <= budget <= clusters:
            raise SelectbenchError(f"budget: {budget} is not between 1 and {clusters}, the number of clusters")
        self.clusters = clusters
        self.budget = budget
        self._reward = reward
        self.at_end = check_parameter("at_end", bool, at_end)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (clusters,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(clusters)
        self.chosen: tuple[int, ...] = ()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start with the empty set; nothing is random.

        Raises
        ------
        SelectbenchError
            The seed is not a whole number from 0.
        """
        seed = None if seed is None else check_seed(seed)
        if seed is not None and seed < 0:
            raise SelectbenchError(f"seed: {seed} is below 0, which gymnasium does not take")
        super().reset(seed=seed)
        self.chosen = ()
        return self.observe(), {}

    def step(self, action: int | np.int64 | np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Add a cluster and return (mask, reward, whether the set is complete, False, {}).

        Raises
        ------
        SelectbenchError
            The cluster is already chosen, does not exist or is not a whole number, the set is complete, or the reward is no finite number.
            The chosen clusters stay as they were.
        """
        cluster: int = check_parameter("step", int, action.item() if isinstance(action, np.ndarray) and action.ndim == 0 else action)
        if len(self.chosen) == self.budget:
            raise SelectbenchError(f"step: the set is complete with {self.budget} clusters; reset first")
        if not 0 <= cluster < self.clusters:
            raise SelectbenchError(f"step: cluster {cluster} is not among 0 … {self.clusters - 1}")
        if cluster in self.chosen:
            raise SelectbenchError(f"step: cluster {cluster} is already chosen; use action_masks()")
        after = tuple(sorted((*self.chosen, cluster)))
        is_complete = len(after) == self.budget
        paid = self._pay(after, is_complete)
        self.chosen = after
        return self.observe(), paid, is_complete, False, {}

    def reward(self, chosen: tuple[int, ...]) -> float:
        """Return the value of a set.

        Raises
        ------
        SelectbenchError
            It is no finite number.
        """
        return check_returned("reward", name_function(self._reward), self._reward(chosen))

    def _pay(self, after: tuple[int, ...], is_complete: bool) -> float:
        """Return the reward of the step that leads from the present set to another."""
        if self.at_end:
            return self.reward(after) if is_complete else 0.0
        value = self.reward(self.chosen)
        return self.reward(after) - value

    def action_masks(self) -> np.ndarray:
        """Return which clusters may still be chosen, (clusters,) bool."""
        return ~self.observe().astype(bool)

    def observe(self) -> np.ndarray:
        """Return the mask (clusters,) of the chosen clusters."""
        return make_mask(self.chosen, self.clusters)


def make_mask(chosen: tuple[int, ...], clusters: int) -> np.ndarray:
    """Return the float32 mask (clusters,) of a set."""
    mask = np.zeros(clusters, dtype=np.float32)
    mask[list(chosen)] = 1.0
    return mask

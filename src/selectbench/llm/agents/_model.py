"""A reward model: ridge regression of values on clusters and set sizes, and an environment that uses it."""

from collections.abc import Mapping

import numpy as np

from selectbench.llm.environment import ClusterEnv, make_mask

_PENALTY = 1.0


class RewardModel:
    """f(set) ≈ Σ_{c in set} w_c + b_{|set|}, fitted to measured values by ridge regression.

    Parameters
    ----------
    measured : set → value
    clusters, budget : of the environment
    """

    def __init__(self, measured: Mapping[tuple[int, ...], float], clusters: int, budget: int) -> None:
        self.clusters = clusters
        self.budget = budget
        rows = np.stack([self._describe(chosen) for chosen in measured])
        values = np.array(list(measured.values()))
        self.mean = float(values.mean())
        scale = float(values.std()) or 1.0
        gram = rows.T @ rows + _PENALTY * np.eye(rows.shape[1])
        self.weights = np.linalg.solve(gram, rows.T @ ((values - self.mean) / scale)) * scale

    def __call__(self, chosen: tuple[int, ...]) -> float:
        """Return the predicted value of a set."""
        return self.mean + float(self._describe(chosen) @ self.weights)

    def imagine(self, at_end: bool) -> ClusterEnv:
        """Return an environment whose rewards, of every step or at the end, come from predicted values."""
        return ClusterEnv(self.clusters, self.budget, self, at_end=at_end)

    def _describe(self, chosen: tuple[int, ...]) -> np.ndarray:
        sizes = np.zeros(self.budget + 1)
        sizes[len(chosen)] = 1.0
        return np.concatenate([make_mask(chosen, self.clusters).astype(np.float64), sizes])


class Recorder:
    """A set function that records its values, so that a model can be fitted to them."""

    def __init__(self, env: ClusterEnv) -> None:
        self.measured: dict[tuple[int, ...], float] = {}
        self.reward = env.reward

    def __call__(self, chosen: tuple[int, ...]) -> float:
        """Return the value of a set."""
        self.measured[chosen] = self.reward(chosen)
        return self.measured[chosen]

"""CLIMB-Disc: rounds of proxies, each sampled from the best candidates according to a predictor fitted to earlier rounds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from selectbench.llm.agents._base import DEFAULT_TRAININGS, ClusterAgent, Effort
from selectbench.llm.environment import ClusterEnv, make_mask
from selectbench.seeds import derive_seed

SHARES = (4, 2, 1)  # of the rounds: 64, 32 and 16 proxies in CLIMB

Clusters = tuple[int, ...]
Measured = dict[Clusters, float]


@dataclass(frozen=True, kw_only=True)
class ClimbDisc(ClusterAgent):
    """CLIMB with sets of clusters instead of mixture weights.

    The rounds, the predictor (gradient-boosted trees of depth 4, at least 5 sets per leaf, L1 and L2 penalties, early stopping after 20
    rounds) and sampling among the top predictions follow CLIMB. The candidates are our choice, because sets cannot be interpolated
    like weights: half are random sets, half differ by one cluster from the best measured sets.

    Parameters
    ----------
    candidates : int
        Number of sets whose value is predicted in each round after the first.
    top : int
        Number of best predictions from which each round after the first draws its proxies (at least as many as it needs).
    learns : bool
        Whether a predictor is fitted; otherwise rounds after the first draw from all candidates, as a control.
    """

    candidates: int = 2000
    top: int = 64
    learns: bool = True

    bounds: ClassVar = {"candidates": (1, math.inf), "top": (1, math.inf)}
    citation = "arXiv 2509.25850 (CLIMB-Disc); Diao et al., CLIMB: clustering-based iterative data mixture bootstrapping, arXiv 2504.13161."

    def explore(self, env: ClusterEnv, seed: int, effort: Effort) -> None:
        """Measure the sets of each round."""
        draws = np.random.default_rng(seed)
        measured: Measured = {}
        trainings = self.trainings or DEFAULT_TRAININGS
        for number, share in enumerate(SHARES):
            ends = number == len(SHARES) - 1
            left = trainings - len(measured)
            size = left if ends else min(left, max(1, round(trainings * share / sum(SHARES))))
            for chosen in self._propose(env, measured, size, draws, derive_seed(seed, number), effort):
                measured[chosen] = env.reward(chosen)

    def _propose(
        self, env: ClusterEnv, measured: Measured, size: int, draws: np.random.Generator, seed: int, effort: Effort
    ) -> list[Clusters]:
        """Return at most ``size`` new sets: random ones at first, then drawn from the candidates with the best predictions."""
        if size == 0:
            return []
        if len(measured) < 2:  # too few to fit and validate a predictor
            return draw_sets(env, size, draws)
        found = draw_sets(env, self.candidates // 2, draws) + change_sets(env, measured, self.candidates // 2, draws)
        fresh = [chosen for chosen in dict.fromkeys(found) if chosen not in measured]
        if not fresh:
            return []
        if not self.learns:
            return [fresh[index] for index in draws.permutation(len(fresh))[:size]]
        effort.updates += 1
        predicted = predict_values(measured, fresh, env.clusters, seed)
        best = np.argsort(-predicted, kind="stable")[: max(self.top, size)]
        picked = draws.permutation(best[1:])[: size - 1]
        return [fresh[index] for index in (best[0], *picked)]


def draw_sets(env: ClusterEnv, count: int, draws: np.random.Generator) -> list[Clusters]:
    """Return random complete sets, possibly with repeats."""
    return [tuple(sorted(draws.choice(env.clusters, env.budget, replace=False).tolist())) for _ in range(count)]


def change_sets(env: ClusterEnv, measured: Measured, count: int, draws: np.random.Generator) -> list[Clusters]:
    """Return sets that differ by one cluster from one of the best 10 % of measured sets."""
    best = sorted(measured, key=lambda chosen: -measured[chosen])[: max(1, len(measured) // 10)]
    changed = []
    for _ in range(count if env.budget < env.clusters else 0):
        chosen = list(best[draws.integers(len(best))])
        others = np.setdiff1d(np.arange(env.clusters), chosen)
        chosen[draws.integers(len(chosen))] = int(draws.choice(others))
        changed.append(tuple(sorted(chosen)))
    return changed


def predict_values(measured: Measured, candidates: list[Clusters], clusters: int, seed: int) -> np.ndarray:
    """Return the values (M,) of candidate sets, predicted by gradient-boosted trees fitted to the measured sets."""
    import lightgbm

    masks, values = stack_masks(measured, clusters), np.array(list(measured.values()))
    scale = float(values.std()) or 1.0
    held_out = np.random.default_rng(seed).permutation(len(values)) < max(1, len(values) // 5)
    settings = {
        **{"objective": "regression", "max_depth": 4, "num_leaves": 15, "min_data_in_leaf": 5, "lambda_l1": 0.01, "lambda_l2": 0.1},
        **{"learning_rate": 0.05, "num_threads": 1, "deterministic": True, "force_col_wise": True, "seed": seed % (1 << 31), "verbose": -1},
    }
    fit, check = (
        lightgbm.Dataset(masks[rows], (values[rows] - values.mean()) / scale, params={"verbose": -1}) for rows in (~held_out, held_out)
    )
    stop = lightgbm.early_stopping(20, verbose=False)
    model = lightgbm.train(settings, fit, 500, valid_sets=[check], callbacks=[stop])
    return np.asarray(model.predict(stack_masks(candidates, clusters), num_threads=1))


def stack_masks(sets: Iterable[Clusters], clusters: int) -> np.ndarray:
    """Return the masks (M, C) of sets."""
    return np.stack([make_mask(chosen, clusters) for chosen in sets])

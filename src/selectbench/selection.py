"""The library's three verbs: ``select``, ``score`` and ``take``."""

from dataclasses import dataclass

import numpy as np

from selectbench.arrays import as_array
from selectbench.errors import SelectbenchError, needing_packages, spell_count
from selectbench.methods import GreedyMethod, Method, make_method
from selectbench.policy import Quota, Tail, choose_positions, count_kept, parse_keep
from selectbench.registry import check_seed
from selectbench.signals import Signals


@dataclass(frozen=True, eq=False)
class Subset:
    """The selected samples in selection order, and how they were selected.

    Parameters
    ----------
    ids : (k,) int64
        Sample ids, best first.
    scores : (N,) float64 or None
        The score of every sample of the pool, in pool order; higher = keep first. Greedy methods stop at the subset's size: samples that
        they did not reach have −∞.
    method, keep, seed
        The arguments of the selection.
    """

    ids: np.ndarray
    scores: np.ndarray | None
    method: str
    keep: float
    seed: int

    def __len__(self) -> int:
        return len(self.ids)


def score(method: str, signals: Signals, *, keep: float | str = 1, seed: int = 0, **parameters: object) -> np.ndarray:
    """Score every sample.

    Parameters
    ----------
    method : id of a method
    signals : the recorded signals
    keep : the largest keep fraction that will be taken; greedy methods stop there, and give −∞ to samples that they did not reach
    seed : of the selection stream (random methods and ties)
    **parameters : of the method; unknown names are errors

    Returns
    -------
    (N,) float64; higher = keep first.

    Raises
    ------
    SelectbenchError
        The method or a parameter is unknown, the keep fraction or the seed is invalid, or a score is NaN.
    MissingSignal
        The method needs a signal that ``signals`` lacks.
    MissingPackage
        The method needs a package that is not installed.
    """
    most, seed = count_kept(keep, len(signals)), check_seed(seed)
    with needing_packages(f"method {method!r}"):
        made = make_method(method, parameters)
        signals.require(method, *made.reads)
        made.check_memory(signals.labels)
        found = made.score_first(signals, seed, most) if isinstance(made, GreedyMethod) else made.score(signals, seed)
    return check_scores(method, found, len(signals))


def check_scores(method: str, found: object, num: int) -> np.ndarray:
    """Return the scores (N,) float64 that a method gave.

    Raises
    ------
    SelectbenchError
        They are not one number per sample, or hold NaN or +∞; −∞ is for samples that a greedy method did not reach.
    """
    scores = as_array(f"method {method!r}: scores", found).astype(np.float64, copy=False)
    if scores.shape != (num,):
        raise SelectbenchError(f"method {method!r}: scores {scores.shape} are not one for each of {num} samples")
    bad = np.isnan(scores) | np.isposinf(scores)
    if bad.any():
        worst = int(bad.argmax())
        raise SelectbenchError(f"method {method!r}: the score at position {worst} is {scores[worst]} ({bad.sum()} of {num} are not finite)")
    return scores


def choose_kept(name: str, method: Method, scores: np.ndarray, signals: Signals, num_kept: int, seed: int) -> np.ndarray:
    """Return the positions (k,) int64 that a method chooses by its scores.

    Raises
    ------
    SelectbenchError
        They are not k different positions in the pool.
    """
    positions = as_array(f"method {name!r}: positions", method.choose(scores, signals, num_kept, seed))
    if positions.shape != (num_kept,) or positions.dtype.kind not in "iu":
        raise SelectbenchError(f"method {name!r}: chose {positions.shape} of {positions.dtype}, not {spell_count(num_kept, 'position')}")
    if not 0 <= positions.min() <= positions.max() < len(signals) or len(np.unique(positions)) < num_kept:
        raise SelectbenchError(f"method {name!r}: chose positions that are not {num_kept} different ones among 0 … {len(signals) - 1}")
    return positions


def select(method: str, signals: Signals, keep: float | str, *, seed: int = 0, **parameters: object) -> Subset:
    """Select a subset: exactly round-half-even(keep · N) samples.

    Parameters
    ----------
    method, signals, seed, **parameters : as in ``score``
    keep : share kept, in (0, 1]

    Returns
    -------
    Subset

    Raises
    ------
    SelectbenchError, MissingSignal
        As in ``score``.
    """
    num_kept, seed = count_kept(keep, len(signals)), check_seed(seed)
    scores = score(method, signals, keep=keep, seed=seed, **parameters)
    with needing_packages(f"method {method!r}"):
        positions = choose_kept(method, make_method(method, parameters), scores, signals, num_kept, seed)
    return Subset(ids=signals.ids[positions], scores=scores, method=method, keep=float(parse_keep(keep)), seed=seed)


def take(
    scores: np.ndarray,
    keep: float | str,
    *,
    labels: np.ndarray | None = None,
    quota: Quota = "none",
    tail: Tail = "high",
    seed: int = 0,
    ids: np.ndarray | None = None,
) -> Subset:
    """Select a subset from given scores.

    Parameters
    ----------
    scores : (N,) numbers, higher = keep first; taking a sample with −∞, which a greedy method did not reach, is an error
    keep : share kept, in (0, 1]
    labels : (N,) integers, needed for a class quota
    quota : {"none", "proportional", "equal"}
    tail : {"high", "low", "middle"}
    seed : breaks ties
    ids : (N,) integers, by default 0 … N−1

    Returns
    -------
    Subset
    """
    seed, scores = check_seed(seed), as_array("scores", scores).astype(np.float64)
    if scores.ndim != 1 or not len(scores):
        raise SelectbenchError(f"scores: shape {scores.shape} should be (N,) with N > 0")
    own_ids = {} if ids is None else {"ids": ids}
    checked = Signals(labels=np.zeros(len(scores), dtype=np.int64) if labels is None else labels, **own_ids)
    if len(checked) != len(scores):
        raise SelectbenchError(f"labels: {len(checked)} do not fit {len(scores)} scores")
    positions = choose_positions(
        scores,
        count_kept(keep, len(scores)),
        labels=None if labels is None else checked.labels,
        ids=checked.ids,
        quota=quota,
        tail=tail,
        seed=seed,
    )
    return Subset(ids=checked.ids[positions], scores=scores, method="take", keep=float(parse_keep(keep)), seed=seed)

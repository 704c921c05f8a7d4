"""Policies turn scores into positions (keep counts, class quotas, tails, ties); all scoring methods share them."""

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Literal, get_args

import numpy as np

from selectbench.errors import SelectbenchError, shorten, suggest
from selectbench.seeds import hash_ids

Quota = Literal["none", "proportional", "equal"]
Tail = Literal["high", "low", "middle"]

_LONGEST_KEEP = 100
_LARGE_POWER = re.compile(r"[eE][+-]?[\d_]{4}")  # an exponent so large that the exact number would fill the memory


def parse_keep(keep: float | str) -> Fraction:
    """Read a keep fraction exactly as written: 0.3 is three tenths.

    Raises
    ------
    SelectbenchError
        It is not a number, or outside (0, 1].
    """
    text, shown = str(keep), shorten(repr(keep))
    try:
        value = Fraction("" if len(text) > _LONGEST_KEEP or _LARGE_POWER.search(text) else text)
    except (ValueError, ZeroDivisionError):
        raise SelectbenchError(f"keep: {shown} is not a number; a keep fraction is in (0, 1], e.g. 0.5") from None
    if isinstance(keep, bool) or not 0 < value <= 1:
        raise SelectbenchError(f"keep: {shown} is outside (0, 1]; a keep fraction is the share kept, e.g. 0.5")
    return value


def count_kept(keep: float | str, num_samples: int) -> int:
    """Return k = round-half-even(keep · N), computed exactly.

    Raises
    ------
    SelectbenchError
        The keep fraction is invalid, or so small that nothing would be kept.
    """
    kept = round(parse_keep(keep) * num_samples)
    if kept == 0:
        raise SelectbenchError(f"keep: {keep!r} of {num_samples} samples keeps none; the smallest is {1 / num_samples:.2g}")
    return kept


def class_quotas(labels: np.ndarray, num_kept: int, quota: Quota) -> dict[int, int]:
    """Divide ``num_kept`` places among the classes so that they add up exactly.

    ``proportional``: k·n_c/N, rounded by largest remainder. ``equal``: the same number for every class, up to its size; places that
    a small class cannot fill are divided evenly among the others. Equal remainders go to the larger class, then to the smaller label.

    Parameters
    ----------
    labels : (N,) class of every sample
    num_kept : k
    quota : ``"proportional"`` or ``"equal"``

    Returns
    -------
    Class label → number of places, in ascending label order.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    size = dict(zip(classes.tolist(), sizes.tolist(), strict=True))
    if quota == "proportional":
        shares = {label: Fraction(num_kept * count, len(labels)) for label, count in size.items()}
        return _round_to_total(shares, size, num_kept)
    if quota != "equal":
        raise SelectbenchError(f"quota: {quota!r} defines no shares{suggest(quota, ['proportional', 'equal'])}")
    places: dict[int, int] = {}
    left, open_classes = num_kept, dict(size)
    while open_classes:
        share = Fraction(left, len(open_classes))
        full = {label: count for label, count in open_classes.items() if count <= share}
        if not full:
            places |= _round_to_total(dict.fromkeys(open_classes, share), size, left)
            break
        places |= full
        left -= sum(full.values())
        open_classes = {label: count for label, count in open_classes.items() if label not in full}
    return dict(sorted(places.items()))


def _round_to_total(shares: Mapping[int, Fraction], size: Mapping[int, int], total: int) -> dict[int, int]:
    """Round fractional shares down, then give the remaining places to the largest remainders."""
    places = {label: int(share) for label, share in shares.items()}
    by_remainder = sorted(shares, key=lambda label: (places[label] - shares[label], -size[label], label))
    for label in by_remainder[: total - sum(places.values())]:
        places[label] += 1
    return places


def order_by_score(scores: np.ndarray, ids: np.ndarray, seed: int) -> np.ndarray:
    """Return positions from the highest to the lowest score; ties are ordered by the seeded hash of their ids."""
    return np.lexsort((ids, hash_ids(ids, seed), -scores))


def centrality(values: np.ndarray, ids: np.ndarray, seed: int) -> np.ndarray:
    """Score each sample by how central its rank is: the best k are always a contiguous block of ranks around the median.

    The centre is a quarter rank below (N−1)/2, so that no ranks tie; of two equally central ones the higher value comes first.

    Parameters
    ----------
    values : (N,) numbers to rank
    ids, seed : break ties

    Returns
    -------
    (N,) float64, at most 0; higher = closer to the median rank.
    """
    rank = np.empty(len(values), dtype=np.float64)
    rank[order_by_score(values, ids, seed)] = np.arange(len(values))
    return -np.abs(rank - ((len(values) - 1) / 2 - 0.25))


def count_needed(labels: np.ndarray, most: int, quota: Quota, tail: Tail) -> dict[int, int]:
    """Return how many samples of each class selections of up to ``most`` samples can need, if classes are ordered one by one.

    The orders are those of ``score_class_orders``. A class needs its places among ``most`` and one more: by largest remainders, it may
    have one place less than in a smaller selection, and without quotas equal steps of several classes compete for the last places. Other
    tails than ``"high"`` need the whole order.

    Parameters
    ----------
    labels : (N,) class of every sample
    most : size of the largest selection
    quota, tail : as in ``choose_positions``

    Returns
    -------
    Class label → number of samples.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    size = dict(zip(classes.tolist(), sizes.tolist(), strict=True))
    if tail != "high":
        return size
    places = class_quotas(labels, most, "equal" if quota == "equal" else "proportional")
    return {label: min(count, places[label] + 1) for label, count in size.items()}


def score_class_orders(
    labels: np.ndarray, ids: np.ndarray, seed: int, order: Callable[[np.ndarray, int], np.ndarray], needed: Mapping[int, int]
) -> np.ndarray:
    """Score samples by the step t at which they are taken within their class: 1 − t/n_c, in (0, 1]; −∞ for those not taken.

    Parameters
    ----------
    labels : (N,) class of every sample
    ids, seed : a class's members are passed on in the order of the seeded hash of their ids, so that "the earlier row" is a fair tie-break
    order : positions of a class's members (n_c,), and how many are needed → those to take first, in order
    needed : class label → how many of its members are needed

    Returns
    -------
    (N,) float64
    """
    scores = np.full(len(labels), -np.inf)
    for label, count in needed.items():
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(hash_ids(ids[members], seed), kind="stable")]
        scores[members[order(members, count)]] = 1.0 - np.arange(count) / len(members)
    return scores


def choose_positions(
    scores: np.ndarray,
    num_kept: int,
    *,
    labels: np.ndarray | None,
    ids: np.ndarray,
    quota: Quota,
    tail: Tail,
    seed: int,
) -> np.ndarray:
    """Choose ``num_kept`` positions by score, tail and class quota, in selection order (best first).

    Raises
    ------
    SelectbenchError
        A score is NaN, a score that would be taken is −∞, the quota or the tail is unknown, or a class quota is requested without labels.
    """
    for name, word, valid in (("quota", quota, get_args(Quota)), ("tail", tail, get_args(Tail))):
        if word not in valid:
            raise SelectbenchError(f"{name}: unknown {word!r}{suggest(word, valid)}")
    if np.isnan(scores).any():
        raise SelectbenchError(
            f"scores: {int(np.isnan(scores).sum())} of {len(scores)} are NaN; the first at {int(np.isnan(scores).argmax())}"
        )
    if quota == "none":
        return _check_ordered(_order_by_tail(scores, ids, tail, seed)[:num_kept], scores)
    if labels is None:
        raise SelectbenchError(f"quota: {quota!r} needs labels")
    chosen = []
    for label, places in class_quotas(labels, num_kept, quota).items():
        members = np.flatnonzero(labels == label)
        chosen.append(members[_order_by_tail(scores[members], ids[members], tail, seed)[:places]])
    positions = np.concatenate(chosen)
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[_order_by_tail(scores, ids, tail, seed)] = np.arange(len(scores))
    return _check_ordered(positions[np.argsort(ranks[positions])], scores)


def _check_ordered(positions: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the chosen positions, unless a score among them is −∞: a greedy method stopped before it reached these samples."""
    if np.isneginf(scores[positions]).any():
        raise SelectbenchError(
            f"scores: only {int((~np.isneginf(scores)).sum())} of {len(scores)} samples are ordered (the others have −∞), "
            f"too few to keep {len(positions)}; score for a larger keep"
        )
    return positions


def choose_with_floor(
    scores: np.ndarray, num_kept: int, floor: float, *, labels: np.ndarray, ids: np.ndarray, tail: Tail, seed: int
) -> np.ndarray:
    """Choose ``num_kept`` positions: first each class's floor, then the best of the rest; in selection order.

    Parameters
    ----------
    floor : the share of its proportional quota, rounded up, that every class is guaranteed

    Returns
    -------
    (k,) positions, best first.
    """
    best_first = _order_by_tail(scores, ids, tail, seed)
    chosen = np.zeros(len(scores), dtype=bool)
    for label, quota in class_quotas(labels, num_kept, "proportional").items():
        members = best_first[labels[best_first] == label]
        chosen[members[: math.ceil(floor * quota)]] = True
    rest = best_first[~chosen[best_first]][: num_kept - int(chosen.sum())]
    chosen[rest] = True
    positions: np.ndarray = best_first[chosen[best_first]]
    return positions


def _order_by_tail(scores: np.ndarray, ids: np.ndarray, tail: Tail, seed: int) -> np.ndarray:
    if tail == "low":
        return order_by_score(-scores, ids, seed)
    if tail == "middle":
        return order_by_score(centrality(scores, ids, seed), ids, seed)
    return order_by_score(scores, ids, seed)

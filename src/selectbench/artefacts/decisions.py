"""The statistical rule: from means of paired differences to verdicts, and to the number of seeds that would decide.

Every difference is positive where the claim holds. See ``docs/verdicts.md`` for the rule in plain words.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

VerdictName = Literal[
    "supported",
    "contradicted",
    "equivalent",
    "undecided",
    "impossible at this scale",
    "holds by construction",
    "not asked",
]
SUPPORTED: VerdictName = "supported"
CONTRADICTED: VerdictName = "contradicted"
EQUIVALENT: VerdictName = "equivalent"
UNDECIDED: VerdictName = "undecided"
IMPOSSIBLE: VerdictName = "impossible at this scale"
BY_CONSTRUCTION: VerdictName = "holds by construction"
NOT_ASKED: VerdictName = "not asked"
Outcome = VerdictName | Literal["no headroom"]
NO_HEADROOM: Outcome = "no headroom"

MOST_SEEDS = 1000  # more are not looked for
_EXACT = 1e-9  # differences of equal costs vary by rounding only


class Effect(NamedTuple):
    """The mean of paired differences, at the last look at them.

    Parameters
    ----------
    mean, sd : of the differences; the standard deviation is no smaller than the resolution of what is measured
    n : number of seeds
    margin : differences smaller than this count as none; None if the claim declares no such margin
    share : of the error rate, which this look spends
    earlier : the same mean at earlier looks, over the first of these seeds
    least : number of seeds below which nothing is shown
    """

    mean: float
    sd: float
    n: int
    margin: float | None = None
    share: float = 1.0
    earlier: "tuple[Effect, ...]" = ()
    least: int = 2


class Rule(NamedTuple):
    """How claims are judged.

    Parameters
    ----------
    confidence : of intervals
    looks : numbers of seeds at which differences are looked at, ascending; none if there is one look, at all seeds that there are
    """

    confidence: float
    looks: tuple[int, ...] = ()

    @property
    def level(self) -> float:
        """Error rate of one side."""
        return find_level(self.confidence)


def find_level(confidence: float) -> float:
    """Return the error rate of one side of an interval: 0.025 for 95 %."""
    return (1 - confidence) / 2


def list_shares(looks: Sequence[int]) -> list[float]:
    """Return the share of the error rate that each look spends: in proportion to the seeds that are added before it."""
    return [(n - before) / looks[-1] for before, n in pairwise((0, *looks))]


def find_effect(differences: Sequence[float], least_sd: float, margin: float | None, looks: Sequence[int] = (), least: int = 2) -> Effect:
    """Return the mean of differences with their standard deviation, which is no smaller than the least one.

    Parameters
    ----------
    differences : in the order of seeds
    least_sd : the least standard deviation
    margin : differences smaller than this count as none
    looks : numbers of seeds at which differences are looked at; the last one that there are seeds for counts, and those before it.
        Before the first look there is one at what there is.
    least : number of seeds below which nothing is shown
    """

    def describe(n: int, share: float) -> Effect:
        sd = float(np.std(differences[:n], ddof=1)) if n > 1 else 0.0
        return Effect(float(np.mean(differences[:n])), max(sd, least_sd), n, margin, share, least=least)

    reached = [(n, share) for n, share in zip(looks, list_shares(looks) if looks else (), strict=True) if n <= len(differences)]
    *earlier, last = [describe(n, share) for n, share in reached or [(len(differences), looks[0] / looks[-1] if looks else 1.0)]]
    return last._replace(earlier=tuple(earlier))


def find_p(effect: Effect, bound: float = 0.0) -> float:
    """Return the one-sided p-value of "the mean is not above the bound".

    With several looks it is the smallest p of a look, divided by the share that the look spends. Whatever decides when to stop, the
    chance that this is at most α is at most α if the mean is not above the bound: the sum over looks of share · α, by Boole's
    inequality.
    """
    return min(1.0, *(find_single_p(look, bound) / look.share for look in (*effect.earlier, effect)))


def find_single_p(effect: Effect, bound: float) -> float:
    """Return the p-value of one look; 1 for fewer seeds than the least number.

    Differences that are the same in every seed and have no resolution, such as numbers of sample visits, are certain.
    """
    if effect.n < effect.least:
        return 1.0
    if effect.sd < _EXACT:
        return 0.0 if effect.mean - bound > _EXACT else 1.0
    return float(stdtr(effect.n - 1, (bound - effect.mean) * math.sqrt(effect.n) / effect.sd))


def flip(effect: Effect) -> Effect:
    """Return the difference the other way round."""
    return effect._replace(mean=-effect.mean, earlier=tuple(map(flip, effect.earlier)))


def is_certainly_not_above(effect: Effect) -> bool:
    """Tell whether differences are the same in every seed and do not favour the claim."""
    return effect.n >= 2 and effect.sd < _EXACT and effect.mean <= _EXACT


def find_p_against(effect: Effect) -> float:
    """Return the one-sided p-value of "the mean is above 0"."""
    return 0.0 if is_certainly_not_above(effect) else find_p(flip(effect))


def is_negligible(effect: Effect, level: float) -> bool:
    """Tell whether two one-sided tests place the mean within the margin."""
    if effect.margin is None:
        return False
    return max(find_p(effect, -effect.margin), find_p(flip(effect), -effect.margin)) <= level


def find_contradictions(effects: Sequence[Effect], level: float) -> list[Effect]:
    """Return the means that lie below 0 after Holm's correction over all of them."""
    found = []
    for rank, effect in enumerate(sorted(effects, key=find_p_against)):
        if (len(effects) - rank) * find_p_against(effect) > level:
            break
        found.append(effect)
    return found


def decide_every(single: Sequence[Effect], means: Sequence[Effect], level: float) -> VerdictName:
    """Return the verdict on a claim that all of its comparisons hold.

    - *contradicted*: at least one lies below 0 after Holm's correction. If there are means over keep fractions beside the single
      comparisons, each of the two families is tested at half the level, so that the error rate of both together is ``level``.
    - *supported*: every mean over keep fractions lies above 0, each at the full level: an intersection–union test.
    - *equivalent*: otherwise, if each of them lies above 0 or within the margin (two one-sided tests).
    - *undecided*: everything else.

    Parameters
    ----------
    single : one effect per panel, keep fraction, method and opponent
    means : one per panel, method and opponent, over keep fractions; empty if there is one keep fraction
    level : error rate of one side
    """
    share = level / 2 if means else level
    if find_contradictions(single, share) or find_contradictions(means, share):
        return CONTRADICTED
    asked = means or single
    are_above = [find_p(effect) <= level for effect in asked]
    if asked and all(are_above):
        return SUPPORTED
    if asked and all(above or is_negligible(effect, level) for above, effect in zip(are_above, asked, strict=True)):
        return EQUIVALENT
    return UNDECIDED


def decide_some(panels: Sequence[Sequence[Sequence[Effect]]], level: float) -> VerdictName:
    """Return the verdict on a claim that, in every panel, all comparisons hold at one keep fraction at least: the best one.

    Supported: in every panel, a keep fraction whose comparisons all lie above 0 after correction for the number of keep fractions.
    Contradicted: in a panel, every keep fraction has a comparison below 0 after correction for their number and that of panels.

    Parameters
    ----------
    panels : per panel and keep fraction, the effects that must hold together
    level : error rate of one side
    """
    holds = [min(len(keeps) * max(find_p(effect) for effect in effects) for effects in keeps) for keeps in panels]
    fails = [max(len(effects) * min(find_p_against(effect) for effect in effects) for effects in keeps) for keeps in panels]
    if fails and len(panels) * min(fails) <= level:
        return CONTRADICTED
    return SUPPORTED if holds and max(holds) <= level else UNDECIDED


def find_seeds(decide: Callable[[int], VerdictName]) -> int | None:
    """Return the smallest number of seeds with which the observed means and deviations would decide; None beyond ``MOST_SEEDS``.

    Parameters
    ----------
    decide : number of seeds → verdict; once it decides, it does so for all larger numbers
    """
    low, high = 1, 2
    while decide(high) == UNDECIDED:
        low, high = high, 2 * high
        if low >= MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if decide(middle) == UNDECIDED else (low, middle)
    return high


def bound_mean(effect: Effect, confidence: float) -> tuple[float, float] | None:
    """Return the Student-t interval of the mean, at the error rate that its last look spends; None for fewer than two seeds."""
    if effect.n < 2:
        return None
    half_width = float(stdtrit(effect.n - 1, 1 - find_level(confidence) * effect.share)) * effect.sd / math.sqrt(effect.n)
    return effect.mean - half_width, effect.mean + half_width

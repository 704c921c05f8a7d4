"""Comparisons: paired differences between runs over seeds, and their means over keep fractions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np

from selectbench.artefacts.cells import (
    COST_METRICS,
    LOWER_IS_BETTER,
    TRAINING_VISITS,
    WALL_METRICS,
    find_hole,
    find_resolution,
    pair_runs,
    values_by_seed,
)
from selectbench.artefacts.decisions import (
    CONTRADICTED,
    IMPOSSIBLE,
    NO_HEADROOM,
    UNDECIDED,
    Effect,
    Outcome,
    Rule,
    bound_mean,
    decide_every,
    find_effect,
    find_seeds,
)
from selectbench.artefacts.formats import HOLE, format_difference, format_keep, format_range, format_ratio
from selectbench.artefacts.measurements import Measurement, group_measurements, read_statistic
from selectbench.artefacts.specs import ComparisonSpec, MeasuredSpec, list_compared
from selectbench.records.rows import Records

STATISTIC = "statistic"  # the metric of comparisons of a measured statistic with a bound
LEAST_SD = 1e-6  # of measured values: equal ones are not certain, as equal numbers of sample visits are


class Comparison(TypedDict):
    """One paired comparison, or a statistic minus its bound; the difference is positive where the claim holds.

    Parameters
    ----------
    label, metric, test_set : what is compared
    keep : keep fraction; None over several, or of a statistic. Verdicts of old versions lack it, as the next four
    against : what people read of the method that is compared with
    outcome : of this comparison alone, without correction; None for a hole and for wall time
    seeds : number that would decide it at the observed mean and deviation; None if it is decided, or beyond the largest looked for
    spread : of wall times, the lowest and highest difference over seeds
    n : number of seeds
    allowance : what the claim adds to the difference before it is compared with 0; verdicts of old versions lack it
    mean : difference with the allowance; of costs, the log-ratio
    low, high : bounds of the mean at the claim's confidence; None for one seed and for wall time
    hole : why nothing is compared, or None
    """

    label: str
    metric: str
    test_set: str | None
    keep: NotRequired[str | None]
    against: NotRequired[str | None]
    outcome: NotRequired[Outcome | None]
    seeds: NotRequired[int | None]
    spread: NotRequired[list[float] | None]
    allowance: NotRequired[float]
    n: int
    mean: float | None
    low: float | None
    high: float | None
    hole: str | None


class Compared(NamedTuple):
    """A comparison with what the rule needs of it.

    Parameters
    ----------
    comparison : what is shown
    panel, pair : of the table, and the methods that are compared in which metric
    differences : seed → difference with the allowance
    effect : their mean; None for a hole
    least_sd : the least standard deviation of the differences
    """

    comparison: Comparison
    panel: str
    pair: tuple[str | None, ...]
    differences: Mapping[int, float] = MappingProxyType({})
    effect: Effect | None = None
    least_sd: float = 0.0


def compare(spec: ComparisonSpec, records: Records, rule: Rule) -> Compared:
    """Return the paired difference of one comparison with its interval; a single missing or failed run leaves it empty.

    The comparison's ``allowance`` is added to every difference: what the better side may lose or, if negative, must win by.
    """
    metric, test_set = spec["metric"], spec["test_set"]
    runs = list_compared(spec)
    holes = [hole for run in runs if (hole := find_hole(records, run, metric, test_set)) is not None]
    result = compare_nothing(spec["label"], metric, test_set)
    result |= {"keep": spec["keep"], "allowance": spec["allowance"], "against": spec["against_title"]}
    pair = (spec["method"], spec["against"], metric)
    if holes:
        lack = f"{len(holes)} of {len(runs)} runs {'has' if len(holes) == 1 else 'have'} no value"
        reason = f"{lack}; first: {holes[0]['run']}: {holes[0]['reason']}"
        return Compared(result | {"hole": reason}, spec["panel"], pair)
    measured, least_sd = subtract(spec, records)
    if not measured:
        return Compared(result | {"hole": "the two sides have no seed in common"}, spec["panel"], pair)
    least_sd = max(least_sd, spec.get("least_sd", 0.0), 0.0 if metric in COST_METRICS else LEAST_SD)
    differences = {seed: value + spec["allowance"] for seed, value in measured.items()}
    margin = None if spec["allowance"] else spec.get("equivalence")
    least = 2 if metric in COST_METRICS else spec.get("least_seeds", 2)  # arithmetic changes no cost
    effect = find_effect(list(differences.values()), least_sd, margin, rule.looks, least)
    if metric in WALL_METRICS:
        spread = [min(differences.values()), max(differences.values())]
        timed = result | {"n": effect.n, "mean": effect.mean, "spread": spread}
        return Compared(timed, spec["panel"], pair, differences, effect, least_sd)
    shown = show_effect(result, effect, rule)
    if is_impossible(spec, records, differences):
        shown |= {"outcome": IMPOSSIBLE, "seeds": None}
    elif shown["outcome"] != CONTRADICTED and lacks_headroom(spec, records):
        shown |= {"outcome": NO_HEADROOM, "seeds": None}
    return Compared(shown, spec["panel"], pair, differences, effect, least_sd)


def subtract(spec: ComparisonSpec, records: Records) -> tuple[dict[int, float], float]:
    """Return seed → difference as the form of a comparison defines it, and the least standard deviation of these differences."""
    metric, test_set = spec["metric"], spec["test_set"]
    sign = 1 if spec["higher_is_better"] else -1
    if spec["form"] == "bound":
        values = values_by_seed(records, spec["better"], metric, test_set)
        return {seed: sign * (value - spec["bound"]) for seed, value in values.items()}, 0.0
    if spec["form"] == "spread":
        own, other = (spread_over_keeps(records, runs, metric, test_set) for runs in (spec["better"], spec["worse"]))
        resolution = find_resolution(records, [*spec["better"], *spec["worse"]], metric, test_set)
        return {seed: other[seed] - own[seed] for seed in sorted(own.keys() & other.keys())}, resolution / math.sqrt(12)
    here, least_sd = pair_runs(records, spec["better"], spec["worse"], metric, test_set, spec["higher_is_better"])
    if spec["form"] == "pair":
        return here, least_sd
    there, _ = pair_runs(records, spec["than_better"], spec["than_worse"], metric, test_set, spec["higher_is_better"])
    return {seed: here[seed] - there[seed] for seed in sorted(here.keys() & there.keys())}, math.sqrt(2) * least_sd


def spread_over_keeps(records: Records, runs: Iterable[str], metric: str, test_set: str | None) -> dict[int, float]:
    """Return seed → standard deviation of a method's values over its keep fractions; seeds that lack one are left out."""
    by_keep: dict[str, list[str]] = {}
    for run in runs:
        by_keep.setdefault(records[run]["run"]["keep"], []).append(run)
    values = [values_by_seed(records, here, metric, test_set) for here in by_keep.values()]
    seeds = sorted(set.intersection(*(set(found) for found in values)))
    return {seed: float(np.std([found[seed] for found in values], ddof=1)) for seed in seeds}


def show_effect(comparison: Comparison, effect: Effect, rule: Rule) -> Comparison:
    """Return a comparison with the mean of its differences, the bounds of this mean, and its outcome alone."""
    bounds = bound_mean(effect, rule.confidence) or (None, None)
    outcome = decide_every([effect], [], rule.level)
    seeds = find_seeds(lambda n: decide_every([effect._replace(n=n)], [], rule.level)) if outcome == UNDECIDED and effect.n > 1 else None
    low, high = bounds
    return comparison | {"n": effect.n, "mean": effect.mean, "low": low, "high": high, "outcome": outcome, "seeds": seeds}


def is_impossible(spec: ComparisonSpec, records: Records, differences: Mapping[int, float]) -> bool:
    """Tell whether training alone, which keep fraction, warm-up and annealing fix, visits more samples than a claimed factor allows."""
    metric = spec["metric"]
    if metric not in COST_METRICS or metric in WALL_METRICS or spec["allowance"] >= 0 or spec["form"] != "pair":
        return False
    training = values_by_seed(records, spec["better"], TRAINING_VISITS, None)
    whole = values_by_seed(records, spec["worse"], metric, spec["test_set"])
    forced = [math.log(whole[seed]) - math.log(training[seed]) + spec["allowance"] for seed in differences]
    return max(forced) <= 0 and max(forced) - min(forced) < LEAST_SD


def lacks_headroom(spec: ComparisonSpec, records: Records) -> bool:
    """Tell whether the other side is so close to 100 % that a difference that counts cannot exist.

    A difference counts if it is larger than the margin of equivalence and than one sample of the test set.
    """
    if spec["metric"] != "top1" or spec["form"] != "pair" or spec["allowance"] or spec["metric"] in LOWER_IS_BETTER:
        return False
    values = values_by_seed(records, spec["worse"], "top1", spec["test_set"])
    resolution = find_resolution(records, spec["worse"], "top1", spec["test_set"])
    return float(np.mean(list(values.values()))) + max(spec.get("equivalence", 0.0), resolution) > 100 - resolution


def average_over_keeps(compared: Sequence[Compared], rule: Rule) -> list[Compared]:
    """Return the mean difference over keep fractions of every pair of methods in every panel; none if no pair has several.

    Each seed gives one value, its mean over the keep fractions. Comparisons without headroom are left out, as they cannot favour
    the claim; a pair with a hole has no mean.
    """
    groups: dict[tuple[str | None, ...], list[Compared]] = {}
    for item in compared:
        if item.comparison.get("outcome") != NO_HEADROOM:
            groups.setdefault((item.panel, *item.pair), []).append(item)
    if all(len(group) < 2 for group in groups.values()):
        return []
    return [mean for group in groups.values() if (mean := average(group, rule)) is not None]


def average(group: Sequence[Compared], rule: Rule) -> Compared | None:
    """Return the mean over comparisons of one pair of methods; None if one of them is a hole or they share no seed."""
    effects = [item.effect for item in group if item.effect is not None]
    seeds = sorted(set.intersection(*(set(item.differences) for item in group)))
    first = group[0]
    is_averaged = all(item.comparison.get("keep") is not None for item in group) and first.comparison["metric"] not in WALL_METRICS
    if len(effects) < len(group) or not seeds or not is_averaged:
        return None
    differences = {seed: float(np.mean([item.differences[seed] for item in group])) for seed in seeds}
    least_sd = math.sqrt(sum(item.least_sd**2 for item in group)) / len(group)
    effect = find_effect(list(differences.values()), least_sd, effects[0].margin, rule.looks, max(effect.least for effect in effects))
    keeps = [format_keep(keep) for item in group if (keep := item.comparison.get("keep")) is not None]
    label = first.comparison["label"].replace(f" at {keeps[0]}", "") + f", mean over {', '.join(keeps)}"
    blank = compare_nothing(label, first.comparison["metric"], first.comparison["test_set"])
    blank |= {"keep": None, "against": first.comparison.get("against"), "allowance": first.comparison.get("allowance", 0.0)}
    return Compared(show_effect(blank, effect, rule), first.panel, first.pair, differences, effect, least_sd)


def compare_statistics(measured: MeasuredSpec, measurements: Sequence[Measurement], rule: Rule) -> list[Compared]:
    """Return one comparison per data set of a measured statistic with its bound, over seeds.

    Parameters
    ----------
    measured : the statistic and its bound
    measurements : what was measured of propositions, one per data set and seed
    rule : how claims are judged
    """
    name, statistic = measured["proposition"], measured["statistic"]
    bound, sign = (measured["above"], 1.0) if "above" in measured else (measured["below"], -1.0)
    words = f"{statistic} of {name.replace('_', ' ')}".replace("_", " ")
    text = f"{bound:g} − {words}" if sign < 0 else f"{words} − {bound:g}" if bound else words
    groups = group_measurements(measurements, name)
    if not groups:
        return [Compared(compare_nothing(text, STATISTIC, None) | {"hole": "nothing was measured"}, "", (name,))]
    comparisons = []
    for dataset, seeds in groups.items():
        result = compare_nothing(f"{dataset}: {text}", STATISTIC, None)
        values = {seed: read_statistic(item, statistic) for seed, item in seeds.items()}
        holes = [seed for seed, value in values.items() if value is None]
        differences = {seed: sign * (value - bound) for seed, value in sorted(values.items()) if value is not None}
        if holes:
            lack = f"{len(holes)} of {len(values)} seeds {'has' if len(holes) == 1 else 'have'} no finite {statistic}"
            comparisons.append(Compared(result | {"hole": f"{lack}; first: seed {holes[0]}"}, dataset, (name,)))
        else:
            effect = find_effect(list(differences.values()), LEAST_SD, None, rule.looks)
            shown = show_effect(result, effect, rule)
            comparisons.append(Compared(shown, dataset, (name,), differences, effect, LEAST_SD))
    return comparisons


def compare_nothing(label: str, metric: str, test_set: str | None) -> Comparison:
    """Return a comparison that has no values yet."""
    found = Comparison(label=label, metric=metric, test_set=test_set, n=0, mean=None, low=None, high=None, hole=None)
    return found | {"keep": None, "outcome": None, "seeds": None}


def find_worst(comparisons: Sequence[Comparison]) -> int | None:
    """Return the position of the comparison with the largest effect against the claim: the lowest mean.

    Points, and log-ratios of costs in per cent, are put side by side where a claim compares both. Comparisons of fewer than two
    seeds count only if there are no others.
    """

    def measure_effect(position: int) -> float:
        comparison = comparisons[position]
        mean = comparison["mean"]
        return math.inf if mean is None else mean * (100 if comparison["metric"] in COST_METRICS else 1)

    compared = [position for position, comparison in enumerate(comparisons) if comparison["mean"] is not None]
    repeated = [position for position in compared if comparisons[position]["n"] > 1]
    return min(repeated or compared, key=measure_effect, default=None)


def format_seeds(comparisons: Sequence[Comparison]) -> str:
    """Return the number of paired seeds, as a range if comparisons differ."""
    return format_range(comparison["n"] for comparison in comparisons)


def format_comparison(comparison: Comparison) -> str:
    """Return the difference as measured with its interval, and what the claim asks for if that is not 0.

    Differences are in points or in the metric's own unit; costs are shown as a ratio to the cost of what they are compared with
    (below 1 = cheaper), and wall times with their range over seeds in place of an interval.
    """
    if comparison["mean"] is None:
        return HOLE
    allowance, metric = comparison.get("allowance", 0.0), comparison["metric"]
    low, high = (None if bound is None else bound - allowance for bound in (comparison["low"], comparison["high"]))
    text = format_difference(comparison["mean"] - allowance, low, high, metric, comparison.get("against") or "")
    spread = comparison.get("spread")
    if spread:
        slowest, fastest = (format_ratio(value - allowance) for value in spread)
        text += f" ({fastest} to {slowest} over seeds)"
    if not allowance:
        return text
    asked = f"claimed: at most {format_ratio(-allowance)}" if metric in COST_METRICS else f"allowed: −{allowance:g}"
    return f"{text} ({asked})"

"""Claims: a paper's sentence as paired comparisons over seeds, and the rule that turns them into a verdict."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, NotRequired, TypedDict

import numpy as np

from selectbench.artefacts.cells import COST_METRICS, compare_runs, find_hole, t_interval
from selectbench.artefacts.formats import HOLE, format_difference, format_range, format_ratio
from selectbench.artefacts.measurements import Measurement, group_measurements, read_statistic
from selectbench.artefacts.specs import Author, ClaimsSpec, ComparisonSpec, MeasuredSpec
from selectbench.records.rows import Records

VerdictName = Literal["supported", "contradicted", "undecided", "not asked"]
SUPPORTED: VerdictName = "supported"
CONTRADICTED: VerdictName = "contradicted"
UNDECIDED: VerdictName = "undecided"
NOT_ASKED: VerdictName = "not asked"  # in place of a verdict if a scale has nothing to compare
STATISTIC = "statistic"  # the metric of comparisons of a measured statistic with a bound


class Comparison(TypedDict):
    """One paired comparison, or a statistic minus its bound; the difference is positive where the claim holds.

    Parameters
    ----------
    label, metric, test_set : what is compared
    n : number of seeds
    allowance : what the claim adds to the difference before it is compared with 0; verdicts of old versions lack it
    mean : difference with the allowance; of costs, the log-ratio
    low, high : bounds of the mean at the claim's confidence; None for one seed
    corrected_high : upper bound after Bonferroni correction over the claim's comparisons
    hole : why nothing is compared, or None
    """

    label: str
    metric: str
    test_set: str | None
    allowance: NotRequired[float]
    n: int
    mean: float | None
    low: float | None
    high: float | None
    corrected_high: float | None
    hole: str | None


class Verdict(NamedTuple):
    """A verdict and its reason.

    Parameters
    ----------
    verdict : on the claim
    why : in words
    """

    verdict: VerdictName
    why: str


class JudgedClaim(TypedDict):
    """A claim with its verdict.

    Parameters
    ----------
    id, statement, by, source, table : as specified
    verdict, why : on the claim
    comparisons : that the verdict rests on
    worst : position of the comparison with the strongest evidence against the claim, or None
    n : number of paired seeds, a range if it differs
    """

    id: str
    statement: str
    by: Author
    source: str | None
    table: str | None
    verdict: VerdictName
    why: str
    comparisons: list[Comparison]
    worst: int | None
    n: str


def judge_claims(spec: ClaimsSpec, records: Records, measurements: Sequence[Measurement] = ()) -> list[JudgedClaim]:
    """Return every claim with its comparisons, its verdict and the reason.

    Parameters
    ----------
    spec : the paper's claims, each with ``comparisons`` of runs or with one ``measured`` statistic
    records : run id → record
    measurements : what was measured of propositions, one per data set and seed
    """
    judged = []
    for claim in spec["claims"]:
        if "measured" in claim:
            comparisons = compare_statistics(claim["measured"], measurements, spec["confidence"])
        else:
            wanted = claim["comparisons"]
            comparisons = [compare(comparison, records, spec["confidence"], len(wanted)) for comparison in wanted]
        verdict, why = decide(comparisons, claim["unavailable"], claim["not_compared"])
        judged.append(
            JudgedClaim(
                id=claim["id"],
                statement=claim["statement"],
                by=claim["by"],
                source=claim["source"],
                table=claim["table"],
                verdict=verdict,
                why=why,
                comparisons=comparisons,
                worst=find_worst(comparisons),
                n=format_seeds(comparisons),
            )
        )
    return judged


def compare(comparison: ComparisonSpec, records: Records, confidence: float, num_comparisons: int) -> Comparison:
    """Return the paired difference of one comparison with its intervals; a single missing or failed run leaves it empty.

    The comparison's ``allowance`` is added to every difference: what the better side may lose or, if negative, must win by.
    """
    metric, test_set = comparison["metric"], comparison["test_set"]
    runs = [*comparison["better"], *comparison["worse"]]
    holes = [hole for run in runs if (hole := find_hole(records, run, metric, test_set)) is not None]
    result = compare_nothing(comparison["label"], metric, test_set) | {"allowance": comparison["allowance"]}
    if holes:
        lack = f"{len(holes)} of {len(runs)} runs {'has' if len(holes) == 1 else 'have'} no value"
        return result | {"hole": f"{lack}; first: {holes[0]['run']}: {holes[0]['reason']}"}
    sides = (comparison["better"], comparison["worse"])
    differences, least_sd = compare_runs(records, *sides, metric, test_set, comparison["higher_is_better"])
    if not len(differences):
        return result | {"hole": "the two sides have no seed in common"}
    least_sd = max(least_sd, comparison.get("least_sd", 0.0))
    return bound_differences(result, differences + comparison["allowance"], confidence, num_comparisons, least_sd)


def compare_statistics(measured: MeasuredSpec, measurements: Sequence[Measurement], confidence: float) -> list[Comparison]:
    """Return one comparison per data set of a measured statistic with its bound, over seeds.

    Parameters
    ----------
    measured : the statistic and its bound
    measurements : what was measured of propositions, one per data set and seed
    confidence : of the intervals
    """
    name, statistic = measured["proposition"], measured["statistic"]
    bound, sign = (measured["above"], 1.0) if "above" in measured else (measured["below"], -1.0)
    words = f"{statistic} of {name.replace('_', ' ')}".replace("_", " ")
    text = f"{bound:g} − {words}" if sign < 0 else f"{words} − {bound:g}" if bound else words
    groups = group_measurements(measurements, name)
    if not groups:
        return [compare_nothing(text, STATISTIC, None) | {"hole": "nothing was measured"}]
    comparisons = []
    for dataset, seeds in groups.items():
        result = compare_nothing(f"{dataset}: {text}", STATISTIC, None)
        values = {seed: read_statistic(item, statistic) for seed, item in seeds.items()}
        holes = [seed for seed, value in values.items() if value is None]
        differences = np.array([sign * (value - bound) for value in values.values() if value is not None])
        if holes:
            lack = f"{len(holes)} of {len(values)} seeds {'has' if len(holes) == 1 else 'have'} no finite {statistic}"
            comparisons.append(result | {"hole": f"{lack}; first: seed {holes[0]}"})
        else:
            comparisons.append(bound_differences(result, differences, confidence, len(groups)))
    return comparisons


def compare_nothing(label: str, metric: str, test_set: str | None) -> Comparison:
    """Return a comparison that has no values yet."""
    return Comparison(label=label, metric=metric, test_set=test_set, n=0, mean=None, low=None, high=None, corrected_high=None, hole=None)


def bound_differences(
    comparison: Comparison, differences: np.ndarray, confidence: float, num_comparisons: int, least_sd: float = 0.0
) -> Comparison:
    """Return a comparison with the mean of its differences and the bounds of this mean."""
    found = t_interval(differences, confidence, least_sd)
    corrected = t_interval(differences, 1 - (1 - confidence) / num_comparisons, least_sd)
    return comparison | {"n": found.n, "mean": found.mean, "low": found.low, "high": found.high, "corrected_high": corrected.high}


def decide(comparisons: Sequence[Comparison], unavailable: str | None, not_compared: Sequence[str]) -> Verdict:
    """Return the verdict on a claim that all of its comparisons hold.

    Each comparison is a mean of paired differences over seeds, positive where the claim holds, with a Student-t interval whose
    standard deviation is no smaller than the resolution of the test set (see ``compare_runs``), or than what the arithmetic alone
    makes the methods vary by.

    - *supported*: every comparison is complete and its interval lies above 0. Requiring this of all of them is an
      intersection–union test, which needs no correction.
    - *contradicted*: at least one complete comparison's interval lies below 0 after Bonferroni correction over all of the
      claim's comparisons: the more there are, the likelier one is negative by chance.
    - *undecided*: everything else: something the claim needs is not built (``unavailable``: nothing can be compared;
      ``not_compared``: what is compared may contradict the claim, but cannot support it), runs are missing or failed, there are
      fewer than two seeds, or intervals contain 0. The reason says which.

    A claim without comparisons is *not asked*: the scale leaves out the data, models or tables that would be compared.
    """
    total = len(comparisons)
    if unavailable is not None:
        return Verdict(UNDECIDED, unavailable)
    if not comparisons:
        return Verdict(NOT_ASKED, "nothing to compare at this scale")
    tested = [comparison for comparison in comparisons if comparison["low"] is not None]
    are_ratios = all(comparison["metric"] in COST_METRICS for comparison in comparisons)
    zero, upper, lower = ("1×", "below 1×", "above 1×") if are_ratios else ("0", "above 0", "below 0")  # a ratio below 1 is a saving
    below = sum(comparison["corrected_high"] is not None and comparison["corrected_high"] < 0 for comparison in tested)
    if below:
        correction = f" after correction for {total} comparisons" if total > 1 else ""
        return Verdict(CONTRADICTED, tell_share(below, total, "interval", f"lies {lower}", f"lie {lower}") + correction)
    holes = [comparison["hole"] for comparison in comparisons if comparison["hole"] is not None]
    if holes:
        return Verdict(UNDECIDED, f"{tell_share(len(holes), total, 'comparison', 'is incomplete', 'are incomplete')} ({holes[0]})")
    if len(tested) < total:
        few = tell_share(total - len(tested), total, "comparison", "has fewer than 2 seeds", "have fewer than 2 seeds")
        return Verdict(UNDECIDED, few)
    if not_compared:
        return Verdict(UNDECIDED, f"not built yet, so not compared: {', '.join(not_compared)}")
    above = sum(comparison["low"] is not None and comparison["low"] > 0 for comparison in tested)
    if above == total:
        return Verdict(SUPPORTED, tell_share(above, total, "interval", f"lies {upper}", f"lie {upper}"))
    uncorrected = sum(comparison["high"] is not None and comparison["high"] < 0 for comparison in tested)
    counts = [
        (total - above - uncorrected, "contain", zero),
        (uncorrected, "lie", f"{lower}, but not after correction for {total} comparisons"),
        (above, "lie", upper),
    ]
    (first, verb, place), *others = [part for part in counts if part[0]]
    parts = [tell_share(first, total, "interval", f"{verb}s {place}", f"{verb} {place}")]
    parts += [f"{count} {verb if count > 1 else f'{verb}s'} {place}" for count, verb, place in others]
    return Verdict(UNDECIDED, "; ".join(parts))


def tell_share(count: int, total: int, noun: str, one: str, several: str) -> str:
    """Return ``"the interval …"``, ``"both intervals …"``, ``"all 5 intervals …"`` or ``"1 of 5 intervals …"`` with the fitting verb."""
    if total == 1:
        return f"the {noun} {one}"
    share = f"{count} of {total}" if count < total else "both" if total == 2 else f"all {total}"
    return f"{share} {noun}s {one if count == 1 else several}"


def find_worst(comparisons: Sequence[Comparison]) -> int | None:
    """Return the position of the comparison with the strongest evidence against the claim: the lowest mean in units of its half-width."""

    def measure_strength(position: int) -> float:
        mean, high = comparisons[position]["mean"], comparisons[position]["high"]
        return math.inf if mean is None or high is None else mean / max(high - mean, 1e-12)

    tested = [position for position, comparison in enumerate(comparisons) if comparison["low"] is not None]
    return min(tested, key=measure_strength, default=None)


def format_seeds(comparisons: Sequence[Comparison]) -> str:
    """Return the number of paired seeds, as a range if comparisons differ."""
    return format_range(comparison["n"] for comparison in comparisons)


def format_comparison(comparison: Comparison) -> str:
    """Return the difference as measured with its interval, and what the claim asks for if that is not 0.

    Differences are in points or in the metric's own unit; costs are shown as a ratio (below 1 = cheaper).
    """
    if comparison["mean"] is None:
        return HOLE
    allowance, metric = comparison.get("allowance", 0.0), comparison["metric"]
    low, high = (None if bound is None else bound - allowance for bound in (comparison["low"], comparison["high"]))
    text = format_difference(comparison["mean"] - allowance, low, high, metric)
    if not allowance:
        return text
    asked = f"claimed: at most {format_ratio(-allowance)}" if metric in COST_METRICS else f"allowed: −{allowance:g}"
    return f"{text} ({asked})"

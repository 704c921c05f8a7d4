"""Claims: a paper's sentence as paired comparisons over seeds, and the rule that turns them into a verdict."""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from selectbench.artefacts.cells import Records, compare_runs, find_hole, t_interval
from selectbench.artefacts.formats import HOLE, format_difference, format_range
from selectbench.artefacts.measurements import group_measurements, read_statistic

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NOT_ASKED = "not asked"  # stands where a verdict would, of a claim that a scale has nothing to compare for
STATISTIC = "statistic"  # the metric of comparisons of a measured statistic with a bound


class Comparison(TypedDict):
    """One paired comparison, or a statistic minus its bound; the difference is positive where the claim holds.

    ``low`` and ``high`` bound the mean difference at the claim's confidence, ``corrected_high`` after Bonferroni correction over the
    claim's comparisons. Costs are compared by log-ratios. ``hole`` says why nothing is compared.
    """

    label: str
    metric: str
    test_set: str | None
    n: int
    mean: float | None
    low: float | None
    high: float | None
    corrected_high: float | None
    hole: str | None


class Verdict(NamedTuple):
    """A verdict, or that there is none, and the reason for it."""

    verdict: str
    why: str


def judge_claims(spec: dict, records: Records, measurements: Sequence[dict] = ()) -> list[dict]:
    """Return every claim with its comparisons, its verdict, the reason and the position of its worst comparison.

    Parameters
    ----------
    spec : the paper's claims, each with ``comparisons`` of runs or with one ``measured`` statistic
    records : run id → record
    measurements : what was measured of propositions, one a data set and seed
    """
    judged = []
    for claim in spec["claims"]:
        if "measured" in claim:
            comparisons = compare_statistics(claim["measured"], measurements, spec["confidence"])
        else:
            wanted = claim["comparisons"]
            comparisons = [compare(comparison, records, spec["confidence"], len(wanted)) for comparison in wanted]
        verdict, why = decide(comparisons, claim["unavailable"], claim["not_compared"])
        kept = {key: claim[key] for key in ("id", "statement", "by", "source", "table")}
        judged.append(
            kept
            | {"verdict": verdict, "why": why, "comparisons": comparisons, "worst": find_worst(comparisons), "n": format_seeds(comparisons)}
        )
    return judged


def compare(comparison: dict, records: Records, confidence: float, num_comparisons: int) -> Comparison:
    """Return the paired difference of one comparison with its intervals; a single missing or failed run leaves it empty.

    The comparison's ``allowance`` is added to every difference: what the better side may lose, or (negative) must win by.
    """
    metric, test_set = comparison["metric"], comparison["test_set"]
    runs = [*comparison["better"], *comparison["worse"]]
    holes = [hole for run in runs if (hole := find_hole(records, run, metric, test_set)) is not None]
    result = compare_nothing(comparison["label"], metric, test_set)
    if holes:
        return result | {"hole": f"{len(holes)} of {len(runs)} runs; first: {holes[0]['run']}: {holes[0]['reason']}"}
    sides = (comparison["better"], comparison["worse"])
    differences, least_sd = compare_runs(records, *sides, metric, test_set, comparison["higher_is_better"])
    if not len(differences):
        return result | {"hole": "its two sides have no seed in common"}
    return result | bound_differences(differences + comparison["allowance"], confidence, num_comparisons, least_sd)


def compare_statistics(measured: dict, measurements: Sequence[dict], confidence: float) -> list[Comparison]:
    """Return one comparison a data set of a measured statistic with its bound, over seeds.

    Parameters
    ----------
    measured : ``{"proposition", "statistic"}`` and one of ``"above"`` and ``"below"``, the bound
    measurements : what was measured of propositions, one a data set and seed
    confidence : of the intervals
    """
    name, statistic = measured["proposition"], measured["statistic"]
    bound, sign = (measured["above"], 1.0) if "above" in measured else (measured["below"], -1.0)
    words = f"{statistic} of {name.replace('_', ' ')}".replace("_", " ")
    text = f"{bound:g} − {words}" if sign < 0 else f"{words} − {bound:g}" if bound else words
    groups = group_measurements(measurements, name)
    if not groups:
        return [compare_nothing(text, STATISTIC, None) | {"hole": "nothing measured"}]
    comparisons = []
    for dataset, seeds in groups.items():
        result = compare_nothing(f"{dataset}: {text}", STATISTIC, None)
        values = {seed: read_statistic(item, statistic) for seed, item in seeds.items()}
        holes = [seed for seed, value in values.items() if value is None]
        if holes:
            result |= {"hole": f"{len(holes)} of {len(values)} seeds; first: seed {holes[0]} has no finite {statistic}"}
        else:
            result |= bound_differences([sign * (value - bound) for value in values.values()], confidence, len(groups))
        comparisons.append(result)
    return comparisons


def compare_nothing(label: str, metric: str, test_set: str | None) -> Comparison:
    """Return a comparison that has no values yet."""
    return Comparison(label=label, metric=metric, test_set=test_set, n=0, mean=None, low=None, high=None, corrected_high=None, hole=None)


def bound_differences(differences: Sequence[float], confidence: float, num_comparisons: int, least_sd: float = 0.0) -> dict:
    """Return the fields of a comparison that tell the mean of the differences and its bounds."""
    found = t_interval(differences, confidence, least_sd)
    corrected = t_interval(differences, 1 - (1 - confidence) / num_comparisons, least_sd)
    return {"n": found.n, "mean": found.mean, "low": found.low, "high": found.high, "corrected_high": corrected.high}


def decide(comparisons: Sequence[Comparison], unavailable: str | None, not_compared: Sequence[str]) -> Verdict:
    """Return the verdict on a claim that all of its comparisons hold.

    Each comparison is a mean of paired differences over seeds, positive where the claim holds, with a Student-t interval whose
    standard deviation is no smaller than the resolution of the test set (see ``compare_runs``).

    - *supported*: every comparison is complete and its interval lies above 0. Asking this of all of them is an
      intersection–union test, which needs no correction.
    - *contradicted*: at least one complete comparison's interval lies below 0 after Bonferroni correction over all of the
      claim's comparisons: the more of them there are, the likelier one is negative by chance.
    - *undecided*: everything else: something the claim needs is not built (``unavailable``: nothing can be compared;
      ``not_compared``: what is compared may contradict the claim, but cannot support it), runs are missing or failed, there are
      fewer than two seeds, or intervals contain 0. The reason is told.

    A claim without comparisons was *not asked*: the scale leaves out the data, models or tables that would be compared.
    """
    total = len(comparisons)
    if unavailable is not None:
        return Verdict(UNDECIDED, unavailable)
    if not comparisons:
        return Verdict(NOT_ASKED, "nothing to compare at this scale")
    tested = [comparison for comparison in comparisons if comparison["low"] is not None]
    below = sum(comparison["corrected_high"] < 0 for comparison in tested)
    if below:
        return Verdict(CONTRADICTED, f"{below} of {total} intervals lie below 0, corrected for {total} comparisons")
    holes = [comparison["hole"] for comparison in comparisons if comparison["hole"] is not None]
    if holes:
        return Verdict(UNDECIDED, f"{len(holes)} of {total} comparisons are incomplete ({holes[0]})")
    if len(tested) < total:
        return Verdict(UNDECIDED, f"{total - len(tested)} of {total} comparisons have fewer than 2 seeds")
    if not_compared:
        return Verdict(UNDECIDED, f"not built yet, so not compared: {', '.join(not_compared)}")
    above = sum(comparison["low"] > 0 for comparison in tested)
    if above == total:
        return Verdict(SUPPORTED, f"{above} of {total} intervals lie above 0")
    uncorrected = sum(comparison["high"] < 0 for comparison in tested)
    parts = [f"{total - above - uncorrected} of {total} intervals contain 0"]
    if uncorrected:
        parts.append(f"{uncorrected} below 0, but not once corrected for {total} comparisons")
    if above:
        parts.append(f"{above} above 0")
    return Verdict(UNDECIDED, "; ".join(parts))


def find_worst(comparisons: Sequence[Comparison]) -> int | None:
    """Return the position of the comparison that speaks most against the claim: the lowest mean in units of its half-width."""

    def strength(position: int) -> float:
        comparison = comparisons[position]
        return comparison["mean"] / max(comparison["high"] - comparison["mean"], 1e-12)

    tested = [position for position, comparison in enumerate(comparisons) if comparison["low"] is not None]
    return min(tested, key=strength, default=None)


def format_seeds(comparisons: Sequence[Comparison]) -> str:
    """Return the number of paired seeds, as a range if it differs."""
    return format_range(comparison["n"] for comparison in comparisons)


def format_comparison(comparison: Comparison) -> str:
    """Return the difference with its interval, in points, in the metric's own unit, or for costs as a ratio (above 1 = cheaper)."""
    if comparison["mean"] is None:
        return HOLE
    values = [comparison["mean"]] if comparison["low"] is None else [comparison["mean"], comparison["low"], comparison["high"]]
    texts = [format_difference(value, comparison["metric"]) for value in values]
    return texts[0] if len(texts) == 1 else f"{texts[0]} [{texts[1]}, {texts[2]}]"

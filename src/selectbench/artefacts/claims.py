"""Claims: a paper's sentence as paired comparisons over seeds, and the verdict that the statistical rule gives."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    BY_CONSTRUCTION,
    CONTRADICTED,
    IMPOSSIBLE,
    NO_HEADROOM,
    NOT_ASKED,
    SUPPORTED,
    UNDECIDED,
    Effect,
    Outcome,
    VerdictName,
    bound_mean,
    decide_every,
    decide_some,
    find_contradictions,
    find_level,
    find_p,
    find_seeds,
    is_negligible,
)
from selectbench.artefacts.formats import HOLE, format_difference, format_keep, format_range, format_ratio
from selectbench.artefacts.learning import find_dataset, find_idle
from selectbench.artefacts.measurements import Measurement, group_measurements, read_statistic
from selectbench.artefacts.specs import Author, ClaimSpec, ClaimsSpec, ComparisonSpec, MeasuredSpec, Scope
from selectbench.records.rows import Records

STATISTIC = "statistic"  # the metric of comparisons of a measured statistic with a bound
LEAST_SD = 1e-6  # of measured values: equal ones are not certain, as equal numbers of sample visits are
UNJUDGED = "wall time is shown and not judged: the runs of a row follow each other within seconds, so seeds are not independent timings"


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


class Verdict(NamedTuple):
    """A verdict and its reason.

    Parameters
    ----------
    verdict : on the claim
    why : in words
    seeds : number of seeds that would decide; None if it is decided, or if seeds alone do not decide
    """

    verdict: VerdictName
    why: str
    seeds: int | None = None


class KeepVerdict(TypedDict):
    """The verdict on a claim at one keep fraction.

    Parameters
    ----------
    keep : keep fraction
    verdict, why, seeds : as of a claim
    """

    keep: str
    verdict: VerdictName
    why: str
    seeds: int | None


class JudgedClaim(TypedDict):
    """A claim with its verdict.

    Parameters
    ----------
    id, statement, by, source, table : as specified
    verdict, why : on the claim
    seeds : number of seeds that would decide it, or None; verdicts of old versions lack it, as the next two
    by_keep : verdict at each keep fraction, where there are several
    means : mean differences over keep fractions, where there are several
    comparisons : that the verdict rests on
    worst : position of the comparison with the largest effect against the claim, or None
    n : number of paired seeds, a range if it differs
    """

    id: str
    statement: str
    by: Author
    source: str | None
    table: str | None
    verdict: VerdictName
    why: str
    seeds: NotRequired[int | None]
    by_keep: NotRequired[list[KeepVerdict]]
    means: NotRequired[list[Comparison]]
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
    return [judge_claim(claim, records, measurements, spec["confidence"]) for claim in spec["claims"]]


def judge_claim(claim: ClaimSpec, records: Records, measurements: Sequence[Measurement], confidence: float) -> JudgedClaim:
    """Return one claim with its verdict.

    Comparisons of a method whose agent did not learn are not asked, if the claim is about learning.
    """
    wanted = claim["comparisons"]
    datasets = [find_dataset(records, run) for item in wanted for run in item["better"][:1]]
    idle = find_idle(records, claim["learners"], datasets)
    asked = [item for item, dataset in zip(wanted, datasets, strict=True) if not {(item["method"], dataset)} & idle.keys()]
    if "measured" in claim:
        compared = compare_statistics(claim["measured"], measurements, confidence)
    else:
        compared = [compare(item, records, confidence) for item in asked]
    means = average_over_keeps(compared, confidence)
    notes = list(dict.fromkeys(idle.values())) if len(asked) < len(wanted) else []
    if notes and not asked:
        found = Verdict(NOT_ASKED, "; ".join(notes))
    else:
        found = decide(claim, compared, means, confidence)
        found = found._replace(why="; ".join([found.why, *(f"not asked of another data set or method: {note}" for note in notes)]))
    comparisons = [item.comparison for item in compared]
    return JudgedClaim(
        id=claim["id"],
        statement=claim["statement"],
        by=claim["by"],
        source=claim["source"],
        table=claim["table"],
        verdict=found.verdict,
        why=found.why,
        seeds=found.seeds,
        by_keep=judge_keeps(claim, compared, confidence),
        means=[item.comparison for item in means],
        comparisons=comparisons,
        worst=find_worst(comparisons),
        n=format_seeds(comparisons),
    )


def judge_keeps(claim: ClaimSpec, compared: Sequence[Compared], confidence: float) -> list[KeepVerdict]:
    """Return the verdict at every keep fraction, each judged alone; none if there are fewer than two."""
    keeps = list_keeps(compared)
    verdicts = []
    for keep in keeps if len(keeps) > 1 else []:
        here = [item for item in compared if item.comparison.get("keep") == keep]
        found = decide({**claim, "scope": "every"}, here, [], confidence)
        verdicts.append(KeepVerdict(keep=keep, verdict=found.verdict, why=found.why, seeds=found.seeds))
    return verdicts


def list_keeps(compared: Iterable[Compared]) -> list[str]:
    """Return the keep fractions of comparisons, in their order."""
    return list(dict.fromkeys(keep for item in compared if (keep := item.comparison.get("keep")) is not None))


def compare(spec: ComparisonSpec, records: Records, confidence: float) -> Compared:
    """Return the paired difference of one comparison with its interval; a single missing or failed run leaves it empty.

    The comparison's ``allowance`` is added to every difference: what the better side may lose or, if negative, must win by.
    """
    metric, test_set = spec["metric"], spec["test_set"]
    runs = [*spec["better"], *spec["worse"], *spec.get("than_better", ()), *spec.get("than_worse", ())]
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
    effect = find_effect(list(differences.values()), least_sd, None if spec["allowance"] else spec.get("equivalence"))
    if metric in WALL_METRICS:
        spread = [min(differences.values()), max(differences.values())]
        timed = result | {"n": effect.n, "mean": effect.mean, "spread": spread}
        return Compared(timed, spec["panel"], pair, differences, effect, least_sd)
    shown = show_effect(result, effect, confidence)
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


def find_effect(differences: Sequence[float], least_sd: float, margin: float | None) -> Effect:
    """Return the mean of differences with their standard deviation, which is no smaller than the least one."""
    sd = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return Effect(float(np.mean(differences)), max(sd, least_sd), len(differences), margin)


def show_effect(comparison: Comparison, effect: Effect, confidence: float) -> Comparison:
    """Return a comparison with the mean of its differences, the bounds of this mean, and its outcome alone."""
    level = find_level(confidence)
    bounds = bound_mean(effect, confidence) or (None, None)
    outcome = decide_every([effect], [], level)
    seeds = find_seeds(lambda n: decide_every([effect._replace(n=n)], [], level)) if outcome == UNDECIDED and effect.n > 1 else None
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


def average_over_keeps(compared: Sequence[Compared], confidence: float) -> list[Compared]:
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
    return [mean for group in groups.values() if (mean := average(group, confidence)) is not None]


def average(group: Sequence[Compared], confidence: float) -> Compared | None:
    """Return the mean over comparisons of one pair of methods; None if one of them is a hole or they share no seed."""
    effects = [item.effect for item in group if item.effect is not None]
    seeds = sorted(set.intersection(*(set(item.differences) for item in group)))
    first = group[0]
    is_averaged = all(item.comparison.get("keep") is not None for item in group) and first.comparison["metric"] not in WALL_METRICS
    if len(effects) < len(group) or not seeds or not is_averaged:
        return None
    differences = {seed: float(np.mean([item.differences[seed] for item in group])) for seed in seeds}
    least_sd = math.sqrt(sum(item.least_sd**2 for item in group)) / len(group)
    effect = find_effect(list(differences.values()), least_sd, effects[0].margin)
    keeps = [format_keep(keep) for item in group if (keep := item.comparison.get("keep")) is not None]
    label = first.comparison["label"].replace(f" at {keeps[0]}", "") + f", mean over {', '.join(keeps)}"
    blank = compare_nothing(label, first.comparison["metric"], first.comparison["test_set"])
    blank |= {"keep": None, "against": first.comparison.get("against"), "allowance": first.comparison.get("allowance", 0.0)}
    return Compared(show_effect(blank, effect, confidence), first.panel, first.pair, differences, effect, least_sd)


def compare_statistics(measured: MeasuredSpec, measurements: Sequence[Measurement], confidence: float) -> list[Compared]:
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
        return [Compared(compare_nothing(text, STATISTIC, None) | {"hole": "nothing was measured"}, "", (name,))]
    comparisons = []
    for dataset, seeds in groups.items():
        result = compare_nothing(f"{dataset}: {text}", STATISTIC, None)
        values = {seed: read_statistic(item, statistic) for seed, item in seeds.items()}
        holes = [seed for seed, value in values.items() if value is None]
        differences = {seed: sign * (value - bound) for seed, value in values.items() if value is not None}
        if holes:
            lack = f"{len(holes)} of {len(values)} seeds {'has' if len(holes) == 1 else 'have'} no finite {statistic}"
            comparisons.append(Compared(result | {"hole": f"{lack}; first: seed {holes[0]}"}, dataset, (name,)))
        else:
            effect = find_effect(list(differences.values()), LEAST_SD, None)
            shown = show_effect(result, effect, confidence)
            comparisons.append(Compared(shown, dataset, (name,), differences, effect, LEAST_SD))
    return comparisons


def compare_nothing(label: str, metric: str, test_set: str | None) -> Comparison:
    """Return a comparison that has no values yet."""
    found = Comparison(label=label, metric=metric, test_set=test_set, n=0, mean=None, low=None, high=None, hole=None)
    return found | {"keep": None, "outcome": None, "seeds": None}


def decide(claim: ClaimSpec, compared: Sequence[Compared], means: Sequence[Compared], confidence: float) -> Verdict:
    """Return the verdict on a claim; ``decisions`` has the statistical rule.

    In this order:

    - *undecided*, if what the claim is about is not built (``unavailable``);
    - *not asked*, if the scale leaves out the data, models or tables that would be compared, or the claim is about wall time;
    - *impossible at this scale*, if the number of sample visits that training is bound to make rules the claim out;
    - *contradicted*, by at least one comparison, or mean over keep fractions, after correction for their number;
    - *holds by construction*, if the configuration says why it must;
    - *undecided*, if runs are missing or failed, there are fewer than two seeds, or a method to compare with is not built;
    - *not asked*, if the methods to compare with leave no headroom;
    - *supported*, *equivalent* or *undecided*, the last with the number of seeds that would decide.
    """
    level = find_level(confidence)
    if claim["unavailable"] is not None:
        return Verdict(UNDECIDED, claim["unavailable"])
    if not compared:
        return Verdict(NOT_ASKED, "nothing to compare at this scale")
    if all(item.comparison["metric"] in WALL_METRICS for item in compared):
        return Verdict(NOT_ASKED, UNJUDGED)
    impossible = [item for item in compared if item.comparison.get("outcome") == IMPOSSIBLE]
    is_ruled_out = is_impossible_everywhere(compared) if claim["scope"] == "best" else bool(impossible)
    if is_ruled_out:
        share = tell_share(len(impossible), len(compared), "comparison", "cannot come out as claimed", "cannot come out as claimed")
        return Verdict(IMPOSSIBLE, f"{share}: training alone visits more samples than the claim allows, in every seed")
    tested = [item for item in compared if item.effect is not None and item.effect.n > 1]
    judge = follow_best(tested, level) if claim["scope"] == "best" else follow_every(tested, means, level)
    found = judge(None)
    if found == CONTRADICTED and (claim["scope"] == "every" or len(tested) == len(compared)):
        return Verdict(CONTRADICTED, explain_contradiction(claim["scope"], tested, means, level))
    if claim["construction"] is not None:
        return Verdict(BY_CONSTRUCTION, claim["construction"])
    if lack := explain_lack(claim, compared, tested):
        return Verdict(UNDECIDED, lack)
    asked = [item for item in compared if item.comparison.get("outcome") != NO_HEADROOM]
    if not asked:
        return Verdict(NOT_ASKED, "no headroom: what is compared with is so close to 100 % that a difference that counts cannot exist")
    named = "; no headroom in others" if len(asked) < len(compared) else ""
    if claim["scope"] == "best":
        return explain_best(found, judge, asked, level)
    why = explain_intervals(means or asked, bool(means), level) + named
    if found != UNDECIDED:
        return Verdict(found, why)
    seeds = find_seeds(judge)
    return Verdict(UNDECIDED, f"{why}; {tell_seeds(seeds)}", seeds)


def follow_every(tested: Sequence[Compared], means: Sequence[Compared], level: float) -> Callable[[int | None], VerdictName]:
    """Return the rule for comparisons that must all hold, as a function of the number of seeds; None means those that there are."""
    single, averaged = list_effects(tested), list_effects(means)
    return lambda n: decide_every([resize(effect, n) for effect in single], [resize(effect, n) for effect in averaged], level)


def follow_best(tested: Sequence[Compared], level: float) -> Callable[[int | None], VerdictName]:
    """Return the rule for comparisons that must hold together at the best keep fraction, as ``follow_every`` does."""
    panels = group_panels(tested)
    return lambda n: decide_some([[[resize(effect, n) for effect in keep] for keep in panel] for panel in panels], level)


def resize(effect: Effect, n: int | None) -> Effect:
    """Return an effect as it would be with another number of seeds; None leaves it as it is."""
    return effect if n is None else effect._replace(n=n)


def list_effects(compared: Iterable[Compared]) -> list[Effect]:
    """Return the effects that a verdict rests on: those of comparisons with headroom."""
    return [item.effect for item in compared if item.effect is not None and item.comparison.get("outcome") != NO_HEADROOM]


def group_panels(compared: Iterable[Compared]) -> list[list[list[Effect]]]:
    """Return, per panel and keep fraction, the effects that must hold together."""
    panels: dict[str, dict[str | None, list[Effect]]] = {}
    for item in compared:
        if item.effect is not None:
            panels.setdefault(item.panel, {}).setdefault(item.comparison.get("keep"), []).append(item.effect)
    return [list(keeps.values()) for keeps in panels.values()]


def is_impossible_everywhere(compared: Iterable[Compared]) -> bool:
    """Tell whether, in some panel, every keep fraction has an impossible comparison."""
    panels: dict[str, dict[str | None, bool]] = {}
    for item in compared:
        keeps = panels.setdefault(item.panel, {})
        keep = item.comparison.get("keep")
        keeps[keep] = keeps.get(keep, False) or item.comparison.get("outcome") == IMPOSSIBLE
    return any(all(keeps.values()) for keeps in panels.values())


def explain_lack(claim: ClaimSpec, compared: Sequence[Compared], tested: Sequence[Compared]) -> str | None:
    """Return what is missing for a decision other than a contradiction; None if nothing is."""
    total = len(compared)
    holes = [item.comparison["hole"] for item in compared if item.comparison["hole"] is not None]
    if holes:
        return f"{tell_share(len(holes), total, 'comparison', 'is incomplete', 'are incomplete')} ({holes[0]})"
    if len(tested) < total:
        return tell_share(total - len(tested), total, "comparison", "has fewer than 2 seeds", "have fewer than 2 seeds")
    return f"not built yet, so not compared: {', '.join(claim['not_compared'])}" if claim["not_compared"] else None


def explain_contradiction(scope: Scope, tested: Sequence[Compared], means: Sequence[Compared], level: float) -> str:
    """Return how many comparisons, or means over keep fractions, contradict a claim."""
    if scope == "best":
        return "at every keep fraction, something that the claim needs lies on the other side after correction"
    _, _, lower = name_sides(tested)
    parts = []
    share = level / 2 if means else level
    for noun, effects in (("interval", list_effects(tested)), ("mean over keep fractions", list_effects(means))):
        below, total = len(find_contradictions(effects, share)), len(effects)
        if below:
            correction = f" after correction for {total} of them" if total > 1 else ""
            nouns = "means over keep fractions" if noun.startswith("mean") else "intervals"
            parts.append(tell_share(below, total, noun, f"lies {lower}", f"lie {lower}", nouns) + correction)
    return "; ".join(parts)


def explain_intervals(asked: Sequence[Compared], are_means: bool, level: float) -> str:
    """Return where the intervals of the comparisons, or of the means over keep fractions, lie."""
    zero, upper, lower = name_sides(asked)
    effects = list_effects(asked)
    above = sum(find_p(effect) <= level for effect in effects)
    within = sum(find_p(effect) > level and is_negligible(effect, level) for effect in effects)
    below = sum(find_p(effect._replace(mean=-effect.mean)) <= level and not is_negligible(effect, level) for effect in effects)
    total = len(effects)
    counts = [
        (total - above - within - below, "contain", zero),
        (below, "lie", f"{lower}, but not after correction"),
        (within, "lie", "within the margin of equivalence"),
        (above, "lie", upper),
    ]
    (first, verb, place), *others = [part for part in counts if part[0]]
    noun, nouns = ("mean over keep fractions", "means over keep fractions") if are_means else ("interval", "intervals")
    parts = [tell_share(first, total, noun, f"{verb}s {place}", f"{verb} {place}", nouns)]
    parts += [f"{count} {verb if count > 1 else f'{verb}s'} {place}" for count, verb, place in others]
    return "; ".join(parts)


def explain_best(found: VerdictName, judge: Callable[[int | None], VerdictName], asked: Sequence[Compared], level: float) -> Verdict:
    """Return the verdict on a claim about the best keep fraction, with the keep fractions at which everything holds."""
    keeps = list_keeps(asked)
    held = []
    for keep in keeps:
        effects = [item.effect for item in asked if item.comparison.get("keep") == keep and item.effect is not None]
        if len(keeps) * max(find_p(effect) for effect in effects) <= level:
            held.append(format_keep(keep))
    if found == SUPPORTED:
        return Verdict(SUPPORTED, f"everything holds at {', '.join(held)} kept, after correction for {len(keeps)} keep fractions")
    seeds = find_seeds(judge)
    return Verdict(UNDECIDED, f"at no keep fraction does everything lie on one side after correction; {tell_seeds(seeds)}", seeds)


def tell_seeds(seeds: int | None) -> str:
    """Return ``"n ≈ 14 seeds would decide"``, or that no number looked for would."""
    return "more than 1,000 seeds would be needed" if seeds is None else f"n ≈ {seeds} seeds would decide"


def name_sides(compared: Iterable[Compared]) -> tuple[str, str, str]:
    """Return what intervals contain, and on which side they favour a claim or not; a ratio below 1 is a saving."""
    if not all(item.comparison["metric"] in COST_METRICS for item in compared):
        return "0", "above 0", "below 0"
    ratio = "what is claimed" if any(item.comparison.get("allowance") for item in compared) else "1×"
    return ratio, f"below {ratio}", f"at or above {ratio}"


def tell_share(count: int, total: int, noun: str, one: str, several: str, nouns: str = "") -> str:
    """Return ``"the interval …"``, ``"both intervals …"``, ``"all 5 intervals …"`` or ``"1 of 5 intervals …"`` with the fitting verb."""
    if total == 1:
        return f"the {noun} {one}"
    share = f"{count} of {total}" if count < total else "both" if total == 2 else f"all {total}"
    return f"{share} {nouns or f'{noun}s'} {one if count == 1 else several}"


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

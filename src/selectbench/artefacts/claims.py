"""Claims: a paper's sentence as paired comparisons over seeds, and the verdict that the statistical rule gives."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, NotRequired, TypedDict

from selectbench.artefacts.cells import COST_METRICS, WALL_METRICS
from selectbench.artefacts.comparisons import (
    Compared,
    Comparison,
    average_over_keeps,
    compare,
    compare_statistics,
    find_worst,
    format_comparison,
    format_seeds,
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
    Rule,
    VerdictName,
    decide_every,
    decide_some,
    find_contradictions,
    find_p,
    find_seeds,
    flip,
    is_negligible,
)
from selectbench.artefacts.formats import format_keep
from selectbench.artefacts.learning import find_dataset, find_idle
from selectbench.artefacts.measurements import Measurement
from selectbench.artefacts.specs import Author, ClaimSpec, ClaimsSpec, ComparisonSpec, Scope
from selectbench.records.rows import Records

UNJUDGED = "wall time is shown and not judged: the runs of a row follow each other within seconds, so seeds are not independent timings"


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
    rule = Rule(spec["confidence"], tuple(spec.get("looks", ())))
    return [judge_claim(claim, records, measurements, rule) for claim in spec["claims"]]


def judge_claim(claim: ClaimSpec, records: Records, measurements: Sequence[Measurement], rule: Rule) -> JudgedClaim:
    """Return one claim with its verdict.

    Comparisons of a method whose agent did not learn are not asked, if the claim is about learning; nor are those of a panel where what
    the claim presumes is not shown.
    """
    asked, notes = list_asked(claim, records, rule)
    if "measured" in claim:
        compared = compare_statistics(claim["measured"], measurements, rule)
    else:
        compared = [compare(item, records, rule) for item in asked]
    means = average_over_keeps(compared, rule)
    if notes and not asked:
        found = Verdict(NOT_ASKED, "; ".join(notes))
    else:
        found = decide(claim, compared, means, rule.level)
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
        by_keep=judge_keeps(claim, compared, rule),
        means=[item.comparison for item in means],
        comparisons=comparisons,
        worst=find_worst(comparisons),
        n=format_seeds(comparisons),
    )


def list_asked(claim: ClaimSpec, records: Records, rule: Rule) -> tuple[list[ComparisonSpec], list[str]]:
    """Return the comparisons that a claim is asked of, and why not of the others: an agent did not learn, or a presumption is not shown."""
    wanted = claim["comparisons"]
    datasets = [find_dataset(records, run) for item in wanted for run in item["better"][:1]]
    idle = find_idle(records, claim["learners"], datasets)
    vain = find_vain(claim, records, rule)
    asked = [
        item for item, dataset in zip(wanted, datasets, strict=True) if (item["method"], dataset) not in idle and item["panel"] not in vain
    ]
    return asked, list(dict.fromkeys([*idle.values(), *vain.values()])) if len(asked) < len(wanted) else []


def find_vain(claim: ClaimSpec, records: Records, rule: Rule) -> dict[str, str]:
    """Return panel → note, for panels where something that the claim presumes is compared and not shown to hold."""
    compared = [compare(item, records, rule) for item in claim.get("provided", ())]
    return {
        item.panel: f"{item.comparison['label']} is not shown to be better: {format_comparison(item.comparison)}"
        for item in compared
        if item.effect is not None and find_p(item.effect) > rule.level
    }


def list_open(claim: ClaimSpec, records: Records, rule: Rule) -> list[ComparisonSpec]:
    """Return the comparisons that keep a claim undecided: those that are neither shown to hold nor to be negligible.

    If a claim is judged by means over keep fractions, these are all comparisons of such a mean; if it is about the best keep fraction,
    those at the fraction that comes closest in each panel.
    """
    asked, _ = list_asked(claim, records, rule)
    compared = [compare(item, records, rule) for item in asked]
    if claim["scope"] == "best":
        closest = {panel: min(keeps, key=lambda keep: max(map(find_p, keeps[keep]))) for panel, keeps in group_panels(compared).items()}
        near = [item.comparison.get("keep") == closest.get(item.panel) for item in compared]
        return [spec for spec, item, is_near in zip(asked, compared, near, strict=True) if is_near and not is_shown(item, rule.level)]
    means = average_over_keeps(compared, rule)
    shown = {(item.panel, *item.pair): is_shown(item, rule.level) for item in means}
    return [
        spec
        for spec, item in zip(asked, compared, strict=True)
        if not shown.get((item.panel, *item.pair), not means and is_shown(item, rule.level))
    ]


def is_shown(item: Compared, level: float) -> bool:
    """Tell whether a difference is shown to be above 0, or to be negligible."""
    return item.effect is not None and (find_p(item.effect) <= level or is_negligible(item.effect, level))


def judge_keeps(claim: ClaimSpec, compared: Sequence[Compared], rule: Rule) -> list[KeepVerdict]:
    """Return the verdict at every keep fraction, each judged alone; none if there are fewer than two."""
    keeps = list_keeps(compared)
    verdicts = []
    for keep in keeps if len(keeps) > 1 else []:
        here = [item for item in compared if item.comparison.get("keep") == keep]
        found = decide({**claim, "scope": "every"}, here, [], rule.level)
        verdicts.append(KeepVerdict(keep=keep, verdict=found.verdict, why=found.why, seeds=found.seeds))
    return verdicts


def list_keeps(compared: Iterable[Compared]) -> list[str]:
    """Return the keep fractions of comparisons, in their order."""
    return list(dict.fromkeys(keep for item in compared if (keep := item.comparison.get("keep")) is not None))


def decide(claim: ClaimSpec, compared: Sequence[Compared], means: Sequence[Compared], level: float) -> Verdict:
    """Return the verdict on a claim; ``decisions`` has the statistical rule.

    In this order:

    - *undecided*, if what the claim is about is not built (``unavailable``);
    - *not asked*, if the scale leaves out the data, models or tables that would be compared, or the claim is about wall time;
    - *impossible at this scale*, if the number of sample visits that training is bound to make rules the claim out;
    - *contradicted*, by at least one comparison, or mean over keep fractions, after correction for their number;
    - *holds by construction*, if the configuration says why it must;
    - *undecided*, if runs are missing or failed, there are fewer than two seeds, or a method to compare with is not built;
    - *not asked*, if the methods to compare with leave no headroom;
    - *supported*, *equivalent* or *undecided*, the last with the number of seeds that would decide; or *undecided*, if there are too few
      seeds for methods whose results depend on the arithmetic.
    """
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
    if found == UNDECIDED and (lack := explain_few(asked)):
        seeds = find_seeds(judge)
        return Verdict(UNDECIDED, f"{lack}; {tell_seeds(seeds)}", seeds)
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
    return lambda n: decide_some([[[resize(effect, n) for effect in keep] for keep in panel.values()] for panel in panels.values()], level)


def resize(effect: Effect, n: int | None) -> Effect:
    """Return an effect as it would be with another number of seeds; None leaves it as it is."""
    return effect if n is None else effect._replace(n=n)


def list_effects(compared: Iterable[Compared]) -> list[Effect]:
    """Return the effects that a verdict rests on: those of comparisons with headroom."""
    return [item.effect for item in compared if item.effect is not None and item.comparison.get("outcome") != NO_HEADROOM]


def group_panels(compared: Iterable[Compared]) -> dict[str, dict[str | None, list[Effect]]]:
    """Return panel → keep fraction → the effects that must hold together."""
    panels: dict[str, dict[str | None, list[Effect]]] = {}
    for item in compared:
        if item.effect is not None:
            panels.setdefault(item.panel, {}).setdefault(item.comparison.get("keep"), []).append(item.effect)
    return panels


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


def explain_few(asked: Sequence[Compared]) -> str | None:
    """Return that seeds are too few for methods whose results depend on the arithmetic; None if they are not."""
    few = [item.effect for item in asked if item.effect is not None and item.effect.n < item.effect.least]
    if not few:
        return None
    seeds = f"fewer than the {few[0].least} seeds"
    share = tell_share(len(few), len(asked), "comparison", f"has {seeds}", f"have {seeds}")
    return f"{share} that methods need whose results another arithmetic changes"


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
    below = sum(find_p(flip(effect)) <= level and not is_negligible(effect, level) for effect in effects)
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

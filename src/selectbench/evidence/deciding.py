"""Seeds where they decide: the comparisons that keep a claim undecided are given twice as many, the cheapest claims first.

How looking again keeps the error rate stands in ``selectbench.artefacts.decisions``: any rule of stopping and adding will do.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from selectbench.artefacts.claims import JudgedClaim, judge_claims, list_open
from selectbench.artefacts.decisions import UNDECIDED, Rule
from selectbench.artefacts.measurements import Measurement
from selectbench.artefacts.specs import ClaimSpec, list_compared
from selectbench.errors import ConfigError, spell_count
from selectbench.evidence.compare import read_papers
from selectbench.planning.config import SEEDS, list_looks
from selectbench.planning.plan import Plan
from selectbench.planning.resolve import list_cells
from selectbench.records.files import write_text
from selectbench.records.records import read_record
from selectbench.records.rows import Row
from selectbench.stages.judge_claims import JudgeClaims

OVERHEAD = 1.5  # seconds of a round per second that its runs are expected to take: proxies, processes, artefacts


class Wish(NamedTuple):
    """The seeds that an undecided claim is given next.

    Parameters
    ----------
    name : ``<paper>/<claim>``
    needed : number of seeds that would decide at the observed effects; None if this is not known
    cells : folder of runs that differ in seed alone → number of seeds at the next look; of a claim that was measured, its name
        instead. Empty if there is no further look, or if runs failed, which seeds do not mend.
    """

    name: str
    needed: int | None
    cells: dict[str, int]


def judge_papers(plan: Plan, rows: Mapping[str, Mapping[str, Row]]) -> dict[str, list[JudgedClaim]]:
    """Return paper → its claims as judged from the records and measurements that there are."""
    judged = {}
    for paper in plan.config.papers:
        job = JudgeClaims(paper)
        measured = [Path(path) for path in job.list_input_paths(plan)["measurements"]]
        found = [cast(Measurement, read_record(path)) for path in measured if path.exists()]
        judged[paper] = judge_claims(job.specify(plan), rows[paper], found)
    return judged


def list_wishes(plan: Plan, rows: Mapping[str, Mapping[str, Row]], judged: Mapping[str, Sequence[JudgedClaim]]) -> list[Wish]:
    """Return what every undecided claim is given next."""
    looks = list_looks(plan.config.scale)
    wishes = []
    for paper, claims in judged.items():
        rule = Rule(JudgeClaims(paper).specify(plan)["confidence"], tuple(looks))
        for spec, claim in zip(plan.claims[paper], claims, strict=True):
            if claim["verdict"] == UNDECIDED:
                name = f"{paper}/{claim['id']}"
                cells = [name] if "measured" in spec else list_cells(list_open_runs(spec, rows[paper], rule))
                holes = [item for item in claim["comparisons"] if item["hole"] is not None]
                wishes.append(Wish(name, claim.get("seeds"), {} if holes else look_further(plan, looks, cells)))
    return wishes


def list_open_runs(spec: ClaimSpec, rows: Mapping[str, Row], rule: Rule) -> list[str]:
    """Return the ids of the runs whose comparisons keep a claim undecided."""
    return [run for item in list_open(spec, rows, rule) for run in list_compared(item)]


def look_further(plan: Plan, looks: Sequence[int], cells: Iterable[str]) -> dict[str, int]:
    """Return folder of runs → number of seeds at the first look that not all of them have reached; empty after the last look."""
    reached = {cell: count_seeds(plan, cell) for cell in cells}
    further = next((number for number in looks if number > min(reached.values(), default=looks[-1])), 0)
    return {cell: further for cell, number in reached.items() if number < further}


def count_seeds(plan: Plan, cell: str) -> int:
    """Return the number of seeds of the runs in a folder."""
    return plan.config.added.get(cell, len(plan.config.scale["seeds"]))


def measure_seconds(rows: Iterable[Row]) -> dict[str, float]:
    """Return folder of runs that differ in seed alone → mean seconds of selection, training and evaluation per run."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == "ok":
            selection, evaluation = row["selection"], row.get("evaluation")
            tested = evaluation["wall_s"] if evaluation else None
            spent = row["training"]["wall_s"] + selection["score_s"] + selection["select_s"] + (tested or 0.0)
            seconds.setdefault(row["run"]["id"].rpartition("/")[0], []).append(spent)
    return {cell: sum(found) / len(found) for cell, found in seconds.items()}


def count_added(plan: Plan, cells: Mapping[str, int]) -> dict[str, int]:
    """Return folder of runs → number of runs that seeds up to a number add to those of the plan."""
    return {cell: max(0, number - count_seeds(plan, cell)) for cell, number in cells.items()}


def choose_wishes(plan: Plan, wishes: Iterable[Wish], seconds: Mapping[str, float], limit: float) -> tuple[list[Wish], dict[str, int]]:
    """Return the wishes that fit into a time, and folder of runs → number of seeds for all of them together.

    Claims that the most seeds would decide at the observed effects come first, then the others; among them the cheapest. Runs that
    several claims wish for count once.

    Parameters
    ----------
    seconds : folder of runs → expected seconds per run
    limit : on the sum of these seconds
    """
    most = list_looks(plan.config.scale)[-1]

    def expect(cells: Mapping[str, int], given: Mapping[str, int]) -> float:
        more = count_added(plan, cells)
        return sum(seconds.get(cell, 0.0) * max(0, more[cell] - count_added(plan, given).get(cell, 0)) for cell in cells)

    chosen: list[Wish] = []
    given: dict[str, int] = {}
    waiting = [wish for wish in wishes if wish.cells]
    while waiting:
        waiting.sort(key=lambda wish: (wish.needed is None or wish.needed > most, expect(wish.cells, given), wish.name))
        wish = waiting.pop(0)
        cost = expect(wish.cells, given)
        if cost <= limit:
            limit -= cost
            chosen.append(wish)
            given |= {cell: max(number, given.get(cell, 0)) for cell, number in wish.cells.items()}
    return chosen, given


def write_seeds(root: Path, plan: Plan, given: Mapping[str, int]) -> None:
    """Add seeds to ``config/seeds/<scale>.yaml``; no run ever has fewer than before."""
    numbers = dict(plan.config.added) | {cell: max(number, count_seeds(plan, cell)) for cell, number in given.items()}
    heading = f"# Runs with more seeds than all have, written by `selectbench decide --scale {plan.scale}`.\n"
    lines = [f"{cell}: {number}\n" for cell, number in sorted(numbers.items())]
    path = root / SEEDS / f"{plan.scale}.yaml"
    path.parent.mkdir(exist_ok=True)
    write_text(path, heading + "".join(lines))


def decide_next(root: Path, plan: Plan, limit: float) -> bool:
    """Print the undecided claims and what they are given next, and add these seeds to the configuration as far as they fit into a time.

    Parameters
    ----------
    root : the project's folder
    plan : of a scale whose runs are finished
    limit : seconds on one core

    Returns
    -------
    Whether seeds were added.

    Raises
    ------
    ConfigError
        The scale adds no seeds, or a paper's records are not collected yet.
    """
    if not list_looks(plan.config.scale):
        raise ConfigError(f"config/scale/{plan.scale}.yaml: the key 'decide' is missing, so this scale adds no seeds")
    rows = read_papers(plan, Path(plan.layout.root))
    judged = judge_papers(plan, rows)
    seconds = measure_seconds(row for found in rows.values() for row in found.values())
    wishes = list_wishes(plan, rows, judged)
    chosen, given = choose_wishes(plan, wishes, seconds, limit / OVERHEAD)
    num_claims = sum(map(len, judged.values()))
    print(f"{len(wishes)} of {spell_count(num_claims, 'claim')} undecided at scale {plan.scale}")
    for wish in wishes:
        print(f"  {wish.name}: {describe_wish(plan, wish, seconds)}{' – chosen' if wish in chosen else ''}")
    if chosen:
        write_seeds(root, plan, given)
        print(f"{SEEDS}/{plan.scale}.yaml: {spell_count(sum(count_added(plan, given).values()), 'run')} added")
    return bool(chosen)


def describe_wish(plan: Plan, wish: Wish, seconds: Mapping[str, float]) -> str:
    """Return what would decide a claim and what it is given next: ``"n ≈ 7; 10 seeds next, 50 runs in 75 s"``."""
    needed = "" if wish.needed is None else f"n ≈ {wish.needed}; "
    if not wish.cells:
        return f"{needed}no further seeds"
    more = count_added(plan, wish.cells)
    spent = sum(number * seconds.get(cell, 0.0) for cell, number in more.items())
    runs = "measured again" if "/keep-" not in next(iter(wish.cells)) else f"{spell_count(sum(more.values()), 'run')} in {spent:.0f} s"
    return f"{needed}{max(wish.cells.values())} seeds next, {runs}"

"""Two whole results of one scale side by side: how far machines differ, beside how far seeds differ, and which verdicts change."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selectbench.artefacts.decisions import CONTRADICTED, SUPPORTED
from selectbench.errors import ConfigError, spell_count
from selectbench.evidence.remake import Group, find_difference, find_group, pool_spread, read_top1
from selectbench.planning.plan import Plan
from selectbench.records.files import read_sealed
from selectbench.records.records import COLLECTION, read_records
from selectbench.stages.judge_claims import JudgeClaims

if TYPE_CHECKING:
    from selectbench.records.rows import Records, Row

DECIDED = (SUPPORTED, CONTRADICTED)


class Spread(NamedTuple):
    """How far the accuracies of runs differ, in points.

    Parameters
    ----------
    runs : that both results have
    seeds : standard deviation between the seeds of a method
    machines : standard deviation between the two results of a run
    largest : difference between the two results of a run
    """

    runs: int
    seeds: float
    machines: float
    largest: float


def describe_comparison(plan: Plan, other: Path) -> Iterator[str]:
    """Yield lines that compare the results of a scale with those in another folder.

    Parameters
    ----------
    plan : of the scale
    other : the other folder of results, with one subfolder per scale

    Raises
    ------
    ConfigError
        The other folder has no results of a paper.
    """
    ours, theirs = (gather_rows(plan, Path(root)) for root in (plan.layout.root, other))
    shared = sorted(ours.keys() & theirs.keys())
    differing = [run for run in shared if find_difference(ours[run], theirs[run]) is not None]
    changed = [run for run in shared if ours[run]["status"] != theirs[run]["status"]]
    yield f"{spell_count(len(shared), 'run')} compared: {len(shared) - len(differing)} equal bit for bit, {len(differing)} differ"
    yield f"finished in one and failed in the other: {len(changed)}{f', first {changed[0]}' if changed else ''}"
    for dataset, spread in measure_spreads(ours, theirs).items():
        yield (
            f"{dataset}: standard deviation of accuracy between seeds {spread.seeds:.2f} points, between machines {spread.machines:.2f}, "
            f"largest difference {spread.largest:.1f} ({spell_count(spread.runs, 'run')})"
        )
    for method, (sd, runs) in measure_methods(ours, theirs).items():
        yield f"{method}: standard deviation between machines {sd:.1f} points ({spell_count(runs, 'run')})"
    decided = changes = reversals = 0
    for paper in plan.config.papers:
        verdicts, others = (read_verdicts(plan, paper, Path(root)) for root in (plan.layout.root, other))
        for claim, verdict in verdicts.items():
            found = others.get(claim)
            decided += verdict in DECIDED
            if found != verdict:
                changes += 1
                reversals += verdict in DECIDED and found in DECIDED
                yield f"{paper}/{claim}: {verdict} here, {found} there"
    verb = "differs" if changes == 1 else "differ"
    yield f"{spell_count(decided, 'decided claim')} here: {reversals} reversed there; {spell_count(changes, 'verdict')} {verb} in all"


def gather_rows(plan: Plan, root: Path) -> "dict[str, Row]":
    """Return the collected rows of all papers of a scale in a results folder."""
    return {run: row for rows in read_papers(plan, root).values() for run, row in rows.items()}


def read_papers(plan: Plan, root: Path) -> "dict[str, dict[str, Row]]":
    """Return paper → run id → collected row, of a scale in a results folder.

    Raises
    ------
    ConfigError
        A paper's records are not collected yet.
    """
    papers: dict[str, dict[str, Row]] = {}
    for paper in plan.config.papers:
        path = root / plan.scale / paper / COLLECTION
        if not path.exists():
            raise ConfigError(f"{path}: no such file; run `snakemake --cores 2 --config scale={plan.scale} results={root}`")
        papers[paper] = read_records(path)
    return papers


def read_verdicts(plan: Plan, paper: str, root: Path) -> dict[str, str]:
    """Return claim → verdict of a paper in a results folder."""
    path = root / Path(JudgeClaims(paper).find_output(plan, "json")).relative_to(plan.layout.root)
    return {claim["id"]: claim["verdict"] for claim in read_sealed(path)["claims"]}


def measure_spreads(ours: "Records", theirs: "Records") -> dict[str, Spread]:
    """Return data set → how far seeds and machines differ there, pooled over targets, methods and keep fractions.

    Two results of one run differ by √2 times the standard deviation between machines.
    """
    spreads: dict[str, Spread] = {}
    for dataset in sorted({row["run"]["dataset"] for row in ours.values()}):
        here = {run: row for run, row in ours.items() if row["run"]["dataset"] == dataset}
        pairs = [(read_top1(row), read_top1(theirs[name])) for name, row in here.items() if name in theirs]
        differences = [abs(old - new) for old, new in pairs if old is not None and new is not None]
        if not differences:
            continue
        groups: dict[Group, list[Row]] = {}
        for row in here.values():
            groups.setdefault(find_group(row), []).append(row)
        pooled = [pool_spread(rows) for rows in groups.values()]
        freedom = sum(count for _, count in pooled)
        seeds = math.sqrt(sum(count * spread**2 for spread, count in pooled) / freedom) if freedom else 0.0
        machines = math.sqrt(sum(difference**2 for difference in differences) / (2 * len(differences)))
        spreads[dataset] = Spread(len(differences), seeds, machines, max(differences))
    return spreads


def measure_methods(ours: "Records", theirs: "Records") -> dict[str, tuple[float, int]]:
    """Return method → standard deviation of its accuracy between the two results, and its number of runs, where any differ."""
    differences: dict[str, list[float]] = {}
    for run in sorted(ours.keys() & theirs.keys()):
        old, new = read_top1(ours[run]), read_top1(theirs[run])
        if old is not None and new is not None:
            differences.setdefault(ours[run]["run"]["method"], []).append(old - new)
    squares = {method: (sum(value**2 for value in values), len(values)) for method, values in sorted(differences.items())}
    return {method: (math.sqrt(total / (2 * runs)), runs) for method, (total, runs) in squares.items() if total}

"""The verdict on a paper: its claims first, then how full its tables are, which methods lose to random, the costs, and the provenance."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict, TypeGuard

from selectbench.artefacts.cells import (
    COST_METRICS,
    FULL,
    Cell,
    Cost,
    Difference,
    explain_absences,
    find_absence,
    list_cells,
    read_reason,
)
from selectbench.artefacts.claims import JudgedClaim, judge_claims
from selectbench.artefacts.comparisons import format_comparison
from selectbench.artefacts.decisions import (
    BY_CONSTRUCTION,
    CONTRADICTED,
    EQUIVALENT,
    IMPOSSIBLE,
    NOT_ASKED,
    SUPPORTED,
    UNDECIDED,
    VerdictName,
)
from selectbench.artefacts.formats import BELOW_RANDOM, HOLE, escape_markdown, escape_paragraph, format_cost, format_keep, format_signed
from selectbench.artefacts.kinds import Table
from selectbench.artefacts.measurements import Measurement
from selectbench.artefacts.specs import Author, ClaimsSpec, Titled
from selectbench.errors import RecordError, spell_count
from selectbench.records.rows import Records, Row

if TYPE_CHECKING:
    from selectbench.artefacts.tables import AnyCell  # which would import pandas

AUTHORS: Mapping[Author, str] = {"paper": "claimed by the paper", "field": "added by this benchmark"}
SYMBOLS: Mapping[VerdictName, str] = {
    SUPPORTED: "✓",
    CONTRADICTED: "✗",
    EQUIVALENT: "≈",
    UNDECIDED: "?",
    IMPOSSIBLE: "∅",
    BY_CONSTRUCTION: "≡",
    NOT_ASKED: "–",
}
ALWAYS_COUNTED = (SUPPORTED, CONTRADICTED, UNDECIDED)


class TableCount(TypedDict):
    """How full a table is.

    Parameters
    ----------
    id, title : of the table
    cells, filled, holes : number of cells, of those with all their runs, and of the others
    planned : titles of rows that are not built yet
    absent : panels that this scale does not have, each with the reason
    reproduced, off : cells that agree with the reported value, and that do not
    """

    id: str
    title: str
    cells: int
    filled: int
    holes: int
    planned: list[str]
    absent: list[str]
    reproduced: int
    off: int


class LossColumn(Difference):
    """Where a method is worse than uniform random, and by how much.

    Parameters
    ----------
    column : title of the column
    metric : of the table
    """

    column: str
    metric: str


class Loss(TypedDict):
    """A method that is worse than uniform random.

    Parameters
    ----------
    table, panel, method : titles
    columns : where
    """

    table: str
    panel: str
    method: str
    columns: list[LossColumn]


class CostRow(TypedDict):
    """The costs of a method.

    Parameters
    ----------
    title : of the method
    cells : keep fraction → cost; None without a full-data run of the same seed
    """

    title: str
    cells: dict[str, Cost | None]


class CostTable(TypedDict):
    """The costs of the methods of one panel.

    Parameters
    ----------
    table, panel : titles
    columns : keep fractions
    rows : one per method
    """

    table: str
    panel: str
    columns: list[Titled]
    rows: list[CostRow]


class FailureCount(TypedDict):
    """A reason for failures.

    Parameters
    ----------
    reason : in words
    runs : how many failed for it
    """

    reason: str
    runs: int


class ProvenanceSummary(TypedDict):
    """Where a paper's records come from.

    Parameters
    ----------
    runs, failed : number of records, and of failed runs among them
    failures : reasons, most frequent first
    seeds, commits, versions, devices, processors, code : all that took part, sorted; older verdicts lack the processors
    training_s, evaluation_s : seconds over all runs; older verdicts lack them
    """

    runs: int
    failed: int
    failures: list[FailureCount]
    seeds: list[int]
    commits: list[str]
    versions: list[str]
    devices: list[str]
    processors: NotRequired[list[str]]
    training_s: NotRequired[float]
    evaluation_s: NotRequired[float]
    code: list[str]


class PaperVerdict(TypedDict):
    """The verdict on a paper at a scale: the content of ``verdict.json``.

    Parameters
    ----------
    paper, scale, confidence : as specified
    looks : numbers of seeds at which claims were judged, where the scale adds seeds
    claims : with their verdicts
    tables : how full each is
    losses : methods that are worse than uniform random
    costs : one table per panel with full-data runs
    provenance : of all records
    """

    paper: str
    scale: str
    confidence: float
    looks: NotRequired[list[int]]
    claims: list[JudgedClaim]
    tables: list[TableCount]
    losses: list[Loss]
    costs: list[CostTable]
    provenance: ProvenanceSummary


class VerdictCount(TypedDict):
    """How many claims have a verdict.

    Parameters
    ----------
    verdict, symbol : which one
    count : number of claims
    """

    verdict: VerdictName
    symbol: str
    count: int


def make_verdict(
    spec: ClaimsSpec, tables: "Sequence[Table[AnyCell]]", records: Records, measurements: Sequence[Measurement] = ()
) -> PaperVerdict:
    """Return everything ``verdict.md`` says, as JSON.

    Parameters
    ----------
    spec : the paper's claims
    tables : the paper's filled tables
    records : run id → record
    measurements : what was measured of the paper's propositions, one per data set and seed

    Raises
    ------
    RecordError
        A table belongs to another paper or scale.
    """
    for table in tables:
        if (table["paper"], table["scale"]) != (spec["paper"], spec["scale"]):
            raise RecordError(
                f"table {table['id']!r} is of {table['paper']} at scale {table['scale']}, not of {spec['paper']} at scale {spec['scale']}"
            )
    grids = [table for table in tables if is_grid(table)]
    verdict: PaperVerdict = {
        "paper": spec["paper"],
        "scale": spec["scale"],
        "confidence": spec["confidence"],
        "claims": judge_claims(spec, records, measurements),
        "tables": [count_table(table) for table in tables],
        "losses": list_losses(grids),
        "costs": list_costs(grids),
        "provenance": summarise_provenance(records.values()),
    }
    if "looks" in spec:
        verdict["looks"] = spec["looks"]
    return verdict


def is_grid(table: "Table[AnyCell]") -> "TypeGuard[Table[Cell]]":
    """Tell whether the cells of a table hold a metric, which methods may be worse at than uniform random."""
    return table["kind"] in ("grid", "shifted")


def count_table(table: "Table[AnyCell]") -> TableCount:
    """Return how full a table is."""
    absence = find_absence(table["panels"])
    cells = [cell for _, _, _, cell in list_cells(table["panels"])]
    statuses = [cell["status"] or "" for cell in cells if "status" in cell]
    return {
        "id": table["id"],
        "title": table["title"],
        "cells": len(cells),
        "filled": sum(not cell["holes"] for cell in cells),
        "holes": sum(bool(cell["holes"]) for cell in cells),
        "planned": list(dict.fromkeys(row["title"] for panel in table["panels"] for row in panel["rows"] if row["planned"])),
        "absent": explain_absences(table["panels"]) if absence is None else [f"{table['title']}: {absence}"],
        "reproduced": statuses.count("reproduced"),
        "off": sum(status.startswith("off") for status in statuses),
    }


def list_losses(tables: Iterable[Table[Cell]]) -> list[Loss]:
    """Return where methods are worse than uniform random; metrics of cost are left out."""
    losses: dict[tuple[str, str, str], list[LossColumn]] = {}
    for table in (table for table in tables if table["metric"] not in COST_METRICS):
        titles = {column["id"]: column["title"] for column in table["columns"]}
        for panel, row, column, cell in list_cells(table["panels"]):
            if cell["below_random"] and cell["against_random"]:
                loss = LossColumn(column=titles[column], metric=table["metric"], **cell["against_random"])
                losses.setdefault((table["title"], panel["title"], row["title"]), []).append(loss)
    return [Loss(table=table, panel=panel, method=row, columns=columns) for (table, panel, row), columns in losses.items()]


def list_costs(tables: Iterable[Table[Cell]]) -> list[CostTable]:
    """Return a cost table for every panel with full-data runs; panels of the same runs, such as other test sets, appear once."""
    seen: set[str] = set()
    costs: list[CostTable] = []
    for table in tables:
        for panel in table["panels"]:
            runs = {run for row in panel["rows"] for cell in row["cells"].values() for run in cell["runs"]}
            rows = [
                CostRow(title=row["title"], cells={column: cell["cost"] for column, cell in row["cells"].items()})
                for row in panel["rows"]
                if row["id"] != FULL and any(cell["cost"] for cell in row["cells"].values())
            ]
            if not rows or runs <= seen:
                continue
            seen |= runs
            columns = [column for column in table["columns"] if any(row["cells"].get(column["id"]) for row in rows)]
            costs.append(CostTable(table=table["title"], panel=panel["title"], columns=columns, rows=rows))
    return costs


def summarise_provenance(records: Collection[Row]) -> ProvenanceSummary:
    """Return the number of runs, their seeds, and every commit, version and device that took part."""
    origins = [record["provenance"] for record in records]
    versions = {f"{name} {version}" for origin in origins for name, version in origin["versions"].items()}
    finished = [record for record in records if record["status"] == "ok"]
    reasons = Counter(read_reason(record) for record in records if record["status"] != "ok")
    return {
        "runs": len(records),
        "failed": len(records) - len(finished),
        "failures": [FailureCount(reason=reason, runs=count) for reason, count in reasons.most_common()],
        "seeds": sorted({record["run"]["seed"] for record in records}),
        "commits": sorted({f"{origin['commit']}{' with uncommitted changes' if origin['dirty'] else ''}" for origin in origins}),
        "versions": sorted({f"selectbench {origin['version']}" for origin in origins}) + sorted(versions),
        "devices": sorted({origin["device"] for origin in origins}),
        "processors": sorted({origin["processor"] for origin in origins if "processor" in origin}),
        "training_s": round(sum(record["training"]["wall_s"] for record in finished), 1),
        "evaluation_s": round(sum(record["evaluation"]["wall_s"] or 0.0 for record in finished if record.get("evaluation")), 1),
        "code": sorted({origin["code"] for origin in origins}),
    }


def count_verdicts(verdicts: Iterable[PaperVerdict]) -> list[VerdictCount]:
    """Return how many claims have each verdict; all but supported, contradicted and undecided are listed only if some claim has them."""
    counts = Counter(claim["verdict"] for verdict in verdicts for claim in verdict["claims"])
    named = [name for name in SYMBOLS if counts[name] or name in ALWAYS_COUNTED]
    return [VerdictCount(verdict=name, symbol=SYMBOLS[name], count=counts[name]) for name in named]


def format_keeps(claim: JudgedClaim) -> str:
    """Return the verdict at every keep fraction: ``"60 %: ✓; 80 %: ? (n ≈ 9)"``; a dash where there are fewer than two."""
    parts = []
    for item in claim.get("by_keep", []):
        needed = f" (n ≈ {item['seeds']})" if item["seeds"] is not None else ""
        parts.append(f"{format_keep(item['keep'])}: {SYMBOLS[item['verdict']]}{needed}")
    return "; ".join(parts) or HOLE


def format_worst(claim: JudgedClaim) -> str:
    """Return the largest effect against a claim: the label of the comparison, its difference and interval."""
    if claim["worst"] is None:
        return HOLE
    worst = claim["comparisons"][claim["worst"]]
    return f"{worst['label']}: {format_comparison(worst)}"


def name_source(claim: JudgedClaim) -> str:
    """Return who makes a claim, and where: ``"claimed by the paper: Table 1"``."""
    return f"{AUTHORS[claim['by']]}: {claim['source']}" if claim["source"] else AUTHORS[claim["by"]]


def render_markdown(verdict: PaperVerdict) -> str:
    """Return ``verdict.md``."""
    sections = [claims_section, tables_section, losses_section, costs_section, provenance_section]
    lines = [f"# Verdict: {verdict['paper']} at scale {verdict['scale']}"]
    for section in sections:
        lines += ["", *section(verdict)]
    return "\n".join(lines) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], num_left: int) -> list[str]:
    """Return the lines of a Markdown table; the first ``num_left`` columns are aligned left, the rest right."""
    lines = ["| " + " | ".join(map(escape_markdown, header)) + " |", "|" + ":--|" * num_left + "--:|" * (len(header) - num_left)]
    return lines + ["| " + " | ".join(escape_markdown(text) for text in row) + " |" for row in rows]


def claims_section(verdict: PaperVerdict) -> list[str]:
    """Return the claims with their verdicts."""
    header = ["Claim", "Source", "Verdict", "Why", "By keep fraction", "Largest effect against", "n"]
    rows = []
    for claim in verdict["claims"]:
        named = f"{SYMBOLS[claim['verdict']]} {claim['verdict']}"
        rows.append([claim["statement"], name_source(claim), named, claim["why"], format_keeps(claim), format_worst(claim), claim["n"]])
    counts = ", ".join(f"{item['count']} {item['verdict']}" for item in count_verdicts([verdict]))
    return [
        f"{spell_count(len(verdict['claims']), 'claim')}: {counts}.",
        "",
        *markdown_table(header, rows, 6),
        "",
        f"Differences are means over n paired seeds with {100 * verdict['confidence']:g} % Student-t intervals; positive "
        "values favour the claim. Accuracy "
        "is in points. Costs are compared by logarithms and shown as ratios: cheaper is below 1×, in place of above 0. Where a "
        "claim allows a loss or claims a factor, given in parentheses, this takes the place of 0. A measured statistic is "
        "compared with its bound. A claim about several keep fractions is judged by its means over them, one per pair of "
        "methods and data set, and by each of them. ✓ supported: every mean lies above 0. ✗ contradicted: a mean or a single "
        "comparison lies below 0 after Holm's correction. ≈ equivalent: the other means are shown to be smaller than the "
        "declared margin. ? undecided: everything else, with the number of seeds n that would decide at the observed effects. ∅ "
        "impossible at this scale: training alone costs more than the claim allows. ≡ holds by construction: the claim follows "
        "from definitions. – not asked: nothing to compare at this scale, no headroom, an agent that did not learn, or wall "
        "time, which is shown with its range over seeds and not judged.",
        *tell_looks(verdict),
    ]


def tell_looks(verdict: PaperVerdict) -> list[str]:
    """Return the sentence on seeds that were added, as a paragraph; nothing if none are."""
    if "looks" not in verdict:
        return []
    numbers = ", ".join(map(str, verdict["looks"][:-1])) + f" and {verdict['looks'][-1]}"
    return [
        "",
        f"Undecided claims were given more seeds and judged again, with {numbers} seeds. Each look spends a share of the error rate, in "
        "proportion to the seeds that it adds, and intervals are those of the last look at its share: wider than with one look.",
    ]


def tables_section(verdict: PaperVerdict) -> list[str]:
    """Return how full every table is."""
    lines = ["## Tables", ""]
    rows = []
    for table in (table for table in verdict["tables"] if table["cells"] or table["planned"]):
        compared = f"{table['reproduced']} / {table['off']}" if table["reproduced"] + table["off"] else HOLE
        filled = f"{table['filled']} of {table['cells']}"
        rows.append([table["title"], ", ".join(table["planned"]) or HOLE, filled, str(table["holes"]), compared])
    lines += markdown_table(["Table", "Not built yet", "Complete cells", "With missing runs", "Reproduced / off"], rows, 2)
    absent = [f"- {escape_markdown(text)}" for text in dict.fromkeys(text for table in verdict["tables"] for text in table["absent"])]
    return [*lines, "", "Not at this scale:", "", *absent] if absent else lines


def losses_section(verdict: PaperVerdict) -> list[str]:
    """Return which methods lose to uniform random, and where."""
    lines = [f"## Worse than uniform random ({BELOW_RANDOM})", ""]
    if not verdict["losses"]:
        return [*lines, "No method is worse than uniform random with an interval entirely below 0."]
    rows = []
    for loss in verdict["losses"]:
        where = ", ".join(
            f"{column['column']} ({format_signed(column['mean'], 3 if column['metric'] == 'loss' else 1)})" for column in loss["columns"]
        )
        rows.append([loss["method"], loss["panel"], loss["table"], where])
    return lines + markdown_table(["Method", "Panel", "Table", "Where (difference)"], rows, 4)


def costs_section(verdict: PaperVerdict) -> list[str]:
    """Return the mean cost of every method relative to full-data training."""
    lines = [
        "## Cost",
        "",
        "Sample visits of selection and training, relative to full-data training of the same seed; in brackets, wall time likewise, as "
        "total (selection + training).",
    ]
    for cost in verdict["costs"]:
        rows = [[row["title"], *(format_visits(row["cells"].get(column["id"])) for column in cost["columns"])] for row in cost["rows"]]
        header = ["", *(column["title"] for column in cost["columns"])]
        lines += ["", f"### {escape_paragraph(cost['panel'])}", "", *markdown_table(header, rows, 1)]
    return lines if verdict["costs"] else [*lines[:2], "There are no full-data runs to compare with."]


def format_visits(cost: Cost | None) -> str:
    """Return ``"0.62 (time 0.63 (0.30 + 0.33))"``: sample visits and times as shares of full-data training."""
    return HOLE if cost is None else f"{cost['sample_visits']:.2f} (time {format_cost(cost)})"


def provenance_section(verdict: PaperVerdict) -> list[str]:
    """Return the commits, versions, devices, runs and seeds."""
    return ["## Provenance", "", *(f"- {name}: {escape_markdown(text)}" for name, text in list_provenance(verdict["provenance"]))]


def list_provenance(origin: ProvenanceSummary) -> list[tuple[str, str]]:
    """Return provenance as (name, text) pairs."""
    runs = f"{origin['runs']} record{'' if origin['runs'] == 1 else 's'}, {origin['failed']} failed"
    reasons = "; ".join(f"{failure['runs']} × {failure['reason'].strip().splitlines()[0]}" for failure in origin["failures"])
    return [
        ("Runs", f"{runs} ({reasons})" if reasons else runs),
        ("Seeds", ", ".join(map(str, origin["seeds"])) or HOLE),
        ("Commits", ", ".join(origin["commits"]) or HOLE),
        ("Versions", ", ".join(origin["versions"]) or HOLE),
        ("Devices", ", ".join(origin["devices"]) or HOLE),
    ]

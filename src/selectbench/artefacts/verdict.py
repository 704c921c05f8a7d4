"""The verdict on a paper: its claims first, then what its tables hold, who loses to random, what it cost, and where it came from."""

from collections import Counter
from collections.abc import Iterable, Sequence

from selectbench.artefacts.cells import COST_METRICS, FULL, Records, explain_absences, find_absence, list_cells
from selectbench.artefacts.claims import CONTRADICTED, NOT_ASKED, SUPPORTED, UNDECIDED, format_comparison, judge_claims
from selectbench.artefacts.formats import BELOW_RANDOM, HOLE, escape_markdown, format_cost, format_signed
from selectbench.errors import RecordError

SYMBOLS = {SUPPORTED: "✓", CONTRADICTED: "✗", UNDECIDED: "?", NOT_ASKED: "–"}


def make_verdict(spec: dict, tables: Sequence[dict], records: Records, measurements: Sequence[dict] = ()) -> dict:
    """Return everything ``verdict.md`` says, as JSON.

    Parameters
    ----------
    spec : the paper's claims
    tables : the paper's filled tables
    records : run id → record
    measurements : what was measured of the paper's propositions, one a data set and seed

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
    grids = [table for table in tables if table["kind"] in ("grid", "shifted")]
    return {
        "paper": spec["paper"],
        "scale": spec["scale"],
        "confidence": spec["confidence"],
        "claims": judge_claims(spec, records, measurements),
        "tables": [count_table(table) for table in tables],
        "losses": list_losses(grids),
        "costs": list_costs(grids),
        "provenance": summarise_provenance(records.values()),
    }


def count_table(table: dict) -> dict:
    """Return how full a table is: cells with every run, cells with holes, rows not built yet, what of it this scale does not have."""
    absence = find_absence(table["panels"])
    cells = [cell for _, _, _, cell in list_cells(table["panels"])]
    return {
        "id": table["id"],
        "title": table["title"],
        "cells": len(cells),
        "filled": sum(not cell["holes"] for cell in cells),
        "holes": sum(bool(cell["holes"]) for cell in cells),
        "planned": list(dict.fromkeys(row["title"] for panel in table["panels"] for row in panel["rows"] if row["planned"])),
        "absent": explain_absences(table["panels"]) if absence is None else [f"{table['title']}: {absence}"],
        "reproduced": sum(cell.get("status") == "reproduced" for cell in cells),
        "off": sum((cell.get("status") or "").startswith("off") for cell in cells),
    }


def list_losses(tables: Iterable[dict]) -> list[dict]:
    """Return table, panel, method and columns wherever a method is worse than uniform random; being dearer is no loss."""
    losses: dict[tuple[str, str, str], list[dict]] = {}
    for table in (table for table in tables if table["metric"] not in COST_METRICS):
        titles = {column["id"]: column["title"] for column in table["columns"]}
        for panel, row, column, cell in list_cells(table["panels"]):
            if cell["below_random"]:
                loss = {"column": titles[column], "metric": table["metric"], **cell["against_random"]}
                losses.setdefault((table["title"], panel["title"], row["title"]), []).append(loss)
    return [{"table": table, "panel": panel, "method": row, "columns": columns} for (table, panel, row), columns in losses.items()]


def list_costs(tables: Iterable[dict]) -> list[dict]:
    """Return a cost table for every panel with full-data runs; panels over the same runs, such as other test sets, appear once."""
    seen: set[str] = set()
    costs = []
    for table in tables:
        for panel in table["panels"]:
            runs = {run for row in panel["rows"] for cell in row["cells"].values() for run in cell["runs"]}
            rows = [
                {"title": row["title"], "cells": {column: cell["cost"] for column, cell in row["cells"].items()}}
                for row in panel["rows"]
                if row["id"] != FULL and any(cell["cost"] for cell in row["cells"].values())
            ]
            if not rows or runs <= seen:
                continue
            seen |= runs
            columns = [column for column in table["columns"] if any(row["cells"].get(column["id"]) for row in rows)]
            costs.append({"table": table["title"], "panel": panel["title"], "columns": columns, "rows": rows})
    return costs


def summarise_provenance(records: Iterable[dict]) -> dict:
    """Return how many runs there are, their seeds, and every commit, version and device that took part."""
    records = list(records)
    origins = [record["provenance"] for record in records]
    versions = {f"{name} {version}" for origin in origins for name, version in origin["versions"].items()}
    return {
        "runs": len(records),
        "failed": sum(record["status"] != "ok" for record in records),
        "failures": [
            {"reason": reason, "runs": count}
            for reason, count in Counter(
                ((record["failure"] or {}).get("reason") or "no reason recorded") for record in records if record["status"] != "ok"
            ).most_common()
        ],
        "seeds": sorted({record["run"]["seed"] for record in records}),
        "commits": sorted({f"{origin['commit']}{' with uncommitted changes' if origin['dirty'] else ''}" for origin in origins}),
        "versions": sorted({f"selectbench {origin['version']}" for origin in origins}) + sorted(versions),
        "devices": sorted({origin["device"] for origin in origins}),
        "processors": sorted({origin["processor"] for origin in origins if "processor" in origin}),
        "training_s": round(sum(record["training"]["wall_s"] for record in records if record["status"] == "ok"), 1),
        "evaluation_s": round(sum(record["evaluation"]["wall_s"] for record in records if record.get("evaluation")), 1),
        "code": sorted({origin["code"] for origin in origins}),
    }


def count_verdicts(verdicts: Iterable[dict]) -> list[dict]:
    """Return how many claims have which verdict; that some were not asked is counted only where it happened."""
    counts = Counter(claim["verdict"] for verdict in verdicts for claim in verdict["claims"])
    named = [name for name in SYMBOLS if counts[name] or name != NOT_ASKED]
    return [{"verdict": name, "symbol": SYMBOLS[name], "count": counts[name]} for name in named]


def format_worst(claim: dict) -> str:
    """Return a claim's worst comparison: its label, difference and interval."""
    if claim["worst"] is None:
        return HOLE
    worst = claim["comparisons"][claim["worst"]]
    return f"{worst['label']}: {format_comparison(worst)}"


def render_markdown(verdict: dict) -> str:
    """Return ``verdict.md``."""
    sections = [claims_section, tables_section, losses_section, costs_section, provenance_section]
    lines = [f"# Verdict: {verdict['paper']} at scale {verdict['scale']}"]
    for section in sections:
        lines += ["", *section(verdict)]
    return "\n".join(lines) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], num_left: int) -> list[str]:
    """Return the lines of a Markdown table; the first ``num_left`` columns are set left, the rest right."""
    lines = ["| " + " | ".join(header) + " |", "|" + ":--|" * num_left + "--:|" * (len(header) - num_left)]
    return lines + ["| " + " | ".join(escape_markdown(text) for text in row) + " |" for row in rows]


def claims_section(verdict: dict) -> list[str]:
    """Return the claims with their verdicts."""
    header = ["Claim", "By", "Verdict", "Why", "Worst comparison", "n"]
    rows = []
    for claim in verdict["claims"]:
        by = f"{claim['by']}, {claim['source']}" if claim["source"] else claim["by"]
        rows.append(
            [claim["statement"], by, f"{SYMBOLS[claim['verdict']]} {claim['verdict']}", claim["why"], format_worst(claim), claim["n"]]
        )
    return [
        f"{len(verdict['claims'])} claims: " + ", ".join(f"{item['count']} {item['verdict']}" for item in count_verdicts([verdict])) + ".",
        "",
        *markdown_table(header, rows, 5),
        "",
        f"Differences are paired over n seeds, with {100 * verdict['confidence']:g} % Student-t intervals; positive speaks for the claim. "
        "Accuracy is in points; costs are ratios, above ×1 = cheaper; a measured statistic is held against its bound. Supported: every "
        "interval lies above 0. Contradicted: at least one lies below 0 after Bonferroni correction over the claim's comparisons. "
        "Undecided: everything else. Not asked: this scale has nothing to compare.",
    ]


def tables_section(verdict: dict) -> list[str]:
    """Return how full every table is."""
    lines = ["## Tables", ""]
    rows = []
    for table in (table for table in verdict["tables"] if table["cells"] or table["planned"]):
        compared = f"{table['reproduced']} / {table['off']}" if table["reproduced"] + table["off"] else HOLE
        filled = f"{table['filled']} of {table['cells']}"
        rows.append([table["title"], ", ".join(table["planned"]) or HOLE, filled, str(table["holes"]), compared])
    lines += markdown_table(["Table", "Not built yet", "Cells filled", "With holes", "Reproduced / off"], rows, 2)
    absent = [f"- {escape_markdown(text)}" for text in dict.fromkeys(text for table in verdict["tables"] for text in table["absent"])]
    return [*lines, "", "Not at this scale:", "", *absent] if absent else lines


def losses_section(verdict: dict) -> list[str]:
    """Return which methods lose to uniform random, and where."""
    lines = [f"## Worse than uniform random ({BELOW_RANDOM})", ""]
    if not verdict["losses"]:
        return [*lines, "No method is worse than uniform random with an interval below 0."]
    rows = []
    for loss in verdict["losses"]:
        where = ", ".join(
            f"{column['column']} ({format_signed(column['mean'], 3 if column['metric'] == 'loss' else 1)})" for column in loss["columns"]
        )
        rows.append([loss["method"], loss["panel"], loss["table"], where])
    return lines + markdown_table(["Method", "Panel", "Table", "Where (difference)"], rows, 4)


def costs_section(verdict: dict) -> list[str]:
    """Return the mean cost of every method relative to full-data training."""
    lines = ["## Cost", "", "Total (selection + training) wall time, full-data training of the same seed = 1."]
    for cost in verdict["costs"]:
        rows = [[row["title"], *(format_cost(row["cells"].get(column["id"])) for column in cost["columns"])] for row in cost["rows"]]
        header = ["", *(column["title"] for column in cost["columns"])]
        lines += ["", f"### {cost['panel']}", "", *markdown_table(header, rows, 1)]
    return lines if verdict["costs"] else [*lines[:2], "There are no full-data runs to compare with."]


def provenance_section(verdict: dict) -> list[str]:
    """Return the commits, versions, devices, runs and seeds."""
    return ["## Provenance", "", *(f"- {name}: {escape_markdown(text)}" for name, text in list_provenance(verdict["provenance"]))]


def list_provenance(origin: dict) -> list[tuple[str, str]]:
    """Return provenance as (name, text) pairs."""
    runs = f"{origin['runs']} records, {origin['failed']} failed"
    reasons = "; ".join(f"{failure['runs']} × {failure['reason'].strip().splitlines()[0]}" for failure in origin["failures"])
    return [
        ("Runs", f"{runs} ({reasons})" if reasons else runs),
        ("Seeds", ", ".join(map(str, origin["seeds"])) or HOLE),
        ("Commits", ", ".join(origin["commits"]) or HOLE),
        ("Versions", ", ".join(origin["versions"]) or HOLE),
        ("Devices", ", ".join(origin["devices"]) or HOLE),
    ]

"""The page: every paper's claims, figures, tables and costs in one self-contained HTML file."""

import re
from collections import Counter
from collections.abc import Sequence

import jinja2

from selectbench.artefacts.claims import format_comparison
from selectbench.artefacts.formats import BELOW_RANDOM, HOLE, NOT_BUILT, format_cost, format_run_value, format_signed
from selectbench.artefacts.tables import KINDS
from selectbench.artefacts.verdict import SYMBOLS, format_worst, list_provenance
from selectbench.errors import RecordError


def render_page(spec: dict, verdicts: Sequence[dict], tables: Sequence[dict], figures: Sequence[str]) -> str:
    """Return ``index.html``: inline style, script and SVG, and no reference to anything outside it.

    Parameters
    ----------
    spec : ``{"title", "scale", "scale_id", "papers"}``
        Each paper is ``{"id", "title", "citation", "tables": [id, …], "figures": [{"id", "title", "caption"}, …]}``.
    verdicts : one a paper, in the order of the spec
    tables : filled tables, all papers' in the order of the spec
    figures : SVG texts, all papers' in the order of the spec

    Raises
    ------
    RecordError
        An input is missing, is one too many or belongs elsewhere.
    """
    check_order(
        "verdicts", [(paper["id"], spec["scale_id"]) for paper in spec["papers"]], [(item["paper"], item["scale"]) for item in verdicts]
    )
    wanted = [(paper["id"], table) for paper in spec["papers"] for table in paper["tables"]]
    check_order("tables", wanted, [(table["paper"], table["id"]) for table in tables])
    num_figures = sum(len(paper["figures"]) for paper in spec["papers"])
    if num_figures != len(figures):
        raise RecordError(f"the page needs {num_figures} figures in the order of its spec, not {len(figures)}")
    rest_of_tables, rest_of_figures = iter(tables), iter(figures)
    details: list[dict] = []
    papers = []
    for paper, verdict in zip(spec["papers"], verdicts, strict=True):
        papers.append(
            {
                "id": paper["id"],
                "title": paper["title"],
                "citation": paper["citation"],
                "claims": [show_claim(claim) for claim in verdict["claims"]],
                "counts": count_verdicts([verdict]),
                "figures": [
                    figure | {"svg": inline_svg(next(rest_of_figures), f"{paper['id']}-{figure['id']}", figure["title"])}
                    for figure in paper["figures"]
                ],
                "tables": [show_table(next(rest_of_tables), details) for _ in paper["tables"]],
                "losses": verdict["losses"],
                "costs": [show_cost(cost) for cost in verdict["costs"]],
                "provenance": list_provenance(verdict["provenance"]),
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selectbench", "artefacts"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = format_signed
    template = environment.get_template("page.html.j2")
    confidence = 100 * verdicts[0]["confidence"]
    page = template.render(
        title=spec["title"],
        scale=spec["scale"],
        papers=papers,
        counts=count_verdicts(verdicts),
        details=details,
        below=BELOW_RANDOM,
        confidence=f"{confidence:g}",
    )
    return page + "\n"


def check_order(what: str, wanted: list[tuple[str, str]], found: list[tuple[str, str]]) -> None:
    """Raise a RecordError unless the inputs are the wanted ones in the wanted order."""
    if wanted != found:
        names = ["; ".join("/".join(item) for item in items) or "none" for items in (wanted, found)]
        raise RecordError(f"the page's {what} must be, in this order: {names[0]}; found: {names[1]}")


def count_verdicts(verdicts: Sequence[dict]) -> list[dict]:
    """Return how many claims have which verdict."""
    counts = Counter(claim["verdict"] for verdict in verdicts for claim in verdict["claims"])
    return [{"verdict": name, "symbol": symbol, "count": counts[name]} for name, symbol in SYMBOLS.items()]


def show_claim(claim: dict) -> dict:
    """Return a claim with its texts and, for every comparison, where its interval lies on a common axis (% of its width)."""
    reach: dict[str, float] = {}
    for comparison in claim["comparisons"]:
        bounds = [abs(comparison[key]) for key in ("mean", "low", "high") if comparison[key] is not None]
        reach[comparison["metric"]] = max([*bounds, reach.get(comparison["metric"], 1e-9)])
    rows = []
    for comparison in claim["comparisons"]:

        def place(value: float, width: float = reach[comparison["metric"]]) -> float:
            return round(50 + 48 * value / width, 2)

        has_interval = comparison["low"] is not None
        rows.append(
            {
                "label": comparison["label"],
                "text": format_comparison(comparison),
                "n": comparison["n"],
                "hole": comparison["hole"],
                "low": place(comparison["low"]) if has_interval else None,
                "high": place(comparison["high"]) if has_interval else None,
                "mean": place(comparison["mean"]) if has_interval else None,
                "tone": tone_of(comparison),
            }
        )
    shown = {key: claim[key] for key in ("id", "statement", "by", "source", "verdict", "why", "n")}
    return shown | {"symbol": SYMBOLS[claim["verdict"]], "worst": format_worst(claim), "comparisons": rows}


def tone_of(comparison: dict) -> str:
    """Return on which side of 0 an interval lies."""
    if comparison["low"] is None or comparison["low"] <= 0 <= comparison["high"]:
        return "around"
    return "above" if comparison["low"] > 0 else "below"


def show_table(table: dict, details: list[dict]) -> dict:
    """Return a table as texts; what its cells tell on demand is appended to ``details``."""
    panels = []
    for panel in table["panels"]:
        rows = []
        for row in panel["rows"]:
            cells = []
            for column in table["columns"]:
                cell = row["cells"].get(column["id"])
                if cell is None:
                    cells.append(None)
                    continue
                cells.append(
                    {
                        "text": "".join(KINDS[table["kind"]].format(cell, table["metric"])),
                        "best": cell["best"],
                        "below": cell.get("below_random", False),
                        "marks": ",".join(cell["footnotes"]),
                        "status": cell.get("status"),
                        "detail": len(details),
                    }
                )
                details.append({"title": f"{row['title']}, {column['title']}", "panel": panel["title"], **describe_cell(cell, table)})
            title = f"{row['title']} ({NOT_BUILT})" if row["planned"] else row["title"]
            rows.append({"title": title, "control": row["control"], "planned": row["planned"], "cells": cells})
        panels.append({"title": panel["title"], "absent": panel["absent"], "rows": rows})
    kept = {key: table[key] for key in ("id", "title", "caption", "note", "footnotes", "columns")}
    return kept | {"panels": panels}


def describe_cell(cell: dict, table: dict) -> dict:
    """Return what a cell tells on demand: facts as (name, text) pairs, and its runs with their values."""
    reasons = {hole["run"]: hole["reason"] for hole in cell["holes"]}
    runs = [
        [run, reasons.get(run, HOLE) if value is None else format_run_value(value, table["metric"])]
        for run, value in zip(cell["runs"], cell["values"], strict=True)
    ]
    return {"facts": KINDS[table["kind"]].list_facts(cell, table), "runs": runs}


def show_cost(cost: dict) -> dict:
    """Return a cost table as texts."""
    rows = [
        {"title": row["title"], "cells": [format_cost(row["cells"].get(column["id"])) for column in cost["columns"]]}
        for row in cost["rows"]
    ]
    return {"panel": cost["panel"], "columns": cost["columns"], "rows": rows}


def inline_svg(text: str, prefix: str, title: str) -> str:
    """Return an SVG file as an element to put into a page: ids made unique, metadata and fixed size dropped, named for screen readers."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    width = float(re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+)', head).group(1)) * 4 / 3
    label = str(jinja2.filters.escape(title))
    return f'{head} role="img" aria-label="{label}" style="max-width:{width:.0f}px">{rest.strip()}'

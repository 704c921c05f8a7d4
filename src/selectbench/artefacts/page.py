"""The page: every paper's claims, figures, tables and costs in one self-contained HTML file."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import jinja2
from markupsafe import escape

from selectbench.artefacts.cells import Cost, find_absence
from selectbench.artefacts.claims import JudgedClaim
from selectbench.artefacts.comparisons import Comparison, format_comparison
from selectbench.artefacts.formats import BELOW_RANDOM, HOLE, NOT_BUILT, format_cost, format_keep, format_run_value, format_signed
from selectbench.artefacts.kinds import Table
from selectbench.artefacts.machines import describe_machines
from selectbench.artefacts.specs import Browsed, PagePaper, PageSpec
from selectbench.artefacts.tables import KINDS, AnyCell, find_grid_cell
from selectbench.artefacts.verdict import (
    SYMBOLS,
    CostTable,
    PaperVerdict,
    count_verdicts,
    format_keeps,
    format_worst,
    list_provenance,
    name_source,
    tell_looks,
)
from selectbench.errors import RecordError
from selectbench.records.rows import Records

if TYPE_CHECKING:
    from selectbench.artefacts.browser import Subsets
    from selectbench.artefacts.overlaps import Overlaps

Shown = dict[str, object]  # what a template shows, or a script explores
GLYPH = r"[A-Za-z]+(?:-[A-Za-z]+)?-[0-9a-f]+"  # ids of letters in drawings: font and glyph


class Inputs(NamedTuple):
    """What a page is made of, in the order of the page's specification.

    Parameters
    ----------
    verdicts : one per paper
    tables : filled tables of all papers
    figures : SVG texts of all papers
    records : run id → record, of all papers; they tell where each run comes from
    subsets, overlaps : what ``collect_subsets`` and ``compare_subsets`` wrote, for papers that have them
    """

    verdicts: Sequence[PaperVerdict]
    tables: Sequence[Table[AnyCell]]
    figures: Sequence[str]
    records: Records = MappingProxyType({})
    subsets: "Sequence[Subsets]" = ()
    overlaps: "Sequence[Overlaps]" = ()


class ShownPaper(NamedTuple):
    """The parts of a page that belong to one paper.

    Parameters
    ----------
    spec : of the paper
    verdict : on it
    tables : filled, in order
    drawings : figure → SVG text
    """

    spec: PagePaper
    verdict: PaperVerdict
    tables: Sequence[Table[AnyCell]]
    drawings: Mapping[str, str]


def render_page(spec: PageSpec, inputs: Inputs) -> str:
    """Return ``index.html``: with inline style, script and SVG, and without a reference to anything outside it.

    Parameters
    ----------
    spec : of the page
    inputs : what the page is made of

    Raises
    ------
    RecordError
        An input is missing, superfluous, or belongs elsewhere.
    """
    papers = share_out(spec, inputs)
    details: list[Shown] = []
    runs, glyphs = Runs(inputs.records), set[str]()
    subsets, overlaps = {item["paper"]: item for item in inputs.subsets}, {item["paper"]: item for item in inputs.overlaps}
    shown = [show_paper(paper, details, runs, glyphs) for paper in papers]
    explored = {paper.spec["id"]: explore_paper(paper, subsets.get(paper.spec["id"]), overlaps.get(paper.spec["id"])) for paper in papers}
    return render_template(
        "scale.html.j2",
        title=spec["title"],
        scale=spec["scale"],
        papers=shown,
        counts=count_verdicts(inputs.verdicts),
        machines=describe_machines(inputs.records),
        data={"cells": details, "runs": runs.rows, "origins": runs.origins, "papers": explored},
        confidence=f"{100 * inputs.verdicts[0]['confidence']:g}",
        looks=tell_looks(inputs.verdicts[0])[1:],
    )


def share_out(spec: PageSpec, inputs: Inputs) -> list[ShownPaper]:
    """Return every paper with its own verdict, tables and drawings.

    Raises
    ------
    RecordError
        An input is missing, superfluous, or belongs elsewhere.
    """
    papers, verdicts = spec["papers"], inputs.verdicts
    check_order("verdicts", [(paper["id"], spec["scale_id"]) for paper in papers], [(item["paper"], item["scale"]) for item in verdicts])
    wanted = [(paper["id"], table) for paper in papers for table in paper["tables"]]
    check_order("tables", wanted, [(table["paper"], table["id"]) for table in inputs.tables])
    num_figures = sum(len(paper["figures"]) for paper in papers)
    if num_figures != len(inputs.figures):
        raise RecordError(f"the page needs {num_figures} figures in the order of its spec, not {len(inputs.figures)}")
    tables, figures = iter(inputs.tables), iter(inputs.figures)
    return [
        ShownPaper(
            paper,
            verdict,
            [next(tables) for _ in paper["tables"]],
            {figure["id"]: next(figures) for figure in paper["figures"]},
        )
        for paper, verdict in zip(papers, verdicts, strict=True)
    ]


def show_paper(paper: ShownPaper, details: list[Shown], runs: "Runs", glyphs: set[str]) -> Shown:
    """Return what the templates show of a paper.

    Parameters
    ----------
    paper : its parts
    details, runs : what cells tell on demand is added to these
    glyphs : the letters that the page has drawn so far; those of the paper's figures are added
    """
    spec, verdict = paper.spec, paper.verdict
    absences = {table["id"]: find_absence(table["panels"]) for table in paper.tables}
    return {
        "id": spec["id"],
        "title": spec["title"],
        "citation": spec["citation"],
        "claims": [show_claim(claim) for claim in verdict["claims"]],
        "counts": count_verdicts([verdict]),
        "figures": [
            {**figure, "svg": inline_svg(paper.drawings[figure["id"]], f"{spec['id']}-{figure['id']}", figure["title"], glyphs)}
            for figure in spec["figures"]
            if absences[figure["table"]] is None
        ],
        "absent_figures": [(item["title"], absences[item["table"]]) for item in spec["figures"] if absences[item["table"]] is not None],
        "tables": [show_table(table, details, runs) for table in paper.tables if absences[table["id"]] is None],
        "absent_tables": [(item["title"], absences[item["id"]]) for item in paper.tables if absences[item["id"]] is not None],
        "browse": spec["browse"] is not None,
        "losses": verdict["losses"],
        "costs": [show_cost(cost) for cost in verdict["costs"]],
        "provenance": list_provenance(verdict["provenance"]),
    }


def render_template(name: str, **values: object) -> str:
    """Return a page from one of the templates beside this module."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selectbench", "artefacts/page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = format_signed
    return environment.get_template(name).render(below=BELOW_RANDOM, symbols=SYMBOLS, **values) + "\n"


class Runs:
    """The runs that cells name, each once, and where they come from.

    Attributes
    ----------
    rows : ``[id, seed, seconds of training, place among the origins]``; the last three are None for a run without a record
    origins : ``[commit, device]``, each once
    """

    def __init__(self, records: Records) -> None:
        self.rows: list[list[object]] = []
        self.origins: list[list[str]] = []
        self._records = records
        self._places: dict[str, int] = {}

    def place(self, run: str) -> int:
        """Return the place of a run among the rows; a new run is added to them."""
        if run not in self._places:
            self._places[run] = len(self.rows)
            self.rows.append([run, *self._describe(run)])
        return self._places[run]

    def _describe(self, run: str) -> list[object]:
        record = self._records.get(run)
        if record is None:
            return [None, None, None]
        provenance = record["provenance"]
        commit = f"{(provenance['commit'] or HOLE)[:10]}{' with uncommitted changes' if provenance['dirty'] else ''}"
        origin = [commit, provenance["device"]]
        if origin not in self.origins:
            self.origins.append(origin)
        seconds = round(record["training"]["wall_s"], 2) if record["status"] == "ok" else None
        return [record["run"]["seed"], seconds, self.origins.index(origin)]


def explore_paper(paper: ShownPaper, subsets: "Subsets | None", overlaps: "Overlaps | None") -> Shown:
    """Return what the page's script explores of a paper: costs, overlaps of subsets, and the subsets themselves."""
    browse = paper.spec["browse"] or Browsed(methods=[], datasets={})
    return {
        "costs": [
            {
                "table": cost["table"],
                "panel": cost["panel"],
                "columns": cost["columns"],
                "rows": [[row["title"], {keep: shorten_cost(cell) for keep, cell in row["cells"].items() if cell}] for row in cost["rows"]],
            }
            for cost in paper.verdict["costs"]
        ],
        "methods": browse["methods"],
        "overlaps": [
            {
                "dataset": item["dataset"],
                "title": browse["datasets"][item["dataset"]],
                "keep": item["keep"],
                "kept": format_keep(item["keep"]),
                "chance": item["chance"],
                "methods": item["methods"],
                "overlap": [[None if share is None else round(share, 4) for share in row] for row in item["overlap"]],
            }
            for item in (overlaps["overlaps"] if overlaps else ())
            if item["dataset"] in browse["datasets"]
        ],
        "datasets": subsets["datasets"] if subsets else [],
    }


def shorten_cost(cost: Cost) -> list[float]:
    """Return selection and training relative to full-data training, to ten digits, enough for the same break-even."""
    return [float(f"{part:.10g}") for part in (cost["selection"], cost["training"])]


def check_order(what: str, wanted: list[tuple[str, str]], found: list[tuple[str, str]]) -> None:
    """Raise a RecordError unless the inputs are the wanted ones, in the wanted order."""
    if wanted != found:
        names = ["; ".join("/".join(item) for item in items) or "none" for items in (wanted, found)]
        raise RecordError(f"the page's {what} must be, in this order: {names[0]}; found: {names[1]}")


def show_claim(claim: JudgedClaim) -> Shown:
    """Return a claim as texts, with the position of every comparison's interval on a common axis."""
    reach: dict[str, float] = {}
    for comparison in [*claim["comparisons"], *claim.get("means", [])]:
        bounds = [abs(bound) for bound in (comparison["mean"], comparison["low"], comparison["high"]) if bound is not None]
        reach[comparison["metric"]] = max([*bounds, reach.get(comparison["metric"], 1e-9)])
    return {
        "id": claim["id"],
        "statement": claim["statement"],
        "source": name_source(claim),
        "verdict": claim["verdict"],
        "why": claim["why"],
        "n": claim["n"],
        "symbol": SYMBOLS[claim["verdict"]],
        "worst": format_worst(claim),
        "keeps": format_keeps(claim) if claim.get("by_keep") else None,
        "means": [show_comparison(comparison, reach[comparison["metric"]]) for comparison in claim.get("means", [])],
        "comparisons": [show_comparison(comparison, reach[comparison["metric"]]) for comparison in claim["comparisons"]],
    }


def show_comparison(comparison: Comparison, reach: float) -> Shown:
    """Return a comparison as texts and its interval in % of the width of an axis from about −``reach`` to ``reach``."""

    def place(value: float | None) -> float | None:
        return None if value is None or comparison["low"] is None else round(50 + 48 * value / reach, 2)

    return {
        "label": comparison["label"],
        "text": format_comparison(comparison),
        "n": comparison["n"],
        "hole": comparison["hole"],
        "outcome": tell_outcome(comparison),
        "low": place(comparison["low"]),
        "high": place(comparison["high"]),
        "mean": place(comparison["mean"]),
        "tone": find_tone(comparison),
    }


def tell_outcome(comparison: Comparison) -> str:
    """Return the outcome of a comparison alone, with the number of seeds that would decide it; empty if there is none."""
    outcome, seeds = comparison.get("outcome"), comparison.get("seeds")
    return f"{outcome or ''}{f' (n ≈ {seeds})' if seeds is not None else ''}"


def find_tone(comparison: Comparison) -> str:
    """Return on which side of 0 an interval lies."""
    low, high = comparison["low"], comparison["high"]
    if low is None or high is None or low <= 0 <= high:
        return "around"
    return "above" if low > 0 else "below"


def show_table(table: Table[AnyCell], details: list[Shown], runs: Runs) -> Shown:
    """Return a table as texts, each with the number it is sorted by; what its cells tell on demand is appended to ``details``."""
    kind, panels = KINDS[table["kind"]], []
    for panel in table["panels"]:
        rows = []
        for row in panel["rows"]:
            cells: list[Shown | None] = []
            for column in table["columns"]:
                cell = row["cells"].get(column["id"])
                if cell is None:
                    cells.append(None)
                    continue
                grid = find_grid_cell(cell)
                cells.append(
                    {
                        "text": "".join(kind.format(cell, table["metric"])),
                        "value": kind.flatten(cell)[kind.sort_by],
                        "best": cell["best"],
                        "below": grid is not None and grid["below_random"],
                        "marks": ",".join(cell["footnotes"]),
                        "status": grid and grid["status"],
                        "detail": len(details),
                    }
                )
                details.append({"title": f"{row['title']}, {column['title']}", "panel": panel["title"], **describe_cell(cell, table, runs)})
            title = f"{row['title']} ({NOT_BUILT})" if row["planned"] else row["title"]
            marks = ",".join(row.get("footnotes", []))
            rows.append({"title": title, "control": row["control"], "planned": row["planned"], "marks": marks, "cells": cells})
        panels.append({"title": panel["title"], "absent": panel["absent"], "rows": rows})
    return {
        "id": table["id"],
        "title": table["title"],
        "caption": table["caption"],
        "note": table["note"],
        "footnotes": table["footnotes"],
        "columns": table["columns"],
        "panels": panels,
    }


def describe_cell(cell: AnyCell, table: Table[AnyCell], runs: Runs) -> Shown:
    """Return what a cell tells on demand: facts as (name, text) pairs, and the places of its runs with their values."""
    reasons = {hole["run"]: hole["reason"] for hole in cell["holes"]}
    shown = [
        [runs.place(run), reasons.get(run, HOLE) if value is None else format_run_value(value, table["metric"])]
        for run, value in zip(cell["runs"], cell["values"], strict=True)
    ]
    return {"facts": KINDS[table["kind"]].list_facts(cell, table), "runs": shown}


def show_cost(cost: CostTable) -> Shown:
    """Return a cost table as texts."""
    rows = [
        {"title": row["title"], "cells": [format_cost(row["cells"].get(column["id"])) for column in cost["columns"]]}
        for row in cost["rows"]
    ]
    return {"panel": cost["panel"], "columns": cost["columns"], "rows": rows}


def inline_svg(text: str, prefix: str, title: str, glyphs: set[str]) -> str:
    """Return an SVG file as an element of a page, named for screen readers and without what a page does not need.

    Metadata, comments, the fixed size and unused ids are dropped; the other ids are made unique. Letters, whose ids name font and
    glyph, are drawn once per page, and coordinates are rounded to tenths of a point.

    Parameters
    ----------
    text : of the file
    prefix : of ids
    title : of the figure
    glyphs : the letters that the page has drawn so far; those drawn here are added
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    named = set(re.findall(r'(?:href="|url\()#([^")]+)', text))

    def rename(found: re.Match[str]) -> str:
        return f' id="{name_part(prefix, found[1])}"' if found[1] in named else ""

    def draw_once(found: re.Match[str]) -> str:
        if found[1] in glyphs:
            return ""
        glyphs.add(found[1])
        return found[0]

    text = re.sub(rf'<path id="({GLYPH})"[^>]*/>', draw_once, text)
    text = re.sub(r'\sid="([^"]+)"', rename, text)
    text = re.sub(r'(href="|url\()#([^")]+)', lambda found: f"{found[1]}#{name_part(prefix, found[2])}", text)
    text = re.sub(r"<defs>\s*</defs>|<g/>", "", text)
    text = re.sub(r"(?<![\w#.])-?[1-9]\d*\.\d{2,}(?![\w.])", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), text)
    text = re.sub(r"\s*\n\s*", " ", text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    (found_width,) = re.findall(r'viewBox="[\d.]+ [\d.]+ ([\d.]+)', head)
    width = float(found_width) * 4 / 3
    label = str(escape(title))
    return f'{head} role="img" aria-label="{label}" style="max-width:{width:.0f}px">{rest.strip()}'


def name_part(prefix: str, name: str) -> str:
    """Return the id that a part of a drawing has on the page; letters keep theirs."""
    return name if re.fullmatch(GLYPH, name) else f"{prefix}-{name}"

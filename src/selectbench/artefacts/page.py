"""The page: every paper's claims, figures, tables and costs in one self-contained HTML file."""

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import jinja2

from selectbench.artefacts.cells import Records, find_absence
from selectbench.artefacts.claims import format_comparison
from selectbench.artefacts.formats import BELOW_RANDOM, HOLE, NOT_BUILT, format_cost, format_keep, format_run_value, format_signed
from selectbench.artefacts.tables import KINDS
from selectbench.artefacts.verdict import SYMBOLS, count_verdicts, format_worst, list_provenance
from selectbench.errors import RecordError

GLYPH = r"[A-Za-z]+(?:-[A-Za-z]+)?-[0-9a-f]+"  # ids of letters in drawings: font and glyph


class Inputs(NamedTuple):
    """What a page is made of, all papers' in the order of the page's specification.

    Parameters
    ----------
    verdicts : one a paper
    tables : filled tables
    figures : SVG texts
    records : run id → record of every paper's runs, which tell where each came from
    subsets, overlaps : what ``collect_subsets`` and ``compare_subsets`` wrote, of the papers that have some
    """

    verdicts: Sequence[dict]
    tables: Sequence[dict]
    figures: Sequence[str]
    records: Records = MappingProxyType({})
    subsets: Sequence[dict] = ()
    overlaps: Sequence[dict] = ()


def render_page(spec: dict, inputs: Inputs) -> str:
    """Return ``index.html``: inline style, script and SVG, and no reference to anything outside it.

    Parameters
    ----------
    spec : ``{"title", "scale", "scale_id", "papers"}``
        Each paper is ``{"id", "title", "citation", "tables": [id, …], "figures": [{"id", "title", "caption", "table"}, …],
        "browse"}``, the last ``{"methods": [[id, title], …], "datasets": {id: title}}`` or None.
    inputs : what the page is made of

    Raises
    ------
    RecordError
        An input is missing, is one too many or belongs elsewhere.
    """
    verdicts, tables, figures = inputs.verdicts, inputs.tables, inputs.figures
    check_order(
        "verdicts", [(paper["id"], spec["scale_id"]) for paper in spec["papers"]], [(item["paper"], item["scale"]) for item in verdicts]
    )
    wanted = [(paper["id"], table) for paper in spec["papers"] for table in paper["tables"]]
    check_order("tables", wanted, [(table["paper"], table["id"]) for table in tables])
    num_figures = sum(len(paper["figures"]) for paper in spec["papers"])
    if num_figures != len(figures):
        raise RecordError(f"the page needs {num_figures} figures in the order of its spec, not {len(figures)}")
    rest_of_tables, rest_of_figures = iter(tables), iter(figures)
    details, runs = [], Runs(inputs.records)
    subsets, overlaps = ({item["paper"]: item for item in items} for items in (inputs.subsets, inputs.overlaps))
    papers, explored, glyphs = [], {}, set()
    for paper, verdict in zip(spec["papers"], verdicts, strict=True):
        own_tables = [next(rest_of_tables) for _ in paper["tables"]]
        drawings = {figure["id"]: next(rest_of_figures) for figure in paper["figures"]}
        absences = {table["id"]: find_absence(table["panels"]) for table in own_tables}
        papers.append(
            {
                **{key: paper[key] for key in ("id", "title", "citation")},
                "claims": [show_claim(claim) for claim in verdict["claims"]],
                "counts": count_verdicts([verdict]),
                "figures": [
                    figure | {"svg": inline_svg(drawings[figure["id"]], f"{paper['id']}-{figure['id']}", figure["title"], glyphs)}
                    for figure in paper["figures"]
                    if absences[figure["table"]] is None
                ],
                "absent_figures": [
                    (item["title"], absences[item["table"]]) for item in paper["figures"] if absences[item["table"]] is not None
                ],
                "tables": [show_table(table, details, runs) for table in own_tables if absences[table["id"]] is None],
                "absent_tables": [(item["title"], absences[item["id"]]) for item in own_tables if absences[item["id"]] is not None],
                "browse": paper["browse"] is not None,
                "losses": verdict["losses"],
                "costs": [show_cost(cost) for cost in verdict["costs"]],
                "provenance": list_provenance(verdict["provenance"]),
            }
        )
        explored[paper["id"]] = explore_paper(paper, verdict, subsets.get(paper["id"]), overlaps.get(paper["id"]))
    return render_template(
        "scale.html.j2",
        title=spec["title"],
        scale=spec["scale"],
        papers=papers,
        counts=count_verdicts(verdicts),
        data={"cells": details, "runs": runs.rows, "origins": runs.origins, "papers": explored},
        confidence=f"{100 * verdicts[0]['confidence']:g}",
    )


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
    """The runs that cells name, each once, and where they came from.

    Attributes
    ----------
    rows : ``[id, seed, seconds of training, place among the origins]``, the last three None for a run without a record
    origins : ``[commit, device]``, each once
    """

    def __init__(self, records: Records) -> None:
        self.rows: list[list] = []
        self.origins: list[list[str]] = []
        self._records = records
        self._places: dict[str, int] = {}

    def place(self, run: str) -> int:
        """Return the place of a run among the rows, to which it is added if it is new."""
        if run not in self._places:
            self._places[run] = len(self.rows)
            self.rows.append([run, *self._describe(run)])
        return self._places[run]

    def _describe(self, run: str) -> list:
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


def explore_paper(paper: dict, verdict: dict, subsets: dict | None, overlaps: dict | None) -> dict:
    """Return what the page's script explores of a paper: costs, overlaps of subsets, and the subsets themselves."""
    browse = paper["browse"] or {"methods": [], "datasets": {}}
    return {
        "costs": [
            {
                **{key: cost[key] for key in ("table", "panel", "columns")},
                "rows": [[row["title"], {keep: shorten_cost(cell) for keep, cell in row["cells"].items() if cell}] for row in cost["rows"]],
            }
            for cost in verdict["costs"]
        ],
        "methods": browse["methods"],
        "overlaps": [
            {
                **{"dataset": item["dataset"], "title": browse["datasets"].get(item["dataset"], item["dataset"])},
                **{"keep": item["keep"], "kept": format_keep(item["keep"]), "chance": item["chance"], "methods": item["methods"]},
                "overlap": [[None if share is None else round(share, 4) for share in row] for row in item["overlap"]],
            }
            for item in (overlaps or {"overlaps": []})["overlaps"]
            if item["dataset"] in browse["datasets"]
        ],
        "datasets": (subsets or {"datasets": []})["datasets"],
    }


def shorten_cost(cost: dict) -> list[float]:
    """Return selection and training as shares of full-data training, to six digits: enough to break even where costs do."""
    return [float(f"{cost[part]:.6g}") for part in ("selection", "training")]


def check_order(what: str, wanted: list[tuple[str, str]], found: list[tuple[str, str]]) -> None:
    """Raise a RecordError unless the inputs are the wanted ones in the wanted order."""
    if wanted != found:
        names = ["; ".join("/".join(item) for item in items) or "none" for items in (wanted, found)]
        raise RecordError(f"the page's {what} must be, in this order: {names[0]}; found: {names[1]}")


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


def show_table(table: dict, details: list[dict], runs: Runs) -> dict:
    """Return a table as texts, each with the number it is sorted by; what its cells tell on demand is appended to ``details``."""
    kind, panels = KINDS[table["kind"]], []
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
                        "text": "".join(kind.format(cell, table["metric"])),
                        "value": kind.flatten(cell)[kind.sort_by],
                        "best": cell["best"],
                        "below": cell.get("below_random", False),
                        "marks": ",".join(cell["footnotes"]),
                        "status": cell.get("status"),
                        "detail": len(details),
                    }
                )
                details.append({"title": f"{row['title']}, {column['title']}", "panel": panel["title"], **describe_cell(cell, table, runs)})
            title = f"{row['title']} ({NOT_BUILT})" if row["planned"] else row["title"]
            rows.append({"title": title, "control": row["control"], "planned": row["planned"], "cells": cells})
        panels.append({"title": panel["title"], "absent": panel["absent"], "rows": rows})
    kept = {key: table[key] for key in ("id", "title", "caption", "note", "footnotes", "columns")}
    return kept | {"panels": panels}


def describe_cell(cell: dict, table: dict, runs: Runs) -> dict:
    """Return what a cell tells on demand: facts as (name, text) pairs, and the places of its runs with their values."""
    reasons = {hole["run"]: hole["reason"] for hole in cell["holes"]}
    shown = [
        [runs.place(run), reasons.get(run, HOLE) if value is None else format_run_value(value, table["metric"])]
        for run, value in zip(cell["runs"], cell["values"], strict=True)
    ]
    return {"facts": KINDS[table["kind"]].list_facts(cell, table), "runs": shown}


def show_cost(cost: dict) -> dict:
    """Return a cost table as texts."""
    rows = [
        {"title": row["title"], "cells": [format_cost(row["cells"].get(column["id"])) for column in cost["columns"]]}
        for row in cost["rows"]
    ]
    return {"panel": cost["panel"], "columns": cost["columns"], "rows": rows}


def inline_svg(text: str, prefix: str, title: str, glyphs: set[str]) -> str:
    """Return an SVG file as an element to put into a page: named for screen readers, and without what a page has no use for.

    Metadata, comments, the fixed size and ids that nothing refers to are dropped; the other ids are made unique. Letters, whose
    ids name font and glyph, are drawn once a page, and places are rounded to tenths of a point.

    Parameters
    ----------
    text : of the file
    prefix : of ids
    title : of the figure
    glyphs : the letters that the page has drawn already; those drawn here are added
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    named = set(re.findall(r'(?:href="|url\()#([^")]+)', text))

    def rename(found: re.Match) -> str:
        return f' id="{name_part(prefix, found[1])}"' if found[1] in named else ""

    def draw_once(found: re.Match) -> str:
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
    width = float(re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+)', head).group(1)) * 4 / 3
    label = str(jinja2.filters.escape(title))
    return f'{head} role="img" aria-label="{label}" style="max-width:{width:.0f}px">{rest.strip()}'


def name_part(prefix: str, name: str) -> str:
    """Return the id that a part of a drawing has on the page; letters keep theirs."""
    return name if re.fullmatch(GLYPH, name) else f"{prefix}-{name}"

"""Tables: a spec and records → one filled table → CSV, Markdown and LaTeX."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from selectbench.artefacts import cost_shares, costs, grids, shifts
from selectbench.artefacts.cells import Records, list_cells
from selectbench.artefacts.formats import BELOW_RANDOM, NOT_BUILT, count_in_letters, escape_latex, escape_markdown
from selectbench.errors import ConfigError, suggest

KEPT = ("paper", "id", "kind", "scale", "title", "note", "metric", "regime", "partial", "tolerance", "compare_reported")
PLACE_COLUMNS = ("paper", "table", "scale", "regime", "metric", "panel", "test_set", "row", "title", "control", "column")
COUNTS = ("n", "runs", "num_images", "num_clean_images")  # columns that stay integers where lines have none


class Kind(NamedTuple):
    """What tables of one kind do in their own way.

    ``fill`` returns what the kind decides of the table (columns, panels, perhaps the note) and ``describe`` its caption; the others
    turn one cell into a line of the CSV, into a text in two parts (the first is what is set bold), and into facts told on demand;
    ``sort_by`` is the column of the CSV by which readers sort the cells.
    """

    fill: Callable[[dict, Records], dict]
    describe: Callable[[dict], str]
    csv_columns: tuple[str, ...]
    flatten: Callable[[dict], dict]
    format: Callable[[dict, str], tuple[str, str]]
    list_facts: Callable[[dict, dict], list[tuple[str, str]]]
    sort_by: str


KINDS = {
    "grid": Kind(grids.fill_grid, grids.describe_grid, grids.CSV_COLUMNS, grids.flatten_cell, grids.format_cell, grids.list_facts, "mean"),
    "cost_to_reach": Kind(
        costs.fill_costs,
        costs.describe_costs,
        costs.CSV_COLUMNS,
        costs.flatten_answer,
        costs.format_answer,
        costs.list_facts,
        "sample_visits",
    ),
    "cost_shares": Kind(
        cost_shares.fill_shares,
        cost_shares.describe_shares,
        cost_shares.CSV_COLUMNS,
        cost_shares.flatten_share,
        cost_shares.format_share,
        cost_shares.list_facts,
        "sample_visits",
    ),
    "shifted": Kind(
        shifts.fill_shifts, shifts.describe_shifts, shifts.CSV_COLUMNS, shifts.flatten_shift, shifts.format_shift, shifts.list_facts, "mean"
    ),
}


def fill_table(spec: dict, records: Records) -> dict:
    """Return the table with every cell filled: the JSON sidecar that all renderings read.

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec is not ``partial``.
    ConfigError
        The spec's kind is unknown, or the kind cannot show the spec's metric.
    """
    if spec["kind"] not in KINDS:
        raise ConfigError(f"table {spec['id']}: unknown kind {spec['kind']!r}{suggest(spec['kind'], KINDS)}")
    kind = KINDS[spec["kind"]]
    table = {key: spec[key] for key in KEPT} | kind.fill(spec, records)
    return table | {"footnotes": set_footnotes(table["panels"]), "caption": kind.describe(table)}


def set_footnotes(panels: list[dict]) -> list[dict]:
    """Give every cell with holes its footnote; equal texts share a mark (a, b, …, z, aa, …)."""
    marks: dict[str, str] = {}
    for _, _, _, cell in list_cells(panels):
        for text in [*explain_holes(cell), *explain_unreadable(cell)]:
            cell["footnotes"].append(marks.setdefault(text, count_in_letters(len(marks))))
    return [{"mark": mark, "text": text} for text, mark in marks.items()]


def explain_holes(cell: dict) -> list[str]:
    """Return one sentence a reason, with how many runs it took and the first of them."""
    by_reason: dict[str, list[str]] = {}
    for hole in cell["holes"]:
        by_reason.setdefault(hole["reason"], []).append(hole["run"])
    return [f"{len(runs)} of {len(cell['runs'])} runs: {reason}; first: {runs[0]}" for reason, runs in by_reason.items()]


def explain_unreadable(cell: dict) -> list[str]:
    """Return one sentence for images of the test set that are left out and one for training images that are grey."""
    counts = cell.get("unreadable", {})
    texts = {
        "test": "up to {} unreadable images of the test set are left out",
        "training": "up to {} unreadable images of a subset are replaced by grey ones",
    }
    return [text.format(counts[place]) for place, text in texts.items() if counts.get(place)]


def frame_table(table: dict) -> pd.DataFrame:
    """Return the table in long form: one line a cell, one for a planned row and one for an absent panel."""
    kind = KINDS[table["kind"]]
    lines = []
    for panel in table["panels"]:
        place = {key: table["id" if key == "table" else key] for key in PLACE_COLUMNS[:5]} | {
            "panel": panel["id"],
            "test_set": panel["test_set"],
        }
        if panel["absent"] is not None:
            lines.append(place | {"remark": panel["absent"]})
        for row in panel["rows"]:
            here = place | {"row": row["id"], "title": row["title"], "control": row["control"]}
            if row["planned"]:
                lines.append(here | {"remark": NOT_BUILT})
            for column, cell in row["cells"].items():
                lines.append(here | {"column": column} | kind.flatten(cell) | {"remark": " | ".join(explain_holes(cell)) or None})
    return pd.DataFrame(lines, columns=[*PLACE_COLUMNS, *kind.csv_columns, "remark"])


def render_csv(table: dict) -> str:
    """Return the long form as CSV."""
    frame = frame_table(table)
    frame = frame.astype({name: "Int64" for name in COUNTS if name in frame})
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def render_markdown(table: dict) -> str:
    """Return one Markdown table a panel, under the caption and above the footnotes."""
    lines = [f"# {table['title']}", "", table["caption"]]
    if table["note"]:
        lines += ["", table["note"]]
    for panel in table["panels"]:
        lines += ["", f"## {panel['title']}", ""]
        if panel["absent"] is not None:
            lines.append(f"Not at this scale: {panel['absent']}")
            continue
        lines.append("| | " + " | ".join(escape_markdown(column["title"]) for column in table["columns"]) + " |")
        lines.append("|:--|" + "--:|" * len(table["columns"]))
        for row in panel["rows"]:
            title = escape_markdown(row["title"])
            title = f"*{title}*" if row["control"] else title
            title += f" ({NOT_BUILT})" if row["planned"] else ""
            cells = [markdown_cell(row["cells"].get(column["id"]), table) for column in table["columns"]]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    if table["footnotes"]:
        lines += ["", *(f"<sup>{note['mark']}</sup> {escape_markdown(note['text'])}  " for note in table["footnotes"])]
    return "\n".join(lines) + "\n"


def markdown_cell(cell: dict | None, table: dict) -> str:
    """Return a cell's text in Markdown; a cell the table does not have is empty."""
    if cell is None:
        return ""
    text = "".join(KINDS[table["kind"]].format(cell, table["metric"]))
    text = f"**{text}**" if cell["best"] else text
    text += f" {BELOW_RANDOM}" if cell.get("below_random") else ""
    text += f"<sup>{','.join(cell['footnotes'])}</sup>" if cell["footnotes"] else ""
    return text + (f"<br>{cell['status']} ({cell['reported']['value']:g})" if cell.get("status") else "")


def render_latex(table: dict) -> str:
    """Return a LaTeX table float in booktabs style, one block of rows a panel."""
    width = len(table["columns"]) + 1
    caption = " ".join(filter(None, [f"{table['title']}.", table["caption"], table["note"]]))
    lines = [
        "% needs \\usepackage{booktabs,amssymb}",
        r"\begin{table}[t]",
        r"\centering\small",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{table['paper']}-{table['id']}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        " & ".join(["", *(escape_latex(column["title"]) for column in table["columns"])]) + r" \\",
    ]
    for panel in table["panels"]:
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape_latex(panel['title'])}}}}} \\"]
        if panel["absent"] is not None:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{Not at this scale: {escape_latex(panel['absent'])}}} \\")
        for row in panel["rows"]:
            title = escape_latex(row["title"])
            if row["planned"]:
                lines.append(rf"{title} & \multicolumn{{{width - 1}}}{{c}}{{{NOT_BUILT}}} \\")
            else:
                cells = [latex_cell(row["cells"].get(column["id"]), table) for column in table["columns"]]
                lines.append(" & ".join([title, *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table["footnotes"]:
        notes = [rf"\textsuperscript{{{note['mark']}}} {escape_latex(note['text'])}" for note in table["footnotes"]]
        lines.append(r"\par\smallskip\raggedright\footnotesize " + r" \\ ".join(notes))
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def latex_cell(cell: dict | None, table: dict) -> str:
    """Return a cell's text in LaTeX; a cell the table does not have is empty."""
    if cell is None:
        return ""
    head, tail = map(escape_latex, KINDS[table["kind"]].format(cell, table["metric"]))
    text = rf"\textbf{{{head}}}" if cell["best"] else head
    text += rf" {{\scriptsize {tail.strip()}}}" if tail else ""
    text += r" $\blacktriangledown$" if cell.get("below_random") else ""
    text += rf"\textsuperscript{{{','.join(cell['footnotes'])}}}" if cell["footnotes"] else ""
    return text + (rf" {{\scriptsize ({escape_latex(cell['status'])})}}" if cell.get("status") else "")

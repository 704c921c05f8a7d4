"""Tables: a spec and records → one filled table → CSV, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from selectbench.artefacts import cost_shares, costs, grids, shifts
from selectbench.artefacts.cells import Cell, find_finished, list_cells
from selectbench.artefacts.cost_shares import Times
from selectbench.artefacts.costs import Answer
from selectbench.artefacts.formats import (
    BELOW_RANDOM,
    NOT_BUILT,
    count_in_letters,
    escape_latex,
    escape_markdown,
    escape_paragraph,
    guard_csv,
    open_latex_row,
)
from selectbench.artefacts.kinds import Footnote, Kind, Line, Table
from selectbench.artefacts.learning import find_dataset, find_idle
from selectbench.artefacts.shifts import ShiftedCell
from selectbench.artefacts.specs import LearnerSpec, Panel, TableKind, TableSpec
from selectbench.errors import ConfigError, suggest
from selectbench.records.rows import Records

AnyCell = Cell | ShiftedCell | Answer
PLACE_COLUMNS = ("paper", "table", "scale", "regime", "metric", "panel", "test_set", "row", "title", "control", "column")
MOST_NAMED = 6  # runs in a footnote
FREE_TEXTS = ("title", "remark")  # columns whose texts are not ids
COUNTS = ("n", "runs", "num_images", "num_clean_images")  # columns that stay integers where lines have none


KINDS: Mapping[TableKind, Kind[Any]] = {
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


def fill_table(spec: TableSpec, records: Records, times: Times | None = None) -> Table[AnyCell]:
    """Return a table with every cell filled: the JSON sidecar that all renderings read.

    Parameters
    ----------
    spec, records : of the table and its runs
    times : how long repeated trainings took, for tables of costs

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    ConfigError
        The kind is unknown, or cannot show the metric.
    """
    if spec["kind"] not in KINDS:
        raise ConfigError(f"table {spec['id']}: unknown kind {spec['kind']!r}{suggest(spec['kind'], KINDS)}")
    kind = KINDS[spec["kind"]]
    filled = kind.fill(spec, records)
    if times:
        cost_shares.add_repeats(filled.panels, records, times)
    table = Table[AnyCell](
        paper=spec["paper"],
        id=spec["id"],
        kind=spec["kind"],
        scale=spec["scale"],
        title=spec["title"],
        note=filled.note,
        metric=spec["metric"],
        regime=spec["regime"],
        partial=spec["partial"],
        tolerance=spec["tolerance"],
        compare_reported=spec["compare_reported"],
        columns=filled.columns,
        panels=filled.panels,
        footnotes=set_footnotes(filled.panels, note_rows(filled.panels, spec.get("learners", []), records)),
        caption="",
    )
    table["caption"] = kind.describe(table)
    return table


def note_rows(panels: Sequence[Panel[AnyCell]], learners: Sequence[LearnerSpec], records: Records) -> dict[tuple[str, str], str]:
    """Return (panel, row) → note, for the rows of agents that did not learn and of subsets that other code has chosen."""
    return note_idle(panels, learners, records) | note_declared(panels, records)


def note_declared(panels: Sequence[Panel[AnyCell]], records: Records) -> dict[tuple[str, str], str]:
    """Return (panel, row) → note, for the rows whose costs their author reports."""
    shown = [(panel, row, find_finished(records, run)) for panel, row, _, cell in list_cells(panels) for run in cell["runs"]]
    declared = [(panel["id"], row["id"]) for panel, row, record in shown if record and record["selection"].get("declared")]
    return dict.fromkeys(declared, "subsets chosen by other code; the cost of choosing them is what their author reports")


def note_idle(panels: Sequence[Panel[AnyCell]], learners: Sequence[LearnerSpec], records: Records) -> dict[tuple[str, str], str]:
    """Return (panel, row) → note, for the rows of agents that did not learn."""
    notes: dict[tuple[str, str], str] = {}
    for panel in panels:
        runs = [cell["runs"][0] for _, _, _, cell in list_cells([panel]) if cell["runs"]]
        idle = find_idle(records, learners, [find_dataset(records, run) for run in runs[:1]])
        notes |= {(panel["id"], method): note for (method, _), note in idle.items()}
    return notes


def set_footnotes(panels: Sequence[Panel[AnyCell]], row_notes: Mapping[tuple[str, str], str]) -> list[Footnote]:
    """Give rows, and cells with something to explain, their footnotes; equal texts share a mark (a, b, …, z, aa, …).

    Parameters
    ----------
    panels : whose rows and cells are marked
    row_notes : (panel, row) → note on the row
    """
    marks: dict[str, str] = {}
    for panel in panels:
        for row in panel["rows"]:
            if note := row_notes.get((panel["id"], row["id"])):
                row["footnotes"] = [marks.setdefault(note, count_in_letters(len(marks)))]
    for _, _, _, cell in list_cells(panels):
        for text in [*explain_holes(cell), *explain_unreadable(cell), *explain_limit(cell), *explain_distances(cell)]:
            cell["footnotes"].append(marks.setdefault(text, count_in_letters(len(marks))))
    return [Footnote(mark=mark, text=text) for text, mark in marks.items()]


def explain_holes(cell: AnyCell) -> list[str]:
    """Return one sentence per reason: ``"2 of 3 seeds failed (0, 2): loss is not finite"``.

    The answer of a table of costs has runs of several keep fractions, which are named too.
    """
    is_grid = find_grid_cell(cell) is not None
    noun = ("seed" if is_grid else "run") + ("" if len(cell["runs"]) == 1 else "s")
    by_reason: dict[str, list[str]] = {}
    for hole in cell["holes"]:
        rest, _, seed = hole["run"].rpartition("/seed-")
        name = seed if is_grid else f"keep {rest.rpartition('/keep-')[2]} seed {seed}"
        by_reason.setdefault(hole["reason"], []).append(name)
    sentences = []
    for reason, names in by_reason.items():
        failed, _, why = reason.partition("failed: ")
        outcome = "failed" if why and not failed else "without a value"
        named = ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
        sentences.append(f"{len(names)} of {len(cell['runs'])} {noun} {outcome} ({named}): {why if outcome == 'failed' else reason}")
    return sentences


def explain_unreadable(cell: AnyCell) -> list[str]:
    """Return one sentence for test images that are left out and one for training images that are grey."""
    grid = find_grid_cell(cell)
    counts = grid["unreadable"] if grid else {}
    texts = {"test": "{} per run left out of the test set", "training": "{} per run replaced by grey in training"}
    images = {place: f"up to {count} unreadable image{'s' if count > 1 else ''}" for place, count in counts.items() if count}
    return [text.format(images[place]) for place, text in texts.items() if place in images]


def explain_limit(cell: AnyCell) -> list[str]:
    """Return one sentence if the method's rule cannot keep as few samples as the column asks for."""
    grid = find_grid_cell(cell)
    if grid is None or grid["reached_keep"] is None:
        return []
    least = f"{100 * grid['reached_keep']:g} %"
    return [f"the method's rule cannot be set to a keep fraction below {least}; all lower ones give the same runs"]


def explain_distances(cell: AnyCell) -> list[str]:
    """Return a sentence for agents none of whose masks came near the target: ``"nearest epoch 1.6 points from the target …"``."""
    grid = find_grid_cell(cell)
    if not grid or not grid["distant"]:
        return []
    points = [f"{100 * distance:.1f}" for distance in sorted(grid["distant"].values())]
    span = points[0] if points[0] == points[-1] else f"{points[0]} to {points[-1]}"
    seeds = f"{len(points)} of {grid['n']} {'seed' if grid['n'] == 1 else 'seeds'}"
    return [f"nearest epoch {span} points from the target keep fraction ({seeds}); the k largest actions are kept"]


def frame_table(table: Table[AnyCell]) -> pd.DataFrame:
    """Return the table in long form: one line per cell, planned row and absent panel."""
    kind = KINDS[table["kind"]]
    lines: list[Line] = []
    about = {"paper": table["paper"], "table": table["id"], "scale": table["scale"], "regime": table["regime"], "metric": table["metric"]}
    for panel in table["panels"]:
        place = about | {"panel": panel["id"], "test_set": panel["test_set"]}
        if panel["absent"] is not None:
            lines.append(place | {"remark": panel["absent"]})
        for row in panel["rows"]:
            here = place | {"row": row["id"], "title": row["title"], "control": row["control"]}
            if row["planned"]:
                lines.append(here | {"remark": NOT_BUILT})
            for column, cell in row["cells"].items():
                lines.append(here | {"column": column} | kind.flatten(cell) | {"remark": " | ".join(explain_holes(cell)) or None})
    return pd.DataFrame(lines, columns=[*PLACE_COLUMNS, *kind.csv_columns, "remark"])


def render_csv(table: Table[AnyCell]) -> str:
    """Return the long form as CSV; a text that spreadsheets would take for a formula begins with an apostrophe."""
    frame = frame_table(table)
    frame = frame.astype({name: "Int64" for name in COUNTS if name in frame})
    frame = frame.assign(**{name: frame[name].map(guard_csv) for name in FREE_TEXTS})
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def render_markdown(table: Table[AnyCell]) -> str:
    """Return one Markdown table per panel, below the caption and above the footnotes."""
    lines = [f"# {escape_paragraph(table['title'])}", "", escape_paragraph(table["caption"])]
    if table["note"]:
        lines += ["", escape_paragraph(table["note"])]
    for panel in table["panels"]:
        lines += ["", f"## {escape_paragraph(panel['title'])}", ""]
        if panel["absent"] is not None:
            lines.append(f"Not at this scale: {escape_paragraph(panel['absent'])}")
            continue
        lines.append("| | " + " | ".join(escape_markdown(column["title"]) for column in table["columns"]) + " |")
        lines.append("|:--|" + "--:|" * len(table["columns"]))
        for row in panel["rows"]:
            title = escape_markdown(row["title"])
            title = f"*{title}*" if row["control"] else title
            title += f" ({NOT_BUILT})" if row["planned"] else ""
            title += f"<sup>{','.join(row['footnotes'])}</sup>" if row.get("footnotes") else ""
            cells = [markdown_cell(row["cells"].get(column["id"]), table) for column in table["columns"]]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    if table["footnotes"]:
        lines += ["", *(f"<sup>{note['mark']}</sup> {escape_markdown(note['text'])}  " for note in table["footnotes"])]
    return "\n".join(lines) + "\n"


def markdown_cell(cell: AnyCell | None, table: Table[AnyCell]) -> str:
    """Return a cell's text in Markdown; empty for a cell that the table does not have."""
    if cell is None:
        return ""
    grid, text = find_grid_cell(cell), escape_markdown("".join(KINDS[table["kind"]].format(cell, table["metric"])))
    text = f"**{text}**" if cell["best"] else text
    text += f" {BELOW_RANDOM}" if grid and grid["below_random"] else ""
    text += f"<sup>{','.join(cell['footnotes'])}</sup>" if cell["footnotes"] else ""
    return text + (f"<br>{grid['status']} ({grid['reported']['value']:g})" if grid and grid["status"] and grid["reported"] else "")


def render_latex(table: Table[AnyCell]) -> str:
    """Return a LaTeX table float in booktabs style, one block of rows per panel."""
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
            title = open_latex_row(escape_latex(row["title"]))
            title += rf"\textsuperscript{{{','.join(row['footnotes'])}}}" if row.get("footnotes") else ""
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


def latex_cell(cell: AnyCell | None, table: Table[AnyCell]) -> str:
    """Return a cell's text in LaTeX; empty for a cell that the table does not have."""
    if cell is None:
        return ""
    grid = find_grid_cell(cell)
    head, tail = map(escape_latex, KINDS[table["kind"]].format(cell, table["metric"]))
    text = rf"\textbf{{{head}}}" if cell["best"] else head
    text += rf" {{\scriptsize {tail.strip()}}}" if tail else ""
    text += r" $\blacktriangledown$" if grid and grid["below_random"] else ""
    text += rf"\textsuperscript{{{','.join(cell['footnotes'])}}}" if cell["footnotes"] else ""
    return text + (rf" {{\scriptsize ({escape_latex(grid['status'])})}}" if grid and grid["status"] else "")


def find_grid_cell(cell: AnyCell) -> Cell | None:
    """Return a cell if it is one of a grid; None for the answer of a table of costs, which is compared with nothing."""
    return cell if "below_random" in cell else None

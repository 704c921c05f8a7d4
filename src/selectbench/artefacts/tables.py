"""Tables: a spec and records → one filled table → CSV, Markdown and LaTeX."""

import pandas as pd

from selectbench.artefacts.cells import FULL, FULL_COLUMN, LOWER_IS_BETTER, METRIC_TITLES, Cell, Records, fill_panels, list_cells

BELOW_RANDOM = "▼"
HOLE = "—"
NOT_BUILT = "not built yet"
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_"},
    "→": r"$\rightarrow$",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "ε": r"$\varepsilon$",
    "–": "--",
    "—": "---",
    "√": r"$\surd$",
    "▼": r"$\blacktriangledown$",
}


def fill_table(spec: dict, records: Records) -> dict:
    """Return the table with every cell filled: the JSON sidecar that all renderings read.

    The full-data value always has a column of its own, keep 1, which is added when the paper's table has none.

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec is not ``partial``.
    """
    panels = fill_panels(spec, records)
    columns = list(spec["columns"])
    has_full = any(row["id"] == FULL and FULL_COLUMN in row["cells"] for panel in panels for row in panel["rows"])
    if has_full and FULL_COLUMN not in [column["id"] for column in columns]:
        columns.append({"id": FULL_COLUMN, "title": "100 %"})
    for panel in panels:
        mark_best(panel["rows"], columns, spec["metric"])
    if spec["compare_reported"]:
        for _, _, _, cell in list_cells(panels):
            compare_with_reported(cell, spec["tolerance"])
    kept = ("paper", "id", "scale", "title", "note", "metric", "test_set", "regime", "partial", "tolerance", "compare_reported")
    table = {key: spec[key] for key in kept} | {"columns": columns, "panels": panels}
    return table | {"footnotes": set_footnotes(panels), "caption": describe_table(table)}


def mark_best(rows: list[dict], columns: list[dict], metric: str) -> None:
    """Mark the best mean of each column, full data and cells with holes aside; means that print alike share it, one alone gets none."""
    for column in columns:
        cells = [row["cells"].get(column["id"]) for row in rows if row["id"] != FULL]
        cells = [cell for cell in cells if cell is not None and cell["mean"] is not None and not cell["holes"]]
        if len({tuple(cell["runs"]) for cell in cells}) < 2:
            continue
        best = (min if metric in LOWER_IS_BETTER else max)(cell["mean"] for cell in cells)
        for cell in cells:
            cell["best"] = format_number(cell["mean"], metric) == format_number(best, metric)


def compare_with_reported(cell: Cell, tolerance: float) -> None:
    """Set difference and status of a cell that has both a mean and a reported value."""
    if cell["mean"] is None or cell["reported"] is None:
        return
    cell["difference"] = cell["mean"] - cell["reported"]["value"]
    cell["status"] = "reproduced" if abs(cell["difference"]) <= tolerance else f"off by {format_signed(cell['difference'], 1)}"


def set_footnotes(panels: list[dict]) -> list[dict]:
    """Give every cell with holes its footnote; equal texts share a mark (a, b, …, z, aa, …)."""
    marks: dict[str, str] = {}
    for _, _, _, cell in list_cells(panels):
        for text in explain_holes(cell):
            cell["footnotes"].append(marks.setdefault(text, count_in_letters(len(marks))))
    return [{"mark": mark, "text": text} for text, mark in marks.items()]


def explain_holes(cell: Cell) -> list[str]:
    """Return one sentence a reason, with how many runs it took and the first of them."""
    by_reason: dict[str, list[str]] = {}
    for hole in cell["holes"]:
        by_reason.setdefault(hole["reason"], []).append(hole["run"])
    return [f"{len(runs)} of {len(cell['runs'])} runs: {reason}; first: {runs[0]}" for reason, runs in by_reason.items()]


def count_in_letters(number: int) -> str:
    """Return a, b, …, z, aa, ab, … for 0, 1, 2, and so on."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def describe_table(table: dict) -> str:
    """Return the caption: what is measured, over how many seeds, in which regime and at which scale."""
    cells = [cell for _, _, _, cell in list_cells(table["panels"])]
    title = METRIC_TITLES.get(table["metric"], table["metric"])
    sentences = [
        f"{title[0].upper()}{title[1:]} on the test set “{table['test_set']}” after the last epoch: mean ± standard deviation over "
        f"n = {format_range(len(cell['runs']) for cell in cells)} seeds.",
        f"Regime: {table['regime'].replace('_', ' ')}. Scale: {table['scale']}.",
    ]
    if any(cell["best"] for cell in cells):
        sentences.append("Bold: best of its column in the panel, full data and cells with holes aside.")
    if any(cell["below_random"] for cell in cells):
        sentences.append(f"{BELOW_RANDOM} worse than uniform random: the 95 % t-interval of the paired difference lies below 0.")
    if any(cell["status"] for cell in cells):
        sentences.append(f"Reproduced: within {table['tolerance']:g} of the reported value.")
    elif num_reported := sum(cell["reported"] is not None for cell in cells):
        sentences.append(
            f"The paper reports {num_reported} of these cells, from other data and models than this scale's: they are not compared."
        )
    return " ".join(sentences)


def format_range(numbers: object) -> str:
    """Return ``"5"`` for equal numbers, ``"3–5"`` for others and ``"0"`` for none."""
    numbers = list(numbers) or [0]
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)}–{max(numbers)}"


def format_number(value: float, metric: str) -> str:
    """Return a value as it is printed: one decimal, three for a loss."""
    return f"{value:.3f}" if metric == "loss" else f"{value:.1f}"


def format_signed(value: float, decimals: int) -> str:
    """Return a value with its sign, a true minus, and no sign for a zero."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def frame_table(table: dict) -> pd.DataFrame:
    """Return the table in long form: one line a cell, one for a planned row and one for an absent panel."""
    lines = []
    for panel in table["panels"]:
        place = {key: table[key] for key in ("paper", "id", "scale", "regime", "test_set", "metric")}
        place = {"table" if key == "id" else key: value for key, value in place.items()} | {"panel": panel["id"]}
        if panel["absent"] is not None:
            lines.append(place | {"remark": panel["absent"]})
        for row in panel["rows"]:
            here = place | {"row": row["id"], "title": row["title"], "control": row["control"]}
            if row["planned"]:
                lines.append(here | {"remark": NOT_BUILT})
            lines.extend(here | {"column": column} | flatten_cell(cell) for column, cell in row["cells"].items())
    columns = [
        "paper",
        "table",
        "scale",
        "regime",
        "test_set",
        "metric",
        "panel",
        "row",
        "title",
        "control",
        "column",
        *CELL_COLUMNS,
        "remark",
    ]
    return pd.DataFrame(lines, columns=columns)


CELL_COLUMNS = (
    *("n", "runs", "mean", "sd", "low", "high", "best_epoch_mean", "minus_random", "below_random"),
    *("selection_cost", "training_cost", "sample_visits", "reported", "evidence", "difference", "status", "run_ids"),
)


def flatten_cell(cell: Cell) -> dict:
    """Return a cell as the columns of the long form."""
    low, high = cell["interval"] or (None, None)
    cost, reported = cell["cost"] or {}, cell["reported"] or {}
    return {
        "n": cell["n"],
        "runs": len(cell["runs"]),
        "mean": cell["mean"],
        "sd": cell["sd"],
        "low": low,
        "high": high,
        "best_epoch_mean": cell["best_epoch"],
        "minus_random": (cell["against_random"] or {}).get("mean"),
        "below_random": cell["below_random"],
        "selection_cost": cost.get("selection"),
        "training_cost": cost.get("training"),
        "sample_visits": cost.get("sample_visits"),
        "reported": reported.get("value"),
        "evidence": reported.get("evidence"),
        "difference": cell["difference"],
        "status": cell["status"],
        "run_ids": " ".join(cell["runs"]),
        "remark": " | ".join(explain_holes(cell)) or None,
    }


def render_csv(table: dict) -> str:
    """Return the long form as CSV."""
    frame = frame_table(table).astype({"n": "Int64", "runs": "Int64"})
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
            cells = [markdown_cell(row["cells"].get(column["id"]), table["metric"]) for column in table["columns"]]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    if table["footnotes"]:
        lines += ["", *(f"<sup>{note['mark']}</sup> {escape_markdown(note['text'])}  " for note in table["footnotes"])]
    return "\n".join(lines) + "\n"


def markdown_cell(cell: Cell | None, metric: str) -> str:
    """Return a cell's text in Markdown; a cell the table does not have is empty."""
    if cell is None:
        return ""
    text = format_cell(cell, metric)
    text = f"**{text}**" if cell["best"] else text
    text += f" {BELOW_RANDOM}" if cell["below_random"] else ""
    text += f"<sup>{','.join(cell['footnotes'])}</sup>" if cell["footnotes"] else ""
    return text + (f"<br>{cell['status']} ({cell['reported']['value']:g})" if cell["status"] else "")


def format_cell(cell: Cell, metric: str) -> str:
    """Return ``"95.2 ± 0.4"``, the mean alone for one seed, and a dash for none."""
    if cell["mean"] is None:
        return HOLE
    mean = format_number(cell["mean"], metric)
    return mean if cell["sd"] is None else f"{mean} ± {format_number(cell['sd'], metric)}"


def escape_markdown(text: str) -> str:
    """Escape what would break a Markdown table or turn into markup."""
    for character in "\\|*_<":
        text = text.replace(character, f"\\{character}")
    return text


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
                cells = [latex_cell(row["cells"].get(column["id"]), table["metric"]) for column in table["columns"]]
                lines.append(" & ".join([title, *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table["footnotes"]:
        notes = [rf"\textsuperscript{{{note['mark']}}} {escape_latex(note['text'])}" for note in table["footnotes"]]
        lines.append(r"\par\smallskip\raggedright\footnotesize " + r" \\ ".join(notes))
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def latex_cell(cell: Cell | None, metric: str) -> str:
    """Return a cell's text in LaTeX; a cell the table does not have is empty."""
    if cell is None:
        return ""
    mean, *deviation = format_cell(cell, metric).split(" ± ")
    text = escape_latex(mean)
    text = rf"\textbf{{{text}}}" if cell["best"] else text
    text += rf" {{\scriptsize $\pm$ {deviation[0]}}}" if deviation else ""
    text += r" $\blacktriangledown$" if cell["below_random"] else ""
    text += rf"\textsuperscript{{{','.join(cell['footnotes'])}}}" if cell["footnotes"] else ""
    return text + (rf" {{\scriptsize ({escape_latex(cell['status'])})}}" if cell["status"] else "")


def escape_latex(text: str) -> str:
    """Escape LaTeX's special characters and write the symbols we use as commands."""
    text = "".join(LATEX.get(character, character) for character in text)
    return text.replace("“", "``").replace("”", "''")

"""Grids: tables with one row per method and one column per keep fraction."""

from collections.abc import Sequence
from typing import Any, TypeVar

from selectbench.artefacts.cells import (
    COST_METRICS,
    FULL,
    FULL_COLUMN,
    LOWER_IS_BETTER,
    METRIC_TITLES,
    NOT_SELECTING,
    TEST_METRICS,
    Cell,
    fill_panels,
    list_cells,
)
from selectbench.artefacts.formats import (
    BELOW_RANDOM,
    HOLE,
    count_seeds,
    format_cost,
    format_difference,
    format_keep,
    format_number,
    format_signed,
)
from selectbench.artefacts.kinds import Facts, Filled, Line, Table
from selectbench.artefacts.specs import TableRow, TableSpec, Titled
from selectbench.records.rows import Records

GridCell = TypeVar("GridCell", bound=Cell)
CSV_COLUMNS = (
    *("n", "runs", "mean", "sd", "low", "high", "best_epoch_mean", "minus_random", "below_random"),
    *("selection_cost", "training_cost", "sample_visits", "reported", "evidence", "difference", "status", "run_ids"),
)


def fill_grid(spec: TableSpec, records: Records) -> Filled[Cell]:
    """Return the columns and the filled panels of a grid.

    Full data always has a column of its own, keep fraction 1, which is added if the paper's table has none.

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    """
    panels = fill_panels(spec, records)
    columns = list(spec["columns"])
    has_full = any(row["id"] == FULL and FULL_COLUMN in row["cells"] for panel in panels for row in panel["rows"])
    if has_full and FULL_COLUMN not in [column["id"] for column in columns]:
        columns.append({"id": FULL_COLUMN, "title": format_keep(FULL_COLUMN)})
    for panel in panels:
        mark_best(panel["rows"], columns, spec["metric"])
    if spec["compare_reported"]:
        for _, _, _, cell in list_cells(panels):
            compare_with_reported(cell, spec["tolerance"])
    return Filled(columns, panels, spec["note"])


def mark_best(rows: Sequence[TableRow[Cell]], columns: Sequence[Titled], metric: str) -> None:
    """Mark the best mean of each column; equal prints are all marked, a single one is not.

    Rows without a selection, cells with holes and, of texts, methods whose training saw the whole pool are excluded.
    """
    for column in columns:
        cells = [row["cells"][column["id"]] for row in rows if row["id"] not in NOT_SELECTING and column["id"] in row["cells"]]
        cells = [cell for cell in cells if not cell["whole_pool"]]
        means = [(cell, cell["mean"]) for cell in cells if cell["mean"] is not None and not cell["holes"]]
        if len({tuple(cell["runs"]) for cell, _ in means}) < 2:
            continue
        best = (min if metric in LOWER_IS_BETTER else max)(mean for _, mean in means)
        for cell, mean in means:
            cell["best"] = format_number(mean, metric) == format_number(best, metric)


def compare_with_reported(cell: Cell, tolerance: float) -> None:
    """Set the difference and status of a cell that has both a mean and a reported value."""
    if cell["mean"] is None or cell["reported"] is None:
        return
    difference = cell["mean"] - cell["reported"]["value"]
    cell["difference"] = difference
    cell["status"] = "reproduced" if abs(difference) <= tolerance else f"off by {format_signed(difference, 1)}"


def describe_grid(table: Table[GridCell]) -> str:
    """Return the caption: metric, number of seeds, regime and scale."""
    cells = [cell for _, _, _, cell in list_cells(table["panels"])]
    metric = table["metric"]
    title = METRIC_TITLES.get(metric, metric)
    seeds = count_seeds(len(cell["runs"]) for cell in cells)
    place = f" on {name_test_sets(table)} after the last epoch" if metric in TEST_METRICS else ""
    sentences = [
        f"{title[0].upper()}{title[1:]}{place}: mean ± standard deviation over {seeds}.",
        f"Regime: {table['regime'].replace('_', ' ')}. Scale: {table['scale']}.",
    ]
    if any(cell["best"] for cell in cells):
        seen = ", methods whose training saw the whole pool" if any(cell["whole_pool"] for cell in cells) else ""
        sentences.append(f"Bold: best in column, excluding full data{seen} and cells with missing runs.")
    if any(cell["below_random"] for cell in cells):
        word, compared = ("more expensive", "log-ratio") if metric in COST_METRICS else ("worse", "difference")
        sentences.append(f"{BELOW_RANDOM} {word} than uniform random: the 95 % t-interval of the paired {compared} lies below 0.")
    if any(cell["status"] for cell in cells):
        sentences.append(f"Reproduced: within {table['tolerance']:g} of the reported value.")
    elif num_reported := sum(cell["reported"] is not None for cell in cells):
        sentences.append(f"The paper reports {num_reported} of these cells, but for other data and models, so no comparison is made.")
    return " ".join(sentences)


def name_test_sets(table: Table[Any]) -> str:
    """Return ``"the test set “test”"``, or the plural if panels have different ones."""
    names = dict.fromkeys(panel["test_set"] for panel in table["panels"] if panel["absent"] is None)
    if not names:
        return "a test set"
    return f"the test set{'s' if len(names) > 1 else ''} {' and '.join(f'“{name}”' for name in names)}"


def flatten_cell(cell: Cell) -> Line:
    """Return a cell as the columns of the long form."""
    low, high = cell["interval"] or (None, None)
    cost, reported, against = cell["cost"], cell["reported"], cell["against_random"]
    return {
        "n": cell["n"],
        "runs": len(cell["runs"]),
        "mean": cell["mean"],
        "sd": cell["sd"],
        "low": low,
        "high": high,
        "best_epoch_mean": cell["best_epoch"],
        "minus_random": against["mean"] if against else None,
        "below_random": cell["below_random"],
        "selection_cost": cost["selection"] if cost else None,
        "training_cost": cost["training"] if cost else None,
        "sample_visits": cost["sample_visits"] if cost else None,
        "reported": reported["value"] if reported else None,
        "evidence": reported["evidence"] if reported else None,
        "difference": cell["difference"],
        "status": cell["status"],
        "run_ids": " ".join(cell["runs"]),
    }


def format_cell(cell: Cell, metric: str) -> tuple[str, str]:
    """Return ``("95.2", " ± 0.4")``, the mean alone for one seed, and a dash for none."""
    if cell["mean"] is None:
        return HOLE, ""
    deviation = "" if cell["sd"] is None else f" ± {format_number(cell['sd'], metric)}"
    return format_number(cell["mean"], metric), deviation


def list_facts(cell: Cell, table: Table[Any]) -> Facts:
    """Return what a page tells about a cell on demand."""
    metric = table["metric"]
    facts = [
        ("Value", f"{''.join(format_cell(cell, metric))}, n = {cell['n']} of {len(cell['runs'])}"),
        ("Metric", METRIC_TITLES.get(metric, metric)),
    ]
    if cell["interval"] is not None:
        facts.append(("95 % interval", " to ".join(format_number(bound, metric) for bound in cell["interval"])))
    if cell["against_random"] is not None:
        found = cell["against_random"]
        facts.append(("Compared with random", format_difference(found["mean"], found["low"], found["high"], metric)))
    if cell["best_epoch"] is not None:
        facts.append(("Best epoch (extra)", f"{format_number(cell['best_epoch'], metric)}, chosen on the test set"))
    if cell["cost"] is not None:
        visits = f"{cell['cost']['sample_visits']:.2f} × its sample visits"
        facts.append(("Cost", f"{format_cost(cell['cost'])} × the time of full-data training; {visits}"))
    if cell["reported"] is not None:
        note = f"; {cell['reported']['note']}" if cell["reported"]["note"] else ""
        facts.append(("Reported", f"{cell['reported']['value']:g} ({cell['reported']['evidence']}{note})"))
        facts.append(("Comparison", cell["status"] or ("no value" if table["compare_reported"] else "not made at this scale")))
    return facts

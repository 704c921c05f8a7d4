"""Cost shares: grids whose cells say what a method costs relative to training on full data of the same seed."""

from typing import Any

from selectbench.artefacts import grids
from selectbench.artefacts.cells import FULL_ROWS, TOTAL_VISITS, Cell, list_cells
from selectbench.artefacts.formats import HOLE, count_seeds
from selectbench.artefacts.kinds import Facts, Filled, Line, Table
from selectbench.artefacts.specs import TableSpec
from selectbench.errors import ConfigError
from selectbench.records.rows import Records

CSV_COLUMNS = (
    *("n", "runs", "sample_visits", "total_time", "selection_time", "training_time"),
    *("reported", "evidence", "difference", "run_ids"),
)


def fill_shares(spec: TableSpec, records: Records) -> Filled[Cell]:
    """Return the columns and the filled panels; the fewest sample visits of a column are its best, excluding full data.

    A reported number is relative to full data's cost too, and is compared with the total time.

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    ConfigError
        The metric is not total sample visits.
    """
    if spec["metric"] != TOTAL_VISITS:
        raise ConfigError(f"table {spec['id']}: a table of kind 'cost_shares' needs the metric {TOTAL_VISITS}, not {spec['metric']!r}")
    filled = grids.fill_grid(spec | {"compare_reported": False}, records)
    for _, row, _, cell in list_cells(filled.panels):
        if cell["cost"] is None or row["id"] in FULL_ROWS:
            cell["best"] = False
        cell["below_random"] = False
        if spec["compare_reported"] and cell["reported"] is not None and cell["cost"] is not None:
            difference = cell["cost"]["total"] - cell["reported"]["value"]
            cell["difference"] = difference
            cell["status"] = "reproduced" if abs(difference) <= spec["tolerance"] else f"off by {difference:+.2f}".replace("-", "−")
    return filled


def describe_shares(table: Table[Cell]) -> str:
    """Return the caption: what the numbers of a cell are."""
    cells = [cell for _, _, _, cell in list_cells(table["panels"])]
    seeds = count_seeds(len(cell["runs"]) for cell in cells)
    sentences = [
        f"Cost relative to full-data training of the same seed, mean over {seeds}: sample visits of selection plus training, "
        "with wall time in brackets as selection + training.",
        f"Regime: {table['regime'].replace('_', ' ')}. Scale: {table['scale']}.",
    ]
    if any(cell["best"] for cell in cells):
        sentences.append("Bold: fewest sample visits in column, excluding full data.")
    return " ".join(sentences)


def flatten_share(cell: Cell) -> Line:
    """Return a cell as the columns of the long form."""
    cost, reported = cell["cost"], cell["reported"]
    return {
        "n": cell["n"],
        "runs": len(cell["runs"]),
        "sample_visits": cost["sample_visits"] if cost else None,
        "total_time": cost["total"] if cost else None,
        "selection_time": cost["selection"] if cost else None,
        "training_time": cost["training"] if cost else None,
        "reported": reported["value"] if reported else None,
        "evidence": reported["evidence"] if reported else None,
        "difference": cell["difference"],
        "run_ids": " ".join(cell["runs"]),
    }


def format_share(cell: Cell, metric: str) -> tuple[str, str]:
    """Return ``("0.58", " (time 0.03 + 0.61)")``, or a dash without costs."""
    cost = cell["cost"]
    if cost is None:
        return HOLE, ""
    return f"{cost['sample_visits']:.2f}", f" (time {cost['selection']:.2f} + {cost['training']:.2f})"


def list_facts(cell: Cell, table: Table[Any]) -> Facts:
    """Return what a page tells about a cell on demand."""
    cost = cell["cost"]
    if cost is None:
        return [("Cost", "no run has a full-data run of the same seed")]
    facts = [
        ("Sample visits", f"{cost['sample_visits']:.3f} × full data's, n = {cell['n']} of {len(cell['runs'])}"),
        ("Wall time", f"{cost['total']:.3f} × full data's: {cost['selection']:.3f} selection + {cost['training']:.3f} training"),
    ]
    if cell["reported"] is not None:
        note = f"; {cell['reported']['note']}" if cell["reported"]["note"] else ""
        facts.append(("Reported", f"{cell['reported']['value']:g} × full data's cost ({cell['reported']['evidence']}{note})"))
    return facts

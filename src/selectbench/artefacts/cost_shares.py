"""Cost shares: grids whose cells say what a method costs relative to training on full data of the same seed."""

from selectbench.artefacts import grids
from selectbench.artefacts.cells import FULL, TOTAL_VISITS, Cell, Records, list_cells
from selectbench.artefacts.formats import HOLE, format_range
from selectbench.errors import ConfigError

CSV_COLUMNS = (
    *("n", "runs", "sample_visits", "total_time", "selection_time", "training_time"),
    *("reported", "evidence", "difference", "run_ids"),
)


def fill_shares(spec: dict, records: Records) -> dict:
    """Return the columns and the filled panels; the least sample visits of a column are its best, full data aside.

    A reported number is a share of full data's cost too, and is compared with the share of total time.

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec is not ``partial``.
    ConfigError
        The metric is not total sample visits.
    """
    if spec["metric"] != TOTAL_VISITS:
        raise ConfigError(f"table {spec['id']}: a table of kind 'cost_shares' has the metric {TOTAL_VISITS}, not {spec['metric']!r}")
    filled = grids.fill_grid(spec | {"compare_reported": False}, records)
    for _, row, _, cell in list_cells(filled["panels"]):
        if cell["cost"] is None or row["id"] == FULL:
            cell["best"] = False
        cell["below_random"] = False
        if spec["compare_reported"] and cell["reported"] is not None and cell["cost"] is not None:
            cell["difference"] = cell["cost"]["total"] - cell["reported"]["value"]
            is_near = abs(cell["difference"]) <= spec["tolerance"]
            cell["status"] = "reproduced" if is_near else f"off by {cell['difference']:+.2f}".replace("-", "−")
    return filled


def describe_shares(table: dict) -> str:
    """Return the caption: what the numbers of a cell are."""
    cells = [cell for _, _, _, cell in list_cells(table["panels"])]
    seeds = format_range(len(cell["runs"]) for cell in cells)
    sentences = [
        f"Cost relative to training on full data of the same seed, mean over n = {seeds} seeds: sample visits of selection plus training; "
        "in brackets wall time as selection + training.",
        f"Regime: {table['regime'].replace('_', ' ')}. Scale: {table['scale']}.",
    ]
    if any(cell["best"] for cell in cells):
        sentences.append("Bold: fewest sample visits of its column in the panel, full data aside.")
    return " ".join(sentences)


def flatten_share(cell: Cell) -> dict:
    """Return a cell as the columns of the long form."""
    cost, reported = cell["cost"] or {}, cell["reported"] or {}
    return {
        "n": cell["n"],
        "runs": len(cell["runs"]),
        "sample_visits": cost.get("sample_visits"),
        "total_time": cost.get("total"),
        "selection_time": cost.get("selection"),
        "training_time": cost.get("training"),
        "reported": reported.get("value"),
        "evidence": reported.get("evidence"),
        "difference": cell["difference"],
        "run_ids": " ".join(cell["runs"]),
    }


def format_share(cell: Cell, metric: str) -> tuple[str, str]:
    """Return ``("0.58", " (time 0.03 + 0.61)")``, and a dash for none."""
    cost = cell["cost"]
    if cost is None:
        return HOLE, ""
    return f"{cost['sample_visits']:.2f}", f" (time {cost['selection']:.2f} + {cost['training']:.2f})"


def list_facts(cell: Cell, table: dict) -> list[tuple[str, str]]:
    """Return what a cell tells on demand, as (name, text) pairs."""
    cost = cell["cost"]
    if cost is None:
        return [("Cost", "no run with a full-data run of its seed")]
    facts = [
        ("Sample visits", f"{cost['sample_visits']:.3f} × full data's, n = {cell['n']} of {len(cell['runs'])}"),
        ("Wall time", f"{cost['total']:.3f} × full data's: {cost['selection']:.3f} selection + {cost['training']:.3f} training"),
    ]
    if cell["reported"] is not None:
        note = f"; {cell['reported']['note']}" if cell["reported"]["note"] else ""
        facts.append(("Reported", f"{cell['reported']['value']:g} × full data's cost ({cell['reported']['evidence']}{note})"))
    return facts

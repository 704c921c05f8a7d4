"""Cost shares: grids whose cells say what a method costs relative to training on full data of the same seed."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from selectbench.artefacts import grids
from selectbench.artefacts.cells import FULL, FULL_COLUMN, NOT_SELECTING, TOTAL_VISITS, Cell, Repeated, find_finished, list_cells
from selectbench.artefacts.formats import HOLE, count_seeds
from selectbench.artefacts.kinds import Facts, Filled, Line, Table
from selectbench.artefacts.specs import Panel, TableSpec
from selectbench.errors import ConfigError
from selectbench.records.rows import Records

Times = Mapping[str, Sequence[Mapping[str, float]]]  # run id → repeats, each with the seconds of ``training`` and ``selection``
CSV_COLUMNS = (
    *("n", "runs", "sample_visits", "total_time", "selection_time", "training_time"),
    *("repeats", "repeated_low", "repeated_median", "repeated_high", "repeated_selection"),
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
        if cell["cost"] is None or row["id"] in NOT_SELECTING:
            cell["best"] = False
        cell["below_random"] = False
        if spec["compare_reported"] and cell["reported"] is not None and cell["cost"] is not None:
            difference = cell["cost"]["total"] - cell["reported"]["value"]
            cell["difference"] = difference
            cell["status"] = "reproduced" if abs(difference) <= spec["tolerance"] else f"off by {difference:+.2f}".replace("-", "−")
    return filled


def add_repeats(panels: Sequence[Panel[Cell]], records: Records, times: Times) -> None:
    """Add to every cell how long its repeated trainings took, relative to the median of full data's.

    A frozen encoder works once, so what a training pays for it is added to every repeat.
    """
    for panel in panels:
        whole = find_repeats(next((row["cells"][FULL_COLUMN] for row in panel["rows"] if row["id"] == FULL), None), records, times)
        for _, _, _, cell in list_cells([panel]) if whole else ():
            if cell["cost"] is not None and (found := find_repeats(cell, records, times)):
                cell["cost"]["repeated"] = compare_repeats(found, whole)


def find_repeats(cell: Cell | None, records: Records, times: Times) -> list[tuple[float, float]]:
    """Return the seconds of training and of selection during it, repeat by repeat; empty if no run of the cell was repeated."""
    runs = cell["runs"] if cell is not None else []
    timed = next((run for run in runs if run in times), None)
    record = find_finished(records, timed) if timed is not None else None
    if timed is None or record is None:
        return []
    encoding = record["training"]["encode_s"]
    return [(repeat["training"] + encoding, repeat["selection"]) for repeat in times[timed]]


def compare_repeats(found: Sequence[tuple[float, float]], whole: Sequence[tuple[float, float]]) -> Repeated:
    """Return the times of repeats relative to the median training on full data."""
    unit = median(training for training, _ in whole)
    shares = sorted(training / unit for training, _ in found)
    return {
        "number": len(found),
        "low": shares[0],
        "median": median(shares),
        "high": shares[-1],
        "selection": median(selection / unit for _, selection in found),
    }


def describe_shares(table: Table[Cell]) -> str:
    """Return the caption: what the numbers of a cell are."""
    cells = [cell for _, _, _, cell in list_cells(table["panels"])]
    seeds = count_seeds(len(cell["runs"]) for cell in cells)
    sentences = [
        f"Cost relative to full-data training of the same seed, mean over {seeds}: sample visits of selection plus training, "
        "with wall time in brackets as selection + training.",
        *describe_repeats(cells),
        f"Regime: {table['regime'].replace('_', ' ')}. Scale: {table['scale']}.",
    ]
    if any(cell["best"] for cell in cells):
        sentences.append("Bold: fewest sample visits in column, excluding full data.")
    return " ".join(sentences)


def describe_repeats(cells: Sequence[Cell]) -> list[str]:
    """Return the sentence on repeated trainings, if there are any."""
    number = max((cell["cost"]["repeated"]["number"] for cell in cells if cell["cost"] and "repeated" in cell["cost"]), default=0)
    if not number:
        return []
    return [
        f"Training time is the median of {number} repeats of one seed, made in turn with those of all other cells, with the lowest and the "
        "highest; a static method's selection was timed once per seed.",
    ]


def flatten_share(cell: Cell) -> Line:
    """Return a cell as the columns of the long form."""
    cost, reported = cell["cost"], cell["reported"]
    repeated = cost.get("repeated") if cost else None
    return {
        "n": cell["n"],
        "runs": len(cell["runs"]),
        "sample_visits": cost["sample_visits"] if cost else None,
        "total_time": cost["total"] if cost else None,
        "selection_time": cost["selection"] if cost else None,
        "training_time": cost["training"] if cost else None,
        "repeats": repeated["number"] if repeated else None,
        **{f"repeated_{name}": repeated[name] if repeated else None for name in ("low", "median", "high", "selection")},
        "reported": reported["value"] if reported else None,
        "evidence": reported["evidence"] if reported else None,
        "difference": cell["difference"],
        "run_ids": " ".join(cell["runs"]),
    }


def format_share(cell: Cell, metric: str) -> tuple[str, str]:
    """Return ``("0.58", " (time 0.03 + 0.61)")``, with ``[0.58–0.66]`` after it if trainings were repeated, or a dash without costs."""
    cost = cell["cost"]
    if cost is None:
        return HOLE, ""
    repeated = cost.get("repeated")
    if repeated is None:
        return f"{cost['sample_visits']:.2f}", f" (time {cost['selection']:.2f} + {cost['training']:.2f})"
    selection = repeated["selection"] or cost["selection"]
    spread = f"{repeated['median']:.2f} [{repeated['low']:.2f}–{repeated['high']:.2f}]"
    return f"{cost['sample_visits']:.2f}", f" (time {selection:.2f} + {spread})"


def list_facts(cell: Cell, table: Table[Any]) -> Facts:
    """Return what a page tells about a cell on demand."""
    cost = cell["cost"]
    if cost is None:
        return [("Cost", "no run has a full-data run of the same seed")]
    facts = [
        ("Sample visits", f"{cost['sample_visits']:.3f} × full data's, n = {cell['n']} of {len(cell['runs'])}"),
        ("Wall time", f"{cost['total']:.3f} × full data's: {cost['selection']:.3f} selection + {cost['training']:.3f} training"),
    ]
    if (repeated := cost.get("repeated")) is not None:
        told = f"{repeated['median']:.3f} × full data's, {repeated['low']:.3f} to {repeated['high']:.3f}"
        facts.append((f"Training, {repeated['number']} repeats", f"{told}; selection during it {repeated['selection']:.3f}"))
    if cell["reported"] is not None:
        note = f"; {cell['reported']['note']}" if cell["reported"]["note"] else ""
        facts.append(("Reported", f"{cell['reported']['value']:g} × full data's cost ({cell['reported']['evidence']}{note})"))
    return facts

"""Costs to reach an accuracy: tables with one row per method and one column per share of full data's mean accuracy."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, final

from selectbench.artefacts.cells import (
    FULL,
    FULL_COLUMN,
    LOWER_IS_BETTER,
    METRIC_TITLES,
    Cell,
    Hole,
    fill_panels,
    list_cells,
    replace_cells,
    replace_rows,
)
from selectbench.artefacts.formats import HOLE, count_seeds, format_keep, format_number
from selectbench.artefacts.grids import name_test_sets
from selectbench.artefacts.kinds import Facts, Filled, Line, Table
from selectbench.artefacts.specs import Panel, TableRow, TableSpec, Titled
from selectbench.errors import ConfigError
from selectbench.records.rows import Records

NOT_REACHED = "not reached"
CSV_COLUMNS = ("target", "threshold", "reached", "keep", "mean", "sample_visits", "wall_time", "runs", "run_ids")
CHOSEN_LATE = "Keep fractions are chosen after the fact, by their mean accuracies, so these numbers are descriptive, not a test."


class Option(TypedDict):
    """One keep fraction of a row.

    Parameters
    ----------
    keep : keep fraction
    mean : of the metric
    visits, wall : total cost (selection and training) relative to the full-data training of the same seed
    reached : whether the mean reaches the threshold; None if runs are missing
    """

    keep: str
    mean: float | None
    visits: float | None
    wall: float | None
    reached: bool | None


@final
class Answer(TypedDict):
    """One cell: the cheapest keep fraction of a row whose mean accuracy reaches a threshold, and the options it was chosen from.

    Parameters
    ----------
    runs : of the row, by rising keep fraction, and of full data, which set the threshold
    values : one per run, None where there is none
    holes : runs without a value
    target, threshold : required share of full data's mean, and that mean times this share
    reached : None if no complete keep fraction reaches the threshold but some have missing runs
    chosen : the answer, or None
    options : all keep fractions of the row
    best : whether it is the cheapest of its column
    footnotes : marks
    """

    runs: list[str]
    values: list[float | None]
    holes: list[Hole]
    target: float
    threshold: float | None
    reached: bool | None
    chosen: Option | None
    options: list[Option]
    best: bool
    footnotes: list[str]


def fill_costs(spec: TableSpec, records: Records) -> Filled[Answer]:
    """Return the columns, the filled panels and the note of a table of costs to reach shares of full data's mean accuracy.

    Among the keep fractions of a row that have all their runs and whose mean over seeds reaches the share, the answer is the one
    with the fewest sample visits; the smaller keep fraction wins a tie.

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    ConfigError
        The metric is one where lower is better, or a panel has no full-data runs to compare with.
    """
    if spec["metric"] in LOWER_IS_BETTER:
        raise ConfigError(f"table {spec['id']}: the cost to reach a {spec['metric']} is not defined: lower is better")
    columns = [Titled(id=f"{target:g}", title=f"≥ {100 * target:g} % of full data") for target in spec["targets"]]
    panels = []
    for panel in fill_panels(spec, records):
        full = find_full(spec, panel) if panel["rows"] else None
        rows = [answer_row(row, full, spec["targets"], columns) for row in panel["rows"] if full]
        mark_cheapest(rows, columns)
        panels.append(replace_rows(panel, rows))
    thresholds = [text for panel in panels if (text := describe_thresholds(panel, spec["metric"]))]
    return Filled(columns, panels, " ".join(filter(None, [spec["note"], CHOSEN_LATE, *thresholds])))


def find_full(spec: TableSpec, panel: Panel[Cell]) -> Cell:
    """Return the full-data cell of a panel with rows."""
    cells = next((row["cells"] for row in panel["rows"] if row["id"] == FULL), {})
    if FULL_COLUMN not in cells:
        raise ConfigError(f"table {spec['id']}: panel {panel['id']!r} has no full-data runs to compare with")
    return cells[FULL_COLUMN]


def answer_row(row: TableRow[Cell], full: Cell, targets: Sequence[float], columns: Sequence[Titled]) -> TableRow[Answer]:
    """Return a row with one answer per column; a planned row has none."""
    if row["planned"]:
        return replace_cells(row, {})
    asked = zip(columns, targets, strict=True)
    return replace_cells(row, {column["id"]: find_cheapest(row["cells"], full, target) for column, target in asked})


def find_cheapest(cells: Mapping[str, Cell], full: Cell, target: float) -> Answer:
    """Return the cheapest of a row's keep fractions whose mean is at least ``target`` times full data's mean."""
    threshold = None if full["holes"] or full["mean"] is None else target * full["mean"]
    ordered = sorted(cells.items(), key=lambda item: float(item[0]))
    options = [describe_option(keep, cell, threshold) for keep, cell in ordered]
    reaching = [option for option in options if option["reached"]]
    chosen = min(reaching, key=lambda option: (read_visits(option), float(option["keep"])), default=None)
    sources = [cell for _, cell in ordered] + ([] if any(cell is full for _, cell in ordered) else [full])
    is_open = any(option["reached"] is None for option in options)
    return Answer(
        runs=[run for cell in sources for run in cell["runs"]],
        values=[value for cell in sources for value in cell["values"]],
        holes=[hole for cell in sources for hole in cell["holes"]],
        target=target,
        threshold=threshold,
        reached=True if chosen else None if is_open else False,
        chosen=chosen,
        options=options,
        best=False,
        footnotes=[],
    )


def describe_option(keep: str, cell: Cell, threshold: float | None) -> Option:
    """Return what one keep fraction costs and whether its mean reaches the threshold."""
    cost, mean = cell["cost"], cell["mean"]
    return Option(
        keep=keep,
        mean=mean,
        visits=cost["sample_visits"] if cost else None,
        wall=cost["total"] if cost else None,
        reached=None if mean is None or threshold is None or cost is None or cell["holes"] else mean >= threshold,
    )


def read_visits(option: Option) -> float:
    """Return the sample visits of an option; infinite if they are unknown."""
    return math.inf if option["visits"] is None else option["visits"]


def mark_cheapest(rows: Sequence[TableRow[Answer]], columns: Sequence[Titled]) -> None:
    """Mark the cheapest answer of each column, full data included; equal prints are all marked, a single row is not."""
    for column in columns:
        answers = [row["cells"][column["id"]] for row in rows if column["id"] in row["cells"]]
        reached = [(answer, read_visits(answer["chosen"])) for answer in answers if answer["chosen"]]
        if len(answers) < 2 or not reached:
            continue
        least = min(visits for _, visits in reached)
        for answer, visits in reached:
            answer["best"] = f"{visits:.2f}" == f"{least:.2f}"


def describe_thresholds(panel: Panel[Answer], metric: str) -> str | None:
    """Return the accuracies that a panel's columns stand for, as a sentence."""
    full: Mapping[str, Answer] = next((row["cells"] for row in panel["rows"] if row["id"] == FULL), {})
    parts = [
        f"≥ {100 * answer['target']:g} % is {format_number(answer['threshold'], metric)}"
        for answer in full.values()
        if answer["threshold"] is not None
    ]
    if not parts:
        return None
    (option,) = next(iter(full.values()))["options"]
    reached = HOLE if option["mean"] is None else format_number(option["mean"], metric)
    return f"{panel['title']}: full data reaches {reached}; {', '.join(parts)}."


def describe_costs(table: Table[Answer]) -> str:
    """Return the caption: what is asked and in which unit, number of seeds, regime and scale."""
    answers = [answer for _, _, _, answer in list_cells(table["panels"])]
    metric = table["metric"]
    seeds = count_seeds(
        len(answer["runs"]) // len(answer["options"]) for _, row, _, answer in list_cells(table["panels"]) if row["id"] == FULL
    )
    sentences = [
        f"Lowest total cost (selection plus training) at which the mean {METRIC_TITLES.get(metric, metric)} over {seeds} on "
        f"{name_test_sets(table)} after the last epoch reaches a share of full data's: sample visits, with wall time in brackets, "
        "relative to full-data training of the same seed, and the keep fraction.",
        f"Regime: {table['regime'].replace('_', ' ')}. Scale: {table['scale']}.",
    ]
    if any(answer["best"] for answer in answers):
        sentences.append("Bold: fewest sample visits in column, including full data.")
    if any(answer["chosen"] and answer["holes"] for answer in answers):
        sentences.append("Keep fractions with missing runs are never chosen; footnotes mark where they might have been.")
    return " ".join(sentences)


def flatten_answer(answer: Answer) -> Line:
    """Return a cell as the columns of the long form."""
    chosen = answer["chosen"]
    return {
        "target": answer["target"],
        "threshold": answer["threshold"],
        "reached": answer["reached"],
        "keep": chosen["keep"] if chosen else None,
        "mean": chosen["mean"] if chosen else None,
        "sample_visits": chosen["visits"] if chosen else None,
        "wall_time": chosen["wall"] if chosen else None,
        "runs": len(answer["runs"]),
        "run_ids": " ".join(answer["runs"]),
    }


def format_answer(answer: Answer, metric: str) -> tuple[str, str]:
    """Return ``("0.62", " (time 0.71), 40 % kept")``, ``"not reached"``, or a dash where runs are missing."""
    chosen = answer["chosen"]
    if chosen is None:
        return HOLE if answer["reached"] is None else NOT_REACHED, ""
    return f"{chosen['visits']:.2f}", f" (time {chosen['wall']:.2f}), {format_keep(chosen['keep'])} kept"


def list_facts(answer: Answer, table: Table[Any]) -> Facts:
    """Return what a page tells about a cell on demand: the question, the answer, and every keep fraction."""
    metric = table["metric"]
    threshold = HOLE if answer["threshold"] is None else format_number(answer["threshold"], metric)
    facts = [
        ("Threshold", f"mean {METRIC_TITLES.get(metric, metric)} ≥ {threshold}, {answer['target']:g} × full data's"),
        ("Answer", "".join(format_answer(answer, metric))),
    ]
    for option in answer["options"]:
        outcome = {True: "reached", False: NOT_REACHED, None: "runs are missing"}[option["reached"]]
        mean = HOLE if option["mean"] is None else format_number(option["mean"], metric)
        cost = HOLE if option["visits"] is None else f"{option['visits']:.2f} (time {option['wall']:.2f})"
        facts.append((f"{format_keep(option['keep'])} kept", f"{mean} at cost {cost}: {outcome}"))
    return facts

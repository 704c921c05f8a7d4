"""Costs to reach an accuracy: tables with one row a method and one column a share of full data's mean accuracy."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from selectbench.artefacts.cells import FULL, FULL_COLUMN, LOWER_IS_BETTER, METRIC_TITLES, Cell, Hole, Records, fill_panels, list_cells
from selectbench.artefacts.formats import HOLE, format_keep, format_number, format_range
from selectbench.artefacts.grids import name_test_sets
from selectbench.errors import ConfigError

NOT_REACHED = "not reached"
CSV_COLUMNS = ("target", "threshold", "reached", "keep", "mean", "sample_visits", "wall_time", "runs", "run_ids")
CHOSEN_LATE = "The keep fraction is chosen after looking at the mean accuracies, so a number is a description and not a test."


class Option(TypedDict):
    """One keep fraction of a row; ``reached`` is None where runs are missing.

    ``visits`` and ``wall`` are the total cost (selection and training) as a share of full-data training of the same seed.
    """

    keep: str
    mean: float | None
    visits: float | None
    wall: float | None
    reached: bool | None


class Answer(TypedDict):
    """One cell: the cheapest keep fraction of a row whose mean accuracy reaches ``threshold``, and all it was chosen from.

    ``reached`` is None where no complete keep fraction gets there but some have missing runs. ``runs`` are the row's, by rising
    keep fraction, and full data's, which set the threshold.
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


def fill_costs(spec: dict, records: Records) -> dict:
    """Return the columns, the filled panels and the note of a table of costs to reach shares of full data's mean accuracy.

    Among a row's keep fractions with all their runs whose mean over seeds reaches the share ``spec["targets"]`` asks for, the
    answer is the one with the fewest sample visits; the smaller keep fraction wins a tie.

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec is not ``partial``.
    ConfigError
        The metric is one where lower is better, or a panel has no full-data runs to compare with.
    """
    if spec["metric"] in LOWER_IS_BETTER:
        raise ConfigError(f"table {spec['id']}: the cost to reach a {spec['metric']} is not defined: lower is better")
    columns = [{"id": f"{target:g}", "title": f"≥ {100 * target:g} % of full data"} for target in spec["targets"]]
    panels = fill_panels(spec, records)
    for panel in panels:
        full = find_full(spec, panel)
        for row in panel["rows"]:
            cells = {
                column["id"]: find_cheapest(row["cells"], full, target) for column, target in zip(columns, spec["targets"], strict=True)
            }
            row["cells"] = {} if row["planned"] else cells
        mark_cheapest(panel["rows"], columns)
    thresholds = [text for panel in panels if (text := describe_thresholds(panel, spec["metric"]))]
    return {"columns": columns, "panels": panels, "note": " ".join(filter(None, [spec["note"], CHOSEN_LATE, *thresholds]))}


def find_full(spec: dict, panel: dict) -> Cell | None:
    """Return the full-data cell of a panel; None if the panel is absent at this scale."""
    cells = next((row["cells"] for row in panel["rows"] if row["id"] == FULL), {})
    if panel["rows"] and FULL_COLUMN not in cells:
        raise ConfigError(f"table {spec['id']}: panel {panel['id']!r} has no full-data runs to compare with")
    return cells.get(FULL_COLUMN)


def find_cheapest(cells: Mapping[str, Cell], full: Cell, target: float) -> Answer:
    """Return the cheapest of a row's keep fractions whose mean is at least ``target`` times full data's mean."""
    threshold = None if full["holes"] else target * full["mean"]
    ordered = sorted(cells.items(), key=lambda item: float(item[0]))
    options = [describe_option(keep, cell, threshold) for keep, cell in ordered]
    reaching = [option for option in options if option["reached"]]
    chosen = min(reaching, key=lambda option: (option["visits"], float(option["keep"])), default=None)
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
    cost = cell["cost"]
    is_complete = threshold is not None and not cell["holes"] and cost is not None
    return Option(
        keep=keep,
        mean=cell["mean"],
        visits=cost["sample_visits"] if cost else None,
        wall=cost["total"] if cost else None,
        reached=cell["mean"] >= threshold if is_complete else None,
    )


def mark_cheapest(rows: Sequence[dict], columns: Sequence[dict]) -> None:
    """Mark the cheapest answer of each column, full data included; answers that print alike share it, a row alone gets none."""
    for column in columns:
        answers = [row["cells"][column["id"]] for row in rows if column["id"] in row["cells"]]
        reached = [answer for answer in answers if answer["chosen"]]
        if len(answers) < 2 or not reached:
            continue
        least = min(answer["chosen"]["visits"] for answer in reached)
        for answer in reached:
            answer["best"] = f"{answer['chosen']['visits']:.2f}" == f"{least:.2f}"


def describe_thresholds(panel: dict, metric: str) -> str | None:
    """Return the accuracies that a panel's columns stand for, as a sentence."""
    full = next((row["cells"] for row in panel["rows"] if row["id"] == FULL), {})
    parts = [
        f"≥ {100 * answer['target']:g} % is {format_number(answer['threshold'], metric)}"
        for answer in full.values()
        if answer["threshold"] is not None
    ]
    if not parts:
        return None
    (option,) = next(iter(full.values()))["options"]
    return f"{panel['title']}: full data reaches {format_number(option['mean'], metric)}; {', '.join(parts)}."


def describe_costs(table: dict) -> str:
    """Return the caption: what is asked, in which unit, over how many seeds, in which regime and at which scale."""
    answers = [answer for _, _, _, answer in list_cells(table["panels"])]
    metric = table["metric"]
    seeds = format_range(
        len(answer["runs"]) // len(answer["options"]) for _, row, _, answer in list_cells(table["panels"]) if row["id"] == FULL
    )
    sentences = [
        f"Least total cost, selection plus training, at which the mean {METRIC_TITLES.get(metric, metric)} over n = {seeds} seeds on "
        f"{name_test_sets(table)} after the last epoch reaches a share of full data's: sample visits (wall time in brackets), "
        "full-data training of the same seed = 1, and the share of the pool kept.",
        f"Regime: {table['regime'].replace('_', ' ')}. Scale: {table['scale']}.",
    ]
    if any(answer["best"] for answer in answers):
        sentences.append("Bold: fewest sample visits of its column in the panel, full data included.")
    if any(answer["chosen"] and answer["holes"] for answer in answers):
        sentences.append("A keep fraction with missing runs is never chosen; a footnote says where it might have been.")
    return " ".join(sentences)


def flatten_answer(answer: Answer) -> dict:
    """Return a cell as the columns of the long form."""
    chosen = answer["chosen"] or {}
    return {
        "target": answer["target"],
        "threshold": answer["threshold"],
        "reached": answer["reached"],
        "keep": chosen.get("keep"),
        "mean": chosen.get("mean"),
        "sample_visits": chosen.get("visits"),
        "wall_time": chosen.get("wall"),
        "runs": len(answer["runs"]),
        "run_ids": " ".join(answer["runs"]),
    }


def format_answer(answer: Answer, metric: str) -> tuple[str, str]:
    """Return ``("0.62", " (time 0.71), 40 % kept")``, ``"not reached"``, or a dash where runs are missing."""
    chosen = answer["chosen"]
    if chosen is None:
        return HOLE if answer["reached"] is None else NOT_REACHED, ""
    return f"{chosen['visits']:.2f}", f" (time {chosen['wall']:.2f}), {format_keep(chosen['keep'])} kept"


def list_facts(answer: Answer, table: dict) -> list[tuple[str, str]]:
    """Return what a cell tells on demand, as (name, text) pairs: the question, the answer, and every keep fraction."""
    metric = table["metric"]
    threshold = HOLE if answer["threshold"] is None else format_number(answer["threshold"], metric)
    facts = [
        ("Asked for", f"mean {METRIC_TITLES.get(metric, metric)} ≥ {threshold}: {answer['target']:g} × full data's"),
        ("Answer", "".join(format_answer(answer, metric))),
    ]
    for option in answer["options"]:
        outcome = {True: "reached", False: NOT_REACHED, None: "runs are missing"}[option["reached"]]
        mean = HOLE if option["mean"] is None else format_number(option["mean"], metric)
        cost = HOLE if option["visits"] is None else f"{option['visits']:.2f} (time {option['wall']:.2f})"
        facts.append((f"{format_keep(option['keep'])} kept", f"{mean} at cost {cost}: {outcome}"))
    return facts

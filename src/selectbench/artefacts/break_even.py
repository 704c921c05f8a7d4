"""Break-even: what a selection costs when several targets are trained on its subset, relative to training them on full data."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from selectbench.artefacts.cells import FULL, FULL_COLUMN, Cell, CostAxis, Hole, explain_absences, fill_panels, find_finished
from selectbench.artefacts.formats import HOLE
from selectbench.artefacts.plots import FULL_COLOUR, LineStyle, add_legend, add_note, assign_styles, draw_absence, make_figure, wrap_title
from selectbench.artefacts.specs import FigureSpec, Panel, TableRow
from selectbench.errors import ConfigError, suggest
from selectbench.records.rows import Records

MOST_TARGETS = 1000
AXES_OF_COST: tuple[tuple[CostAxis, str], ...] = (("wall_s", "time"), ("sample_visits", "sample visits"))


class Shares(NamedTuple):
    """Costs of a method, mean over seeds, full-data training of the same seed = 1.

    Parameters
    ----------
    selection, training : cost of the selection, and of training one target on its subset
    """

    selection: float
    training: float


def find_break_even(selection: float, training: float) -> int | None:
    """Return the smallest number m of targets for which selection + m · training < m, or None if there is none.

    Parameters
    ----------
    selection, training : relative to one training on full data
    """
    if training >= 1:
        return None
    return math.floor(selection / (1 - training)) + 1


def read_shares(records: Records, runs: Sequence[str], full_runs: Sequence[str], axis: CostAxis) -> Shares | None:
    """Return the costs of runs in ``wall_s`` or ``sample_visits``, paired with full data by seed; None without a pair."""
    full = {record["run"]["seed"]: record["training"][axis] for run in full_runs if (record := find_finished(records, run))}
    found = [record for run in runs if (record := find_finished(records, run)) and record["run"]["seed"] in full]
    if not found:
        return None
    pairs = [
        [record["selection"][axis] / full[record["run"]["seed"]], record["training"][axis] / full[record["run"]["seed"]]]
        for record in found
    ]
    return Shares(*(float(value) for value in np.mean(pairs, axis=0)))


def draw_break_even(spec: FigureSpec, records: Records) -> Figure:
    """Draw the cost by the number of targets: one line per method, time in the first row and sample visits in the second.

    The legend gives the number of targets at which each method breaks even.

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    ConfigError
        The table has no such keep fraction.
    """
    keeps = [column["id"] for column in spec["columns"]]
    if spec["keep"] not in keeps:
        raise ConfigError(f"figure {spec['id']}: the table has no keep fraction {spec['keep']}{suggest(spec['keep'], keeps)}")
    panels = [panel for panel in fill_panels(spec, records) if panel["absent"] is None]
    if not panels:
        return draw_absence(spec["scale"], explain_absences(spec["panels"]))
    figure, styles = make_figure(len(AXES_OF_COST), len(panels), panels), assign_styles(panels)
    for place, (axis, name) in enumerate(AXES_OF_COST):
        for index, panel in enumerate(panels):
            axes = figure.add_subplot(len(AXES_OF_COST), len(panels), place * len(panels) + index + 1)
            draw_panel(axes, read_panel(records, panel, spec["keep"], axis), styles)
            if place == 0:
                axes.set_title(wrap_title(panel["title"]), loc="left")
            if index == 0:
                axes.set_ylabel(f"{name} per target, with selection\n(full data = 1)")
            axes.set_xlabel("targets trained on one subset")
    numbers = describe_numbers(records, panels, spec["keep"])
    titled = [panel | {"rows": [row | {"title": row["title"] + numbers.get(row["id"], "")} for row in panel["rows"]]} for panel in panels]
    of_panels = ", for each panel" if len(panels) > 1 else ""
    add_legend(figure, titled, styles, f"break-even in targets: time | visits{of_panels}")
    left_out = {hole["run"] for panel in panels for row in panel["rows"] for hole in list_holes(row, spec["keep"])}
    add_note(figure, [f"{len(left_out)} run{'s' if len(left_out) > 1 else ''} omitted: no value"] if left_out else [])
    return figure


def list_holes(row: TableRow[Cell], keep: str) -> list[Hole]:
    """Return the holes of the cell of a row that is drawn."""
    cell = row["cells"].get(FULL_COLUMN if row["id"] == FULL else keep)
    return cell["holes"] if cell else []


def read_panel(records: Records, panel: Panel[Cell], keep: str, axis: CostAxis) -> dict[str, Shares]:
    """Return the costs of the rows of a panel that have any, without full data."""
    rows = {row["id"]: row["cells"] for row in panel["rows"]}
    full = rows.get(FULL, {}).get(FULL_COLUMN)
    full_runs = full["runs"] if full else []
    found = {
        name: read_shares(records, cells[keep]["runs"], full_runs, axis) for name, cells in rows.items() if keep in cells and name != FULL
    }
    return {name: shares for name, shares in found.items() if shares is not None}


def describe_numbers(records: Records, panels: Sequence[Panel[Cell]], keep: str) -> dict[str, str]:
    """Return row → ``": 7, never | 9, 12"``: its break-even in time and in sample visits, one per panel."""
    found = {axis: [read_panel(records, panel, keep, axis) for panel in panels] for axis, _ in AXES_OF_COST}
    names = dict.fromkeys(name for shares in found["wall_s"] for name in shares)
    texts = {}
    for name in names:
        sides = [", ".join(describe_number(shares.get(name)) for shares in found[axis]) for axis, _ in AXES_OF_COST]
        texts[name] = f": {' | '.join(sides)}"
    return texts


def describe_number(shares: Shares | None) -> str:
    """Return the number of targets at which costs break even, "never", or a dash without costs."""
    if shares is None:
        return HOLE
    even = find_break_even(*shares)
    return "never" if even is None else f"{even:,}"


def draw_panel(axes: Axes, lines: Mapping[str, Shares], styles: Mapping[str, LineStyle]) -> None:
    """Draw the lines of one panel, with a marker at the break-even."""
    targets = np.unique(np.geomspace(1, MOST_TARGETS, 200).round())
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(1, color=FULL_COLOUR, linewidth=1.1)
    for name, shares in lines.items():
        style = styles[name]
        costs = shares.selection / targets + shares.training
        axes.plot(targets, costs, color=style.colour, linestyle=style.dashes, linewidth=style.width, label=name)
        even = find_break_even(*shares)
        if even is not None and 1 < even <= MOST_TARGETS:
            cost = shares.selection / even + shares.training
            axes.plot([even], [cost], marker=style.marker, color=style.colour, markersize=5, markeredgecolor="white", markeredgewidth=0.5)
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())

"""Break-even: what a selection costs when several targets are trained on its subset, relative to training them on full data."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from selectbench.artefacts.cells import FULL, FULL_COLUMN, Records, fill_panels, is_ok, refuse_holes
from selectbench.artefacts.plots import (
    FULL_COLOUR,
    LineStyle,
    add_legend,
    assign_styles,
    draw_absence,
    make_figure,
    wrap_title,
)

MOST_TARGETS = 1000
AXES_OF_COST = (("wall_s", "time"), ("sample_visits", "sample visits"))


class Shares(NamedTuple):
    """Mean over seeds of a method's costs, full data's training of the same seed = 1."""

    selection: float
    training: float


def find_break_even(selection: float, training: float) -> int | None:
    """Return the least number m of targets for which selection + m · training < m, or None if there is none.

    Parameters
    ----------
    selection, training : relative to one training on full data
    """
    if training >= 1:
        return None
    return math.floor(selection / (1 - training)) + 1


def read_shares(records: Records, runs: Sequence[str], full_runs: Sequence[str], axis: str) -> Shares | None:
    """Return the costs of runs in ``wall_s`` or ``sample_visits``, paired with full data by seed; None without a pair."""
    full = {records[run]["run"]["seed"]: records[run]["training"][axis] for run in full_runs if is_ok(records, run)}
    found = [records[run] for run in runs if is_ok(records, run) and records[run]["run"]["seed"] in full]
    if not found:
        return None
    pairs = [
        [record["selection"][axis] / full[record["run"]["seed"]], record["training"][axis] / full[record["run"]["seed"]]]
        for record in found
    ]
    return Shares(*(float(value) for value in np.mean(pairs, axis=0)))


def draw_break_even(spec: dict, records: Records) -> Figure:
    """Draw the cost by the number of targets: one line a method, time in the first row and sample visits in the second.

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec is not ``partial``.
    """
    panels = fill_panels(spec, records)
    refuse_holes(spec, panels)
    panels = [panel for panel in panels if panel["absent"] is None]
    if not panels:
        return draw_absence(spec["scale"], [f"{panel['title']}: {panel['absent']}" for panel in spec["panels"]])
    figure, styles = make_figure(len(AXES_OF_COST), len(panels), panels), assign_styles(panels)
    for place, (axis, name) in enumerate(AXES_OF_COST):
        for index, panel in enumerate(panels):
            axes = figure.add_subplot(len(AXES_OF_COST), len(panels), place * len(panels) + index + 1)
            draw_panel(axes, panel, spec["keep"], records, styles, axis)
            if place == 0:
                axes.set_title(wrap_title(panel["title"]), loc="left")
            if index == 0:
                axes.set_ylabel(f"{name}, selection included\n(full data = 1)")
            axes.set_xlabel("targets trained on one subset")
    add_legend(figure, panels, styles, "number = breaks even there")
    return figure


def draw_panel(axes: Axes, panel: dict, keep: str, records: Records, styles: dict[str, LineStyle], axis: str) -> None:
    """Draw the lines of one panel and the number of targets at which each breaks even."""
    rows = {row["id"]: row["cells"] for row in panel["rows"]}
    full_runs = rows.get(FULL, {}).get(FULL_COLUMN, {"runs": []})["runs"]
    targets = np.unique(np.geomspace(1, MOST_TARGETS, 200).round())
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(1, color=FULL_COLOUR, linewidth=1.1)
    for name, cells in rows.items():
        shares = read_shares(records, cells[keep]["runs"], full_runs, axis) if keep in cells else None
        if name == FULL or shares is None:
            continue
        style = styles[name]
        axes.plot(
            targets,
            shares.selection / targets + shares.training,
            color=style.colour,
            linestyle=style.dashes,
            linewidth=style.width,
            label=name,
        )
        even = find_break_even(*shares)
        if even is not None and 1 < even <= MOST_TARGETS:
            axes.plot([even], [1], marker=style.marker, color=style.colour, markersize=5, markeredgecolor="white", markeredgewidth=0.5)
            axes.annotate(f"{even}", (even, 1), textcoords="offset points", xytext=(0, 5), ha="center", fontsize=7, color=style.colour)
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))

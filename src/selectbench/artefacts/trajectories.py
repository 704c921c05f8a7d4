"""Trajectories: how agents and samplers developed, epoch by epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from selectbench.artefacts.cells import FULL_COLUMN, explain_absences, raise_holes, t_interval
from selectbench.artefacts.formats import format_keep
from selectbench.artefacts.plots import (
    FULL_COLOUR,
    PANELS_A_ROW,
    LineStyle,
    add_legend,
    add_note,
    assign_styles,
    draw_absence,
    make_figure,
    wrap_title,
)
from selectbench.artefacts.specs import FigureSpec, PanelSpec
from selectbench.artefacts.specs import Quantity as QuantityName
from selectbench.errors import ConfigError, suggest
from selectbench.records.rows import Records, Row

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType

MOST_KEEPS = 6
BAND = 0.01  # accepted difference of a kept fraction from the target
FAILED_DASHES: "LineStyleType" = (0, (2.5, 2))
Place = tuple[str, str, str]  # panel, row, keep fraction


class Quantity(NamedTuple):
    """What can be drawn.

    Parameters
    ----------
    label : of its axis
    low, high : bounds of its values
    marks : reference values
    across : label of the other axis
    chosen : what a marker stands for
    lasts : whether a run keeps its last value until the longest one ends
    """

    label: str
    low: float
    high: float
    marks: tuple[float, ...]
    across: str = "epoch"
    chosen: str = "epoch"
    lasts: bool = False


class Curve(NamedTuple):
    """One run.

    Parameters
    ----------
    epochs, values : (T,), NaN where there is no value
    chosen_epoch : the epoch or training that gave the subset, or None
    failed : whether the run failed
    """

    epochs: np.ndarray
    values: np.ndarray
    chosen_epoch: int | None
    failed: bool


class Band(NamedTuple):
    """A mean over runs with its t-interval.

    Parameters
    ----------
    epochs : (T,)
    mean, low, high : (T,), NaN where there is none
    """

    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


QUANTITIES: Mapping[QuantityName, Quantity] = {
    "regret": Quantity("regret relative to the top-k of E", 0.0, np.inf, (0.0, 1.0)),
    "correlation": Quantity("rank correlation of policy and E", -1.0, 1.0, (0.0,)),
    "kept_fraction": Quantity("kept fraction", 0.0, 1.0, ()),
    "weight": Quantity("weight of difficulty", 0.0, 1.0, (0.5,)),
    "proxy_loss": Quantity("lowest validation loss of a proxy", 0.0, np.inf, (), "proxy trainings", "set", lasts=True),
}


def draw_trajectory(spec: FigureSpec, records: Records) -> Figure:
    """Draw one panel per keep fraction and data set with one line per method: the mean over seeds with its 95 % t-interval.

    Failed runs are drawn one by one as thin dashed lines and enter no mean. A marker shows every run's chosen epoch.

    Raises
    ------
    RecordError
        A run has no record, and the specification is not ``partial``.
    ConfigError
        The quantity is unknown, or a method is not a row of the table.
    """
    check_names(spec)
    panels = [panel for panel in spec["panels"] if panel["absent"] is None]
    keeps = spread_keeps([column["id"] for column in spec["columns"] if column["id"] != FULL_COLUMN])
    runs = list_runs(spec, panels, keeps)
    missing = refuse_missing(spec, runs, records)
    curves = {place: found for place, names in runs.items() if (found := read_curves(records, names, spec["quantity"]))}
    if not curves:
        return draw_absence(spec["scale"], ["no run of these methods has a trajectory"] if panels else explain_absences(spec["panels"]))
    drawn = {row for _, row, _ in curves}
    styles = assign_styles(panels)
    shown = [panel | {"rows": [row for row in panel["rows"] if row["id"] in drawn]} for panel in panels]
    figure = draw_panels(spec, shown, keeps, curves, styles)
    every = [curve for found in curves.values() for curve in found]
    failed = sum(curve.failed for curve in every)
    dashed = [Line2D([], [], color=FULL_COLOUR, linewidth=0.8, linestyle=FAILED_DASHES, label="Failed run")] if failed else []
    chooses = any(curve.chosen_epoch is not None for curve in every)
    add_legend(figure, shown, styles, f"marker = chosen {QUANTITIES[spec['quantity']].chosen}" if chooses else None, dashed)
    notes = [f"{failed} of {len(every)} runs failed (thin dashed lines, not in the mean)"] if failed else []
    add_note(figure, notes + ([f"{missing} run{'s' if missing > 1 else ''} omitted: no record"] if missing else []))
    return figure


def check_names(spec: FigureSpec) -> None:
    """Raise a ConfigError that suggests the closest valid name if the quantity or a method does not exist."""
    if spec["quantity"] not in QUANTITIES:
        raise ConfigError(f"figure {spec['id']}: unknown quantity {spec['quantity']!r}{suggest(spec['quantity'], QUANTITIES)}")
    rows = {row["id"] for panel in spec["panels"] for row in panel["rows"]}
    for method in spec["methods"] if rows else []:
        if method not in rows:
            raise ConfigError(f"figure {spec['id']}: its table has no row {method!r}{suggest(method, rows)}")


def spread_keeps(keeps: Sequence[str]) -> list[str]:
    """Return at most 6 of the keep fractions, evenly spread, including the first and the last."""
    if len(keeps) <= MOST_KEEPS:
        return list(keeps)
    return [keeps[round(place)] for place in np.linspace(0, len(keeps) - 1, MOST_KEEPS)]


def list_runs(spec: FigureSpec, panels: Sequence[PanelSpec], keeps: Sequence[str]) -> dict[Place, list[str]]:
    """Return the runs to draw by panel, row and keep fraction."""
    rows = [(panel, row) for panel in panels for row in panel["rows"] if row["id"] in spec["methods"]]
    return {(panel["id"], row["id"], keep): row["cells"][keep]["runs"] for panel, row in rows for keep in keeps if keep in row["cells"]}


def refuse_missing(spec: FigureSpec, runs: Mapping[Place, Sequence[str]], records: Records) -> int:
    """Return how many of the runs have no record; raise a RecordError if there are any and the specification is not ``partial``."""
    names = {name for place in runs.values() for name in place}
    holes = dict.fromkeys(sorted(names - records.keys()), "no record")
    if holes and not spec["partial"]:
        raise_holes(spec, holes, len(names))
    return len(holes)


def read_curves(records: Records, runs: Sequence[str], quantity: QuantityName) -> list[Curve]:
    """Return one curve per run that has a trajectory."""
    curves = [read_curve(records[run], quantity) for run in runs if run in records]
    return [curve for curve in curves if curve is not None]


def read_curve(record: Row, quantity: QuantityName) -> Curve | None:
    """Return the trajectory of a run, failed or not; None if it has none."""
    trajectory = record["selection"].get("trajectory") if record["selection"] else None
    if not trajectory or quantity not in trajectory:
        return None
    epochs, values = (np.array(column, dtype=np.float64) for column in (trajectory["epoch"], trajectory[quantity]))
    return Curve(epochs, values, trajectory.get("chosen_epoch"), record["status"] != "ok")


def prolong_curves(curves: Sequence[Curve]) -> list[Curve]:
    """Return curves that all end where the longest one does, with the last values of those that ended before."""
    longest = max(curves, key=lambda curve: len(curve.epochs)).epochs
    more = [longest[len(curve.epochs) :] for curve in curves]
    return [
        curve._replace(
            epochs=np.concatenate([curve.epochs, rest]), values=np.concatenate([curve.values, np.full(len(rest), curve.values[-1])])
        )
        for curve, rest in zip(curves, more, strict=True)
    ]


def average_curves(curves: Sequence[Curve]) -> Band:
    """Return the mean of the finite values of each epoch with its 95 % t-interval; NaN where they are undefined."""
    epochs = np.unique(np.concatenate([curve.epochs for curve in curves]))
    table = np.full((3, len(epochs)), np.nan)
    for place, epoch in enumerate(epochs):
        values = [value for curve in curves for value in curve.values[curve.epochs == epoch] if np.isfinite(value)]
        if values:
            found = t_interval(values)
            table[:, place] = found.mean, *(np.nan if bound is None else bound for bound in (found.low, found.high))
    return Band(epochs, *table)


def draw_panels(
    spec: FigureSpec,
    panels: Sequence[PanelSpec],
    keeps: Sequence[str],
    curves: Mapping[Place, list[Curve]],
    styles: Mapping[str, LineStyle],
) -> Figure:
    """Draw one block of panels per data set; except for kept fractions, all panels share one axis."""
    quantity, is_kept = QUANTITIES[spec["quantity"]], spec["quantity"] == "kept_fraction"
    num_columns = min(len(keeps), PANELS_A_ROW)
    rows_a_panel = -(-len(keeps) // num_columns)
    num_rows = rows_a_panel * len(panels)
    figure = make_figure(num_rows, num_columns, panels)
    is_shared = len(panels) == 1 and len(keeps) > 1  # whether one title stands above all
    for block, panel in enumerate(panels):
        for index, keep in enumerate(keeps):
            place = block * rows_a_panel * num_columns + index + 1
            share = figure.axes[0] if figure.axes and not is_kept else None
            axes = figure.add_subplot(num_rows, num_columns, place, sharey=share)
            places = {row["id"]: (panel["id"], row["id"], keep) for row in panel["rows"]}
            draw_lines(axes, {name: curves[key] for name, key in places.items() if key in curves}, styles, quantity)
            draw_references(axes, quantity, float(keep) if is_kept else None)
            title = f"{format_keep(keep)} kept"
            axes.set_title(f"{wrap_title(panel['title'])}\n{title}" if not is_shared else title, loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            if index + num_columns >= len(keeps):
                axes.set_xlabel(quantity.across)
            if index % num_columns == 0:
                axes.set_ylabel(quantity.label)
    if is_shared:
        figure.suptitle(panels[0]["title"], x=0.01, ha="left", fontsize=9)
    return figure


def draw_lines(axes: Axes, lines: Mapping[str, Sequence[Curve]], styles: Mapping[str, LineStyle], quantity: Quantity) -> None:
    """Draw the runs of every method of one panel, labelled with the row ids."""
    for name, curves in lines.items():
        style = styles[name]
        finished = [curve for curve in curves if not curve.failed]
        if finished:
            band = average_curves(prolong_curves(finished) if quantity.lasts else finished)
            low, high = (np.clip(bound, quantity.low, quantity.high) for bound in (band.low, band.high))
            axes.fill_between(band.epochs, low, high, color=style.colour, alpha=0.12, linewidth=0)
            axes.plot(band.epochs, band.mean, color=style.colour, linestyle=style.dashes, linewidth=style.width, label=name, zorder=2.5)
        for curve in curves:
            if curve.failed:
                axes.plot(curve.epochs, curve.values, color=style.colour, linestyle=FAILED_DASHES, linewidth=0.8, zorder=2.2)
            at = curve.epochs == curve.chosen_epoch
            axes.scatter(
                curve.epochs[at], curve.values[at], s=24, color=style.colour, marker=style.marker, edgecolors="white", linewidths=0.5,
                zorder=3,
            )  # fmt: skip
    if not lines:
        axes.text(0.5, 0.5, "no trajectory", transform=axes.transAxes, ha="center", va="center", color="#777777")


def draw_references(axes: Axes, quantity: Quantity, keep: float | None) -> None:
    """Draw the reference values of a quantity, and the target keep fraction with the accepted band around it."""
    for mark in quantity.marks:
        axes.axhline(mark, color=FULL_COLOUR, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.5)
    if keep is not None:
        axes.axhspan(keep - BAND, keep + BAND, color=FULL_COLOUR, alpha=0.12, linewidth=0)
        axes.axhline(keep, color=FULL_COLOUR, linewidth=0.9, zorder=1.5)

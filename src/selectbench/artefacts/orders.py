"""Order of the methods: what each gains over random selection with less and with more data, one panel per keep fraction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from selectbench.artefacts.cells import FULL_COLUMN, Cell, Difference, explain_absences, fill_panels, replace_rows
from selectbench.artefacts.formats import HOLE, format_keep, format_signed
from selectbench.artefacts.kinds import Table
from selectbench.artefacts.plots import (
    FULL_COLOUR,
    PANELS_A_ROW,
    LineStyle,
    add_legend,
    assign_styles,
    draw_absence,
    make_figure,
    wrap_title,
)
from selectbench.artefacts.specs import FigureSpec, Panel, TableRow
from selectbench.records.rows import Records
from selectbench.rl.ranks import rank_correlation

LINEAR = 2.0  # points around 0 where axes are linear
TICKS = (-50, -10, -2, 0, 2, 10, 50)  # points


class Pair(NamedTuple):
    """A method with less and with more data.

    Parameters
    ----------
    row : of the method, with more data
    less, more : its cells
    across, up : its differences from random selection
    """

    row: TableRow[Cell]
    less: Cell
    more: Cell
    across: Difference
    up: Difference


class Compared(NamedTuple):
    """The methods of a panel at one keep fraction.

    Parameters
    ----------
    panel : with more data
    keep : the fraction
    pairs : one per method that has a difference from random selection with less and with more data
    """

    panel: Panel[Cell]
    keep: str
    pairs: list[Pair]


def draw_order(spec: FigureSpec, records: Records, less: Table[Cell] | None) -> Figure:
    """Draw differences from random selection against those at the scale with less data: one panel per data set and keep fraction.

    A corner of each panel gives the rank correlation of the two orders and how well one seed agrees with the others at either scale,
    which the former cannot be expected to exceed by much.

    Parameters
    ----------
    spec : of the figure
    records : run id → record
    less : the same table at the scale with less data; None if that scale has no results

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    """
    panels = fill_panels(spec, records)
    if less is None:
        return draw_absence(spec["scale"], [f"no results at scale {spec['less_data']['scale']} to compare with"])
    keeps = [column["id"] for column in spec["columns"] if column["id"] != FULL_COLUMN]
    both = [(few, many) for few, many in zip(less["panels"], panels, strict=True) if few["absent"] is None and many["absent"] is None]
    compared = [Compared(many, keep, pairs) for few, many in both for keep in keeps if (pairs := list_pairs(few, many, keep))]
    if not compared:
        return draw_absence(spec["scale"], explain_absences([*less["panels"], *panels]))
    rows = {pair.row["id"]: pair.row for item in compared for pair in item.pairs}
    shown = [replace_rows(compared[0].panel, list(rows.values()))]
    num_columns = min(len(compared), PANELS_A_ROW)
    num_rows = -(-len(compared) // num_columns)
    figure, styles = make_figure(num_rows, num_columns, shown), assign_styles(panels)
    for index, item in enumerate(compared):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        draw_pairs(axes, item.pairs, styles)
        kept = f"{format_keep(item.keep)} kept"
        axes.set_title(kept if len(both) == 1 else wrap_title(f"{item.panel['title']}, {kept}"), loc="left")
        if index + num_columns >= len(compared):
            axes.set_xlabel(f"minus random at {less['scale']} (points)")
        if index % num_columns == 0:
            axes.set_ylabel(f"minus random at {spec['scale']} (points)")
    add_legend(figure, shown, styles, None)
    return figure


def list_pairs(less: Panel[Cell], more: Panel[Cell], keep: str) -> list[Pair]:
    """Return the methods that have a difference from random selection at a keep fraction in both panels."""
    fewer = {row["id"]: row["cells"].get(keep) for row in less["rows"]}
    pairs = [(row, fewer.get(row["id"]), row["cells"].get(keep)) for row in more["rows"]]
    return [
        Pair(row, few, many, across, up)
        for row, few, many in pairs
        if few and many and (across := few["against_random"]) and (up := many["against_random"])
    ]


def draw_pairs(axes: Axes, pairs: Sequence[Pair], styles: dict[str, LineStyle]) -> None:
    """Draw one marker per method with both intervals, random selection as lines at 0, and the diagonal; axes are linear around 0."""
    for line in (axes.axhline, axes.axvline):
        line(0, color=FULL_COLOUR, linewidth=0.9, zorder=1.5)
    axes.axline((0, 0), slope=1, color=FULL_COLOUR, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1.5)
    for pair in pairs:
        style = styles[pair.row["id"]]
        axes.errorbar(
            pair.across["mean"], pair.up["mean"], xerr=list_reaches(pair.across), yerr=list_reaches(pair.up), color=style.colour, alpha=0.3,
            linewidth=0.8, linestyle="none",
        )  # fmt: skip
        axes.plot(
            pair.across["mean"], pair.up["mean"], label=pair.row["id"], color=style.colour, marker=style.marker, markersize=5,
            markeredgecolor="white", markeredgewidth=0.5, linestyle="none", zorder=3,
        )  # fmt: skip

    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_yscale("symlog", linthresh=LINEAR)
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_locator(FixedLocator(TICKS))
        side.set_minor_locator(NullLocator())
        side.set_major_formatter(FuncFormatter(lambda value, _: format_signed(value, 0)))
    axes.text(
        0.97, 0.03, describe_agreement(pairs), transform=axes.transAxes, ha="right", va="bottom", fontsize=7.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}, zorder=4,
    )  # fmt: skip


def list_reaches(difference: Difference) -> list[list[float]] | None:
    """Return how far an interval reaches below and above its mean; None for one seed."""
    low, high = difference["low"], difference["high"]
    return None if low is None or high is None else [[difference["mean"] - low], [high - difference["mean"]]]


def describe_agreement(pairs: Sequence[Pair]) -> str:
    """Return the rank correlation of the two orders, and of one seed with the others at either scale, in two lines."""
    between = rank_correlation(np.array([pair.across["mean"] for pair in pairs]), np.array([pair.up["mean"] for pair in pairs]))
    seeds = [
        agree_with_others([cell["values"] for cell in cells]) for cells in zip(*((pair.less, pair.more) for pair in pairs), strict=True)
    ]
    return f"Spearman {format_agreement(between)}\nseeds: {', '.join(map(format_agreement, seeds))}"


def agree_with_others(values: Sequence[Sequence[float | None]]) -> float | None:
    """Return the rank correlation between the order of methods at one seed and that of their means over the other seeds, mean over seeds.

    Parameters
    ----------
    values : accuracies of methods by seed; methods without one at every seed are left out

    Returns
    -------
    None with less than two seeds, or where the order is undefined
    """
    whole = [row for row in values if None not in row and len(row) == max(map(len, values))]
    table = np.array(whole, dtype=np.float64)
    if table.ndim < 2 or table.shape[1] < 2:
        return None
    found = [rank_correlation(table[:, seed], np.delete(table, seed, axis=1).mean(axis=1)) for seed in range(table.shape[1])]
    defined = [value for value in found if value is not None]
    return float(np.mean(defined)) if defined else None


def format_agreement(value: float | None) -> str:
    """Return a correlation with its sign, or a dash without one."""
    return HOLE if value is None else format_signed(value, 2)

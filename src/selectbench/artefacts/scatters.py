"""Measured relations: y by x in bins, one faint line per seed and their mean."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from selectbench.artefacts.formats import format_signed
from selectbench.artefacts.measurements import (
    Measured,
    Measurement,
    bin_points,
    finite_points,
    group_measurements,
    mean_statistic,
    spans_decades,
)
from selectbench.artefacts.plots import COLOURS, FULL_COLOUR, PANELS_A_ROW, draw_absence, make_figure, wrap_title
from selectbench.artefacts.specs import FigureSpec
from selectbench.errors import spell_count

LABEL_WIDTH = 30  # characters


def draw_measured(spec: FigureSpec, measurements: Sequence[Measurement]) -> Figure:
    """Draw what was measured of a proposition: one panel per data set of the table, with the mean Spearman correlation in a corner.

    Each seed's points are summarised in quantile bins of x by their median and quartiles; the thick line is the mean of the
    medians. An axis is logarithmic if all of its values are positive and span more than two decades.
    """
    groups = group_measurements(measurements, spec["proposition"])
    titles = {panel["id"]: panel["title"] for panel in spec["panels"]}
    datasets = [name for name in titles if name in groups]
    if not datasets:
        return draw_absence(spec["scale"], [f"no measurements of {spec['proposition']!r}"])
    num_columns = min(len(datasets), PANELS_A_ROW)
    num_rows = -(-len(datasets) // num_columns)
    figure = make_figure(num_rows, num_columns, [])
    for index, name in enumerate(datasets):
        seeds = list(groups[name].values())
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        draw_bins(axes, [points for item in seeds if len((points := finite_points(item))[0])])
        note_correlation(axes, seeds)
        axes.set_title(wrap_title(titles[name]), loc="left")
        axes.set_xlabel(textwrap.fill(seeds[0]["x_label"], LABEL_WIDTH))
        if index % num_columns == 0:
            axes.set_ylabel(textwrap.fill(seeds[0]["y_label"], LABEL_WIDTH))
    handles = [
        Line2D([], [], color=FULL_COLOUR, linewidth=1.8, marker="o", markersize=4, label="Mean of the medians"),
        Line2D([], [], color=COLOURS[0], linewidth=0.9, alpha=0.6, label="Median of one seed"),
        Patch(color=COLOURS[0], alpha=0.15, linewidth=0, label="Quartiles of one seed"),
    ]
    figure.legend(handles=handles, title="y in bins of x", loc="outside right upper", alignment="left")
    return figure


def draw_bins(axes: Axes, seeds: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw the points (x, y) of several seeds in common bins, and choose the scale of both axes."""
    if not seeds:
        axes.text(0.5, 0.5, "no finite points", transform=axes.transAxes, ha="center", va="center", color="#777777")
        return
    bins = bin_points(seeds)
    for median, lower, upper in zip(bins.medians, bins.lower, bins.upper, strict=True):
        axes.fill_between(bins.centres, lower, upper, color=COLOURS[0], alpha=0.08, linewidth=0)
        axes.plot(bins.centres, median, color=COLOURS[0], linewidth=0.9, alpha=0.6)
    mean = np.nanmean(bins.medians, axis=0)
    axes.plot(bins.centres, mean, color=FULL_COLOUR, linewidth=1.8, marker="o", markersize=3, label="mean", zorder=3)
    across, up = (np.concatenate([points[axis] for points in seeds]) for axis in (0, 1))
    if spans_decades(across):
        axes.set_xscale("log")
    if spans_decades(up):
        axes.set_yscale("log")


def note_correlation(axes: Axes, seeds: Sequence[Measured]) -> None:
    """Print the mean Spearman correlation over seeds in the upper corner that a curve of this sign leaves free."""
    found = mean_statistic(seeds, "spearman")
    if found is None:
        return
    mean, num_seeds = found
    x, side = (0.03, "left") if mean >= 0 else (0.97, "right")
    text = f"Spearman {format_signed(mean, 2)}\n(mean of {spell_count(num_seeds, 'seed')})"
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(x, 0.97, text, transform=axes.transAxes, ha=side, va="top", fontsize=7.5, bbox=box, zorder=4)

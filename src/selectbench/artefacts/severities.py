"""Severities: accuracy on a corrupted test set by how strong the corruption is."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selectbench.artefacts.cells import FULL, FULL_COLUMN, Cell, explain_absences, fill_panels, find_finished, find_outcome, t_interval
from selectbench.artefacts.formats import format_keep
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
from selectbench.artefacts.specs import FigureSpec
from selectbench.errors import ConfigError, suggest
from selectbench.records.rows import Outcome, Records

FULL_STYLE = LineStyle(FULL_COLOUR, "", "-", 1.4)


def draw_severities(spec: FigureSpec, records: Records) -> Figure:
    """Draw one line per method at one keep fraction, with its 95 % t-interval over seeds; severity 0 is the clean test set.

    The accuracy at a severity is the mean over the corruptions of the test set.

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    ConfigError
        The table has no such keep fraction, or its test set is not a corrupted one.
    """
    keeps = [column["id"] for column in spec["columns"]]
    if spec["keep"] not in keeps:
        raise ConfigError(f"figure {spec['id']}: the table has no keep fraction {spec['keep']}{suggest(spec['keep'], keeps)}")
    panels = fill_panels(spec, records)
    present = [panel for panel in panels if panel["absent"] is None]
    if not present:
        return draw_absence(spec["scale"], explain_absences(panels))
    num_columns = min(len(present), PANELS_A_ROW)
    num_rows = -(-len(present) // num_columns)
    figure, styles = make_figure(num_rows, num_columns, present), assign_styles(present)
    for index, panel in enumerate(present):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        for row in panel["rows"]:
            cell = row["cells"].get(FULL_COLUMN if row["id"] == FULL else spec["keep"])
            curves = list_curves(spec, cell, records, panel["test_set"]) if cell else None
            if curves is not None:
                draw_curve(axes, curves, row["id"], styles.get(row["id"], FULL_STYLE))
        axes.set_title(wrap_title(f"{panel['title']}, {format_keep(spec['keep'])} kept"), loc="left")
        axes.set_xlabel("corruption severity (0 = clean)")
        if index % num_columns == 0:
            axes.set_ylabel("top-1 accuracy (%), mean over corruptions")
    add_legend(figure, present, styles, None)
    return figure


def list_curves(spec: FigureSpec, cell: Cell, records: Records, test_set: str | None) -> np.ndarray | None:
    """Return the accuracies (S, 1 + severities) of a cell's runs, clean first; None without a run."""
    present = [run for run, value in zip(cell["runs"], cell["values"], strict=True) if value is not None]
    finished = [record for run in present if (record := find_finished(records, run))]
    tests = [outcome for record in finished if (outcome := find_outcome(record, test_set))]
    if any("by_corruption" not in test for test in tests):
        raise ConfigError(f"figure {spec['id']}: test set {test_set!r} is not a corrupted one")
    return np.stack([list_accuracies(test) for test in tests]) if tests else None


def list_accuracies(test: Outcome) -> np.ndarray:
    """Return the clean accuracy and the mean over corruptions at every severity."""
    by_corruption = np.array(list(test["by_corruption"].values()), dtype=np.float64)
    return np.array([test["clean_top1"], *by_corruption.mean(axis=0)], dtype=np.float64)


def draw_curve(axes: Axes, curves: np.ndarray, label: str, style: LineStyle) -> None:
    """Draw the mean over seeds by severity, with its interval."""
    severities = np.arange(curves.shape[1])
    found = [t_interval(column) for column in curves.T]
    means = [interval.mean for interval in found]
    axes.plot(
        severities, means, label=label, color=style.colour, linestyle=style.dashes, marker=style.marker, markersize=4,
        markeredgecolor="white",
    )  # fmt: skip
    bounds = [(interval.low, interval.high) for interval in found if interval.low is not None and interval.high is not None]
    if bounds:
        lows, highs = zip(*bounds, strict=True)
        axes.fill_between(severities, lows, highs, color=style.colour, alpha=0.07, linewidth=0)

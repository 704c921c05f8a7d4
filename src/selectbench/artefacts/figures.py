"""Figures: a specification and what is drawn → one figure → PDF, PNG and SVG; equal inputs give equal bytes."""

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

from selectbench.artefacts.break_even import draw_break_even
from selectbench.artefacts.cells import FULL, FULL_COLUMN, METRIC_TITLES, PERCENT_METRICS, Cell, explain_absences, fill_panels, list_cells
from selectbench.artefacts.coherence import Clustering, draw_coherence
from selectbench.artefacts.heatmaps import draw_overlap
from selectbench.artefacts.kinds import Table
from selectbench.artefacts.measurements import Measurement
from selectbench.artefacts.orders import draw_order
from selectbench.artefacts.plots import (
    FULL_COLOUR,
    PANELS_A_ROW,
    STYLE,
    LineStyle,
    add_legend,
    add_note,
    assign_styles,
    draw_absence,
    make_figure,
    wrap_title,
)
from selectbench.artefacts.scatters import draw_measured
from selectbench.artefacts.severities import draw_severities
from selectbench.artefacts.specs import FigureKind, FigureSpec, Panel, TableRow
from selectbench.artefacts.states import StateMap, draw_states
from selectbench.artefacts.trajectories import draw_trajectory
from selectbench.errors import ConfigError, suggest
from selectbench.records.rows import Records

if TYPE_CHECKING:
    from selectbench.artefacts.overlaps import Overlap

METADATA = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
COST_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def draw_figure(
    spec: FigureSpec,
    records: Records,
    overlaps: "Sequence[Overlap]" = (),
    measurements: Sequence[Measurement] = (),
    states: Sequence[StateMap] = (),
    clusters: Sequence[Clustering] = (),
    less: Table[Cell] | None = None,
) -> Figure:
    """Return a figure; its lines are labelled with the row ids.

    Parameters
    ----------
    spec : of the figure; its ``kind`` says which of the other inputs are read
    records : run id → record, for the kinds ``accuracy_by_keep``, ``cost``, ``severity``, ``trajectory``, ``break_even`` and
        ``order``
    overlaps : what ``compare_subsets`` found, for the kind ``overlap``
    measurements : what was measured of propositions, for the kind ``measured``
    states : maps of what agents explored, one per data set and seed, for the kind ``states``
    clusters : records of clusterings, for the kind ``coherence``
    less : the same table at a scale with less data, for the kind ``order``; None where that scale has no results

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    ConfigError
        The kind is unknown, or the figure names a quantity or a row that does not exist.
    """
    draw: dict[FigureKind, Callable[[], Figure]] = {
        "accuracy_by_keep": lambda: draw_cells(draw_accuracy_by_keep, spec, records),
        "cost": lambda: draw_cells(draw_cost, spec, records),
        "severity": lambda: draw_severities(spec, records),
        "trajectory": lambda: draw_trajectory(spec, records),
        "overlap": lambda: draw_overlap(spec, overlaps),
        "measured": lambda: draw_measured(spec, measurements),
        "break_even": lambda: draw_break_even(spec, records),
        "states": lambda: draw_states(spec, states),
        "coherence": lambda: draw_coherence(spec, clusters),
        "order": lambda: draw_order(spec, records, less),
    }
    if spec["kind"] not in draw:
        raise ConfigError(f"figure {spec['id']}: unknown kind {spec['kind']!r}{suggest(spec['kind'], draw)}")
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        return draw[spec["kind"]]()


def render_figure(figure: Figure, file_format: str) -> bytes:
    """Return a figure as ``pdf``, ``png`` (200 dots per inch) or ``svg``, without dates and versions, and small."""
    stream = io.BytesIO()
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        figure.savefig(stream, format=file_format, dpi=200, metadata=METADATA[file_format])
    content = stream.getvalue()
    return {"png": shrink_png, "svg": shrink_svg}[file_format](content) if file_format != "pdf" else content


def shrink_png(content: bytes) -> bytes:
    """Return a picture reduced to 256 colours, about a third as large."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    return stream.getvalue()


def shrink_svg(content: bytes) -> bytes:
    """Return a drawing with its coordinates rounded to hundredths of a point, without indentation, about four fifths as large.

    Numbers below 1 stay as they are: the factors by which letters are scaled are among them.
    """
    text = re.sub(r"(?<![\w#.])-?[1-9]\d*\.\d{3,}(?![\w.])", lambda found: f"{float(found[0]):.2f}", content.decode())
    return re.sub(r"\s*\n\s*", "\n", text).encode()


def draw_cells(draw: Callable[[FigureSpec, Sequence[Panel[Cell]]], Figure], spec: FigureSpec, records: Records) -> Figure:
    """Fill the panels of a figure from the records of their runs and draw those that exist at this scale."""
    panels = fill_panels(spec, records)
    present = [panel for panel in panels if panel["absent"] is None]
    return draw(spec, present) if present else draw_absence(spec["scale"], explain_absences(panels))


def draw_accuracy_by_keep(spec: FigureSpec, panels: Sequence[Panel[Cell]]) -> Figure:
    """Draw one line per method with its 95 % t-interval over seeds; full data is a horizontal line with its own interval."""
    num_columns = min(len(panels), PANELS_A_ROW)
    num_rows = -(-len(panels) // num_columns)
    figure = make_figure(num_rows, num_columns, panels)
    styles = assign_styles(panels)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        draw_full_data(axes, panel)
        for row in panel["rows"]:
            points = list_points(row)
            if row["id"] == FULL or not points:
                continue
            style = styles[row["id"]]
            keeps, means = [point.keep for point in points], [point.mean for point in points]
            lows, highs = zip(*(point.cell["interval"] or [point.mean, point.mean] for point in points), strict=True)
            if len(keeps) == 1:
                axes.vlines(keeps, lows, highs, color=style.colour, alpha=0.4)
            else:
                axes.fill_between(keeps, lows, highs, color=style.colour, alpha=0.07, linewidth=0)
            plot_line(axes, row, style, keeps, means, [22] * len(means))
        axes.set_title(wrap_title(panel["title"]), loc="left")
        ticks = sorted({point.keep for row in panel["rows"] if row["id"] != FULL for point in list_points(row)})
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda keep, _: f"{100 * keep:g}"))
        set_metric_axis(axes, spec["metric"])
        if index + num_columns >= len(panels):
            axes.set_xlabel("keep fraction (% of the training pool)")
        if index % num_columns == 0:
            axes.set_ylabel(METRIC_TITLES.get(spec["metric"], spec["metric"]))
    add_legend(figure, panels, styles, None)
    add_hole_note(figure, panels)
    return figure


def draw_cost(spec: FigureSpec, panels: Sequence[Panel[Cell]]) -> Figure:
    """Draw the metric by total cost relative to full-data training: wall time in the first row, sample visits in the second."""
    axes_of_cost: tuple[tuple[Literal["total", "sample_visits"], str], ...] = (
        ("total", "selection + training time\n(full-data training = 1)"),
        ("sample_visits", "sample visits\n(full-data training = 1)"),
    )
    figure = make_figure(len(axes_of_cost), len(panels), panels)
    styles = assign_styles(panels)
    for place, (quantity, label) in enumerate(axes_of_cost):
        for index, panel in enumerate(panels):
            axes = figure.add_subplot(len(axes_of_cost), len(panels), place * len(panels) + index + 1)
            axes.set_xscale("log")
            draw_full_data(axes, panel)
            axes.axvline(1, color=FULL_COLOUR, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1.5)
            for row in panel["rows"]:
                points = [(point, cost[quantity]) for point in list_points(row) if (cost := point.cell["cost"]) is not None]
                if row["id"] == FULL or not points:
                    continue
                costs, means = [cost for _, cost in points], [point.mean for point, _ in points]
                plot_line(axes, row, styles[row["id"]], costs, means, [12 + 50 * point.keep for point, _ in points])
            set_cost_ticks(axes)
            set_metric_axis(axes, spec["metric"])
            axes.set_xlabel(label)
            if place == 0:
                axes.set_title(wrap_title(panel["title"]), loc="left")
            if index == 0:
                axes.set_ylabel(METRIC_TITLES.get(spec["metric"], spec["metric"]))
    add_legend(figure, panels, styles, "larger marker = larger keep fraction")
    add_hole_note(figure, panels)
    return figure


class Point(NamedTuple):
    """A cell with a value.

    Parameters
    ----------
    keep : its keep fraction
    mean : its value
    cell : all it holds
    """

    keep: float
    mean: float
    cell: Cell


def list_points(row: TableRow[Cell]) -> list[Point]:
    """Return the cells with a value, by rising keep fraction."""
    points = [Point(float(column), mean, cell) for column, cell in row["cells"].items() if (mean := cell["mean"]) is not None]
    return sorted(points, key=lambda point: point.keep)


def plot_line(
    axes: Axes, row: TableRow[Cell], style: LineStyle, across: Sequence[float], up: Sequence[float], sizes: Sequence[float]
) -> None:
    """Draw the line of a row with a marker at every value, each of its own size in square points."""
    axes.plot(across, up, color=style.colour, linestyle=style.dashes, linewidth=style.width, label=row["id"], zorder=2.5)
    axes.scatter(across, up, s=sizes, color=style.colour, marker=style.marker, edgecolors="white", linewidths=0.5, zorder=3)


def draw_full_data(axes: Axes, panel: Panel[Cell]) -> None:
    """Draw the mean of full data and its interval across a panel, if the panel has one."""
    cell = next((row["cells"].get(FULL_COLUMN) for row in panel["rows"] if row["id"] == FULL), None)
    if cell is None or cell["mean"] is None:
        return
    axes.axhline(cell["mean"], color=FULL_COLOUR, linewidth=1.1, label=FULL, zorder=1.5)
    if cell["interval"] is not None:
        low, high = cell["interval"]
        axes.axhspan(low, high, color=FULL_COLOUR, alpha=0.10, linewidth=0)


def set_cost_ticks(axes: Axes) -> None:
    """Label a logarithmic cost axis at 1, 2 and 5 times powers of ten."""
    axes.xaxis.set_major_locator(FixedLocator(COST_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}×"))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.45), max(high, 2.2))


def set_metric_axis(axes: Axes, metric: str) -> None:
    """Tick the metric's axis at round numbers; a percentage ends at 100 even if an interval does not."""
    axes.margins(y=0.08)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    low, high = axes.get_ylim()
    if metric in PERCENT_METRICS:
        axes.set_ylim(low, min(high, 100.5))


def add_hole_note(figure: Figure, panels: Sequence[Panel[Cell]]) -> None:
    """Note in the figure how many of its runs have no value."""
    holes = {hole["run"] for _, _, _, cell in list_cells(panels) for hole in cell["holes"]}
    if holes:
        runs = {run for _, _, _, cell in list_cells(panels) for run in cell["runs"]}
        add_note(figure, [f"{len(holes)} of {len(runs)} runs omitted: no value"])

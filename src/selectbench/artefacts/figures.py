"""Figures: a spec and what it draws → one figure → PDF, PNG and SVG; equal inputs give equal bytes."""

import io
import re
from collections.abc import Callable, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

from selectbench.artefacts.break_even import draw_break_even
from selectbench.artefacts.cells import (
    FULL,
    FULL_COLUMN,
    METRIC_TITLES,
    PERCENT_METRICS,
    Cell,
    Records,
    explain_absences,
    fill_panels,
    list_cells,
)
from selectbench.artefacts.coherence import draw_coherence
from selectbench.artefacts.heatmaps import draw_overlap
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
from selectbench.artefacts.states import draw_states
from selectbench.artefacts.trajectories import draw_trajectory
from selectbench.errors import ConfigError, suggest

METADATA = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
COST_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def draw_figure(
    spec: dict,
    records: Records,
    overlaps: Sequence[dict] = (),
    measurements: Sequence[dict] = (),
    states: Sequence[dict] = (),
    clusters: Sequence[dict] = (),
) -> Figure:
    """Return the figure of a spec; its lines are labelled with the row ids.

    Parameters
    ----------
    spec : a figure of the plan; its ``kind`` says which of the other inputs are read
    records : run id → record, of the kinds ``accuracy_by_keep``, ``cost``, ``severity``, ``trajectory`` and ``break_even``
    overlaps : what ``compare_subsets`` found, of the kind ``overlap``
    measurements : what was measured of propositions, of the kind ``measured``
    states : maps of what agents explored, one a data set and seed, of the kind ``states``
    clusters : records of clusters, of the kind ``coherence``

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec is not ``partial``.
    ConfigError
        The spec's kind is unknown, or it names a quantity or a row that does not exist.
    """
    draw = {
        "accuracy_by_keep": lambda: draw_cells(draw_accuracy_by_keep, spec, records),
        "cost": lambda: draw_cells(draw_cost, spec, records),
        "severity": lambda: draw_severities(spec, records),
        "trajectory": lambda: draw_trajectory(spec, records),
        "overlap": lambda: draw_overlap(spec, overlaps),
        "measured": lambda: draw_measured(spec, measurements),
        "break_even": lambda: draw_break_even(spec, records),
        "states": lambda: draw_states(spec, states),
        "coherence": lambda: draw_coherence(spec, clusters),
    }
    if spec["kind"] not in draw:
        raise ConfigError(f"figure {spec['id']}: unknown kind {spec['kind']!r}{suggest(spec['kind'], draw)}")
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        return draw[spec["kind"]]()


def render_figure(figure: Figure, file_format: str) -> bytes:
    """Return the figure as ``pdf``, ``png`` (200 dots an inch) or ``svg``, without dates or versions in it, and small."""
    stream = io.BytesIO()
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        figure.savefig(stream, format=file_format, dpi=200, metadata=METADATA[file_format])
    shrink = {"pdf": bytes, "png": shrink_png, "svg": shrink_svg}
    return shrink[file_format](stream.getvalue())


def shrink_png(content: bytes) -> bytes:
    """Return a picture with the 256 colours that come closest to its own, about a third as large."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    return stream.getvalue()


def shrink_svg(content: bytes) -> bytes:
    """Return a drawing with its places rounded to hundredths of a point, without indentation, about four fifths as large.

    Numbers below 1 stay as they are: among them are the factors by which letters are scaled.
    """
    text = re.sub(r"(?<![\w#.])-?[1-9]\d*\.\d{3,}(?![\w.])", lambda found: f"{float(found[0]):.2f}", content.decode())
    return re.sub(r"\s*\n\s*", "\n", text).encode()


def draw_cells(draw: Callable[[dict, list[dict]], Figure], spec: dict, records: Records) -> Figure:
    """Fill the panels of a spec with what their runs say and draw those that exist at this scale."""
    panels = fill_panels(spec, records)
    present = [panel for panel in panels if panel["absent"] is None]
    return draw(spec, present) if present else draw_absence(spec["scale"], explain_absences(panels))


def draw_accuracy_by_keep(spec: dict, panels: list[dict]) -> Figure:
    """Draw one line a method with its 95 % t-interval over seeds, and full data as a horizontal line with its own."""
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
            keeps, cells = [keep for keep, _ in points], [cell for _, cell in points]
            means = [cell["mean"] for cell in cells]
            bounds = [cell["interval"] or [cell["mean"], cell["mean"]] for cell in cells]
            lows, highs = zip(*bounds, strict=True)
            if len(keeps) == 1:
                axes.vlines(keeps, lows, highs, color=style.colour, alpha=0.4)
            else:
                axes.fill_between(keeps, lows, highs, color=style.colour, alpha=0.07, linewidth=0)
            plot_line(axes, row, style, keeps, means, [22] * len(means))
        axes.set_title(wrap_title(panel["title"]), loc="left")
        ticks = sorted({keep for row in panel["rows"] if row["id"] != FULL for keep, _ in list_points(row)})
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda keep, _: f"{100 * keep:g}"))
        set_metric_axis(axes, spec["metric"])
        if index + num_columns >= len(panels):
            axes.set_xlabel("kept (% of the training pool)")
        if index % num_columns == 0:
            axes.set_ylabel(METRIC_TITLES.get(spec["metric"], spec["metric"]))
    add_legend(figure, panels, styles, None)
    add_hole_note(figure, panels)
    return figure


def draw_cost(spec: dict, panels: list[dict]) -> Figure:
    """Draw the metric by total cost relative to full-data training: wall time in the first row, sample visits in the second."""
    axes_of_cost = (
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
                points = [(keep, cell) for keep, cell in list_points(row) if cell["cost"] is not None]
                if row["id"] == FULL or not points:
                    continue
                costs, means = [cell["cost"][quantity] for _, cell in points], [cell["mean"] for _, cell in points]
                plot_line(axes, row, styles[row["id"]], costs, means, [12 + 50 * keep for keep, _ in points])
            set_cost_ticks(axes)
            set_metric_axis(axes, spec["metric"])
            axes.set_xlabel(label)
            if place == 0:
                axes.set_title(wrap_title(panel["title"]), loc="left")
            if index == 0:
                axes.set_ylabel(METRIC_TITLES.get(spec["metric"], spec["metric"]))
    add_legend(figure, panels, styles, "larger marker = more kept")
    add_hole_note(figure, panels)
    return figure


def list_points(row: dict) -> list[tuple[float, Cell]]:
    """Return (keep fraction, cell) for the cells with a value, by rising keep fraction."""
    return sorted(((float(column), cell) for column, cell in row["cells"].items() if cell["mean"] is not None), key=lambda point: point[0])


def plot_line(axes: Axes, row: dict, style: LineStyle, across: Sequence[float], up: Sequence[float], sizes: Sequence[float]) -> None:
    """Draw one row's line with a marker of its own size, in square points, at every value."""
    axes.plot(across, up, color=style.colour, linestyle=style.dashes, linewidth=style.width, label=row["id"], zorder=2.5)
    axes.scatter(across, up, s=sizes, color=style.colour, marker=style.marker, edgecolors="white", linewidths=0.5, zorder=3)


def draw_full_data(axes: Axes, panel: dict) -> None:
    """Draw the full-data mean and its interval across a panel, if the panel has one."""
    cell = next((row["cells"].get(FULL_COLUMN) for row in panel["rows"] if row["id"] == FULL), None)
    if cell is None or cell["mean"] is None:
        return
    axes.axhline(cell["mean"], color=FULL_COLOUR, linewidth=1.1, label=FULL, zorder=1.5)
    if cell["interval"] is not None:
        axes.axhspan(*cell["interval"], color=FULL_COLOUR, alpha=0.10, linewidth=0)


def set_cost_ticks(axes: Axes) -> None:
    """Label a logarithmic cost axis at 1, 2 and 5 times powers of ten."""
    axes.xaxis.set_major_locator(FixedLocator(COST_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}×"))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.45), max(high, 2.2))


def set_metric_axis(axes: Axes, metric: str) -> None:
    """Tick the metric's axis at round numbers; a percentage ends at 100 even where an interval does not."""
    axes.margins(y=0.08)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    low, high = axes.get_ylim()
    if metric in PERCENT_METRICS:
        axes.set_ylim(low, min(high, 100.5))


def add_hole_note(figure: Figure, panels: list[dict]) -> None:
    """Say in the figure itself how many of its runs have no value."""
    holes = {hole["run"] for _, _, _, cell in list_cells(panels) for hole in cell["holes"]}
    if holes:
        runs = {run for _, _, _, cell in list_cells(panels) for run in cell["runs"]}
        add_note(figure, [f"{len(holes)} of {len(runs)} runs have no value and are left out"])

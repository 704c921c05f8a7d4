"""Figures: accuracy by keep fraction, and accuracy by total cost. Equal records give equal bytes."""

import io
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from selectbench.artefacts.cells import FULL, FULL_COLUMN, METRIC_TITLES, PERCENT_METRICS, Cell, Records, fill_panels, list_cells
from selectbench.errors import ConfigError, suggest

# Okabe–Ito without yellow, which is too pale for lines, and without black, which is for the controls
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1.2, 1.2)))
CONTROL_COLOURS = ("#000000", "#6E6E6E", "#A0A0A0")
FULL_COLOUR = "#3A3A3A"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "selectbench",
}
METADATA = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
PANEL_WIDTH, PANEL_HEIGHT, LEGEND_WIDTH, PANELS_A_ROW = 2.9, 2.5, 1.9, 3  # inches
LONE_PANEL = 1.5  # a column of panels that stands alone is drawn this much larger
LEGEND_LINE = 0.19  # inches
COST_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


class LineStyle(NamedTuple):
    """How one row is drawn in every panel of a figure."""

    colour: str
    marker: str
    dashes: object
    width: float


def draw_figure(spec: dict, records: Records) -> Figure:
    """Return the figure of a spec; its lines are labelled with the row ids.

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec is not ``partial``.
    ConfigError
        The spec's kind is unknown.
    """
    draw = {"accuracy_by_keep": draw_accuracy_by_keep, "cost": draw_cost}
    if spec["kind"] not in draw:
        raise ConfigError(f"figure {spec['id']}: unknown kind {spec['kind']!r}{suggest(spec['kind'], draw)}")
    panels = [panel for panel in fill_panels(spec, records) if panel["absent"] is None]
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        return draw[spec["kind"]](spec, panels) if panels else draw_absence(spec)


def render_figure(figure: Figure, file_format: str) -> bytes:
    """Return the figure as ``pdf``, ``png`` (200 dots an inch) or ``svg``, without dates or versions in it."""
    stream = io.BytesIO()
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        figure.savefig(stream, format=file_format, dpi=200, metadata=METADATA[file_format])
    return stream.getvalue()


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


def draw_absence(spec: dict) -> Figure:
    """Return a figure that says why none of its panels exists at this scale."""
    figure = Figure(figsize=(PANEL_WIDTH + LEGEND_WIDTH, 1.2))
    reasons = "\n".join(f"{panel['title']}: {panel['absent']}" for panel in spec["panels"])
    figure.text(0.5, 0.5, f"Not at scale {spec['scale']}\n{reasons}", ha="center", va="center", wrap=True)
    return figure


def make_figure(num_rows: int, num_columns: int, panels: list[dict]) -> Figure:
    """Return an empty figure with room for the panels and, to their right, for a legend of all their rows."""
    scale = LONE_PANEL if num_columns == 1 else 1.0
    num_lines = len({row["id"] for panel in panels for row in panel["rows"]}) + 2
    height = max(scale * PANEL_HEIGHT * num_rows, LEGEND_LINE * num_lines) + 0.25
    return Figure(figsize=(scale * PANEL_WIDTH * num_columns + LEGEND_WIDTH, height), layout="constrained")


def assign_styles(panels: list[dict]) -> dict[str, LineStyle]:
    """Give each row one style for all panels, by its place among the rows, planned ones included, so that building one moves no other."""
    styles: dict[str, LineStyle] = {}
    num_controls = num_methods = 0
    for row in (row for panel in panels for row in panel["rows"] if row["id"] != FULL):
        if row["id"] in styles:
            continue
        if row["control"]:
            styles[row["id"]] = LineStyle(CONTROL_COLOURS[num_controls % len(CONTROL_COLOURS)], "o", DASHES[-1 - num_controls % 2], 1.8)
            num_controls += 1
        else:
            colour, marker, dashes = (choices[num_methods % len(choices)] for choices in (COLOURS, MARKERS, DASHES))
            styles[row["id"]] = LineStyle(colour, marker, dashes, 1.4)
            num_methods += 1
    return styles


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


def wrap_title(title: str) -> str:
    """Break a panel title into lines that fit the panel, after its last comma if that is enough."""
    width = 38
    before, comma, after = title.rpartition(", ")
    if len(title) > width and comma and max(len(before) + 1, len(after)) <= width:
        return f"{before},\n{after}"
    return textwrap.fill(title, width)


def add_legend(figure: Figure, panels: list[dict], styles: dict[str, LineStyle], title: str | None) -> None:
    """Put one legend for all panels to their right; rows that are not built yet are named in it."""
    rows = {row["id"]: row for panel in reversed(panels) for row in panel["rows"]}
    order = dict.fromkeys(row["id"] for panel in panels for row in panel["rows"])
    handles = []
    planned = [rows[name]["title"] for name in order if rows[name]["planned"]]
    for row in (rows[name] for name in order if not rows[name]["planned"]):
        if row["id"] == FULL:
            handles.append(Line2D([], [], color=FULL_COLOUR, linewidth=1.1, label=row["title"]))
        else:
            style = styles[row["id"]]
            handles.append(
                Line2D(
                    [], [], color=style.colour, linestyle=style.dashes, linewidth=style.width, marker=style.marker, markersize=5,
                    markeredgecolor="white", markeredgewidth=0.5, label=row["title"],
                )
            )  # fmt: skip
    if planned:
        handles.append(Line2D([], [], linestyle="none", label="Not built yet:\n" + textwrap.fill(", ".join(planned), 22)))
    figure.legend(handles=handles, title=title, loc="outside right upper", handlelength=2.8, labelspacing=0.55, alignment="left")


def add_hole_note(figure: Figure, panels: list[dict]) -> None:
    """Say in the figure itself how many of its runs have no value."""
    holes = {hole["run"] for _, _, _, cell in list_cells(panels) for hole in cell["holes"]}
    if holes:
        runs = {run for _, _, _, cell in list_cells(panels) for run in cell["runs"]}
        figure.supxlabel(f"{len(holes)} of {len(runs)} runs have no value and are left out", fontsize=7.5, color="#7A2E00")

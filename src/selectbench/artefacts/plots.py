"""What all figures share: their look, their size, line styles, legends and panel titles."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selectbench.artefacts.cells import FULL
from selectbench.artefacts.specs import Panel

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType, RcKeyType

# Okabe–Ito without yellow, which is too pale for lines, and without black, which is for the controls
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
DASHES: "tuple[LineStyleType, ...]" = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1.2, 1.2)))
CONTROL_COLOURS = ("#000000", "#6E6E6E", "#A0A0A0")
FULL_COLOUR = "#3A3A3A"
NOTE_COLOUR = "#7A2E00"
STYLE: "dict[RcKeyType, Any]" = {
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
PANEL_WIDTH, PANEL_HEIGHT, LEGEND_WIDTH, PANELS_A_ROW = 2.9, 2.5, 1.9, 3  # inches
LONE_PANEL = 1.5  # enlargement of panels in a single column
LEGEND_LINE = 0.19  # inches
TITLE_WIDTH = 38  # characters


class LineStyle(NamedTuple):
    """How one row is drawn in every panel of a figure.

    Parameters
    ----------
    colour, marker, dashes, width : of its line, as matplotlib names them
    """

    colour: str
    marker: str
    dashes: "LineStyleType"
    width: float


def make_figure(num_rows: int, num_columns: int, panels: Sequence[Panel[Any]]) -> Figure:
    """Return an empty figure with room for the panels and, to their right, for a legend of all their rows."""
    scale = LONE_PANEL if num_columns == 1 else 1.0
    num_lines = len({row["id"] for panel in panels for row in panel["rows"]}) + 2
    height = max(scale * PANEL_HEIGHT * num_rows, LEGEND_LINE * num_lines) + 0.25
    return Figure(figsize=(scale * PANEL_WIDTH * num_columns + LEGEND_WIDTH, height), layout="constrained")


def draw_absence(scale: str, reasons: Iterable[str]) -> Figure:
    """Return a figure that says why none of its panels exists at this scale."""
    figure = Figure(figsize=(PANEL_WIDTH + LEGEND_WIDTH, 1.2))
    figure.text(0.5, 0.5, "\n".join([f"Not at scale {scale}", *reasons]), ha="center", va="center", wrap=True)
    return figure


def assign_styles(panels: Sequence[Panel[Any]]) -> dict[str, LineStyle]:
    """Return one style per row for all panels, by its place among the rows; planned rows count, so building one changes no other."""
    styles: dict[str, LineStyle] = {}
    num_controls = num_methods = 0
    for row in (row for panel in panels for row in panel["rows"] if row["id"] != FULL):
        if row["id"] in styles:
            continue
        if row["control"]:
            styles[row["id"]] = LineStyle(CONTROL_COLOURS[num_controls % len(CONTROL_COLOURS)], "o", DASHES[-1 - num_controls % 2], 1.8)
            num_controls += 1
        else:
            colour, marker = COLOURS[num_methods % len(COLOURS)], MARKERS[num_methods % len(MARKERS)]
            styles[row["id"]] = LineStyle(colour, marker, DASHES[num_methods % len(DASHES)], 1.4)
            num_methods += 1
    return styles


def wrap_title(title: str) -> str:
    """Break a panel title into lines that fit the panel, after its last comma if that is enough."""
    before, comma, after = title.rpartition(", ")
    if len(title) > TITLE_WIDTH and comma and max(len(before) + 1, len(after)) <= TITLE_WIDTH:
        return f"{before},\n{after}"
    return textwrap.fill(title, TITLE_WIDTH)


def add_legend(
    figure: Figure, panels: Sequence[Panel[Any]], styles: Mapping[str, LineStyle], title: str | None, extras: Sequence[Line2D] = ()
) -> None:
    """Put one legend for all panels to their right: their rows, the rows that are not built yet, and ``extras``."""
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
    handles += extras
    figure.legend(handles=handles, title=title, loc="outside right upper", handlelength=2.8, labelspacing=0.55, alignment="left")


def add_note(figure: Figure, parts: Sequence[str]) -> None:
    """Write what a reader must know into the figure itself, below its panels."""
    if parts:
        figure.supxlabel("; ".join(parts), fontsize=7.5, color=NOTE_COLOUR)

"""Heat maps: the mean overlap of the subsets of every pair of methods."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from selectbench.artefacts.formats import format_keep
from selectbench.artefacts.plots import add_note, draw_absence, wrap_title
from selectbench.artefacts.specs import FigureSpec

if TYPE_CHECKING:
    from selectbench.artefacts.overlaps import Overlap

SQUARE, LEAST_SIDE = 0.27, 2.1  # inches
LABEL_LETTER, TITLE_HEIGHT = 0.072, 0.45  # inches
COLOURS = "RdBu"
MISSING_COLOUR = "#EDEDED"


def draw_overlap(spec: FigureSpec, overlaps: "Sequence[Overlap]") -> Figure:
    """Draw one heat map per keep fraction and data set: methods × methods, in the order of the table, with numbers.

    Two methods are compared seed by seed; the diagonal compares a method with itself over different seeds. Only the table's rows
    and keep fractions are drawn.

    Parameters
    ----------
    spec : of the figure
    overlaps : what ``compare_subsets`` found, one per data set and keep fraction
    """
    datasets = [panel["id"] for panel in spec["panels"]]
    keeps = [column["id"] for column in spec["columns"]]
    overlaps = sorted(
        (overlap for overlap in overlaps if overlap["dataset"] in datasets and overlap["keep"] in keeps),
        key=lambda overlap: (datasets.index(overlap["dataset"]), float(overlap["keep"])),
    )
    titles = {row["id"]: row["title"] for panel in spec["panels"] for row in panel["rows"]}
    methods = [method for method in titles if any(method in overlap["methods"] for overlap in overlaps)]
    if not methods:
        return draw_absence(spec["scale"], ["there are no subsets to compare"])
    numbers = [str(number) for number in range(1, len(methods) + 1)]
    labels = [f"{titles[method]}  {number}" for method, number in zip(methods, numbers, strict=True)]
    side = max(SQUARE * len(methods), LEAST_SIDE)
    num_columns = min(len(overlaps), 3 if side < 3 else 2)
    num_rows = -(-len(overlaps) // num_columns)
    margin = LABEL_LETTER * max(map(len, labels))
    several = len({overlap["dataset"] for overlap in overlaps}) > 1
    height = num_rows * (side + TITLE_HEIGHT * (2 if several else 1)) + 0.5
    figure = Figure(figsize=(num_columns * (side + 0.3) + margin, height), layout="constrained")
    names = {panel["id"]: panel["title"] for panel in spec["panels"]}
    for index, overlap in enumerate(overlaps):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        draw_heatmap(axes, order_matrix(overlap, methods), overlap["chance"])
        title = f"{format_keep(overlap['keep'])} kept, chance {overlap['chance']:.2f}"
        axes.set_title(f"{wrap_title(names[overlap['dataset']])}\n{title}" if several else title, loc="left")
        axes.set_xticks(np.arange(len(methods)) + 0.5, numbers)
        axes.set_yticks(np.arange(len(methods)) + 0.5, labels if index % num_columns == 0 else numbers)
    if not several:
        figure.suptitle(names[overlaps[0]["dataset"]], x=0.01, ha="left", fontsize=9)
    add_note(figure, ["white = chance, blue = more overlap, red = less, grey = not compared", "diagonal: between seeds of one method"])
    return figure


def order_matrix(overlap: "Overlap", methods: Sequence[str]) -> np.ndarray:
    """Return the overlaps as an (M, M) matrix in the order of ``methods``; NaN where nothing is compared."""
    places = {method: place for place, method in enumerate(overlap["methods"])}
    matrix = np.full((len(methods), len(methods)), np.nan)
    for row, left in enumerate(methods):
        for column, right in enumerate(methods):
            if left in places and right in places:
                value = overlap["overlap"][places[left]][places[right]]
                matrix[row, column] = np.nan if value is None else value
    return matrix


def draw_heatmap(axes: Axes, matrix: np.ndarray, chance: float) -> None:
    """Draw a matrix of shares: white at the chance level, blue above and red below it, with its numbers."""
    norm = TwoSlopeNorm(vmin=0, vcenter=min(max(chance, 1e-3), 1 - 1e-3), vmax=1)
    colours = mpl.colormaps[COLOURS]
    axes.set_facecolor(MISSING_COLOUR)
    axes.pcolormesh(np.ma.masked_invalid(matrix), cmap=colours, norm=norm, edgecolors="white", linewidth=0.5)
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            red, green, blue, _ = colours(norm(value))
            ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "#222222"
            axes.text(column + 0.5, row + 0.5, format_share(value), ha="center", va="center", fontsize=6, color=ink)
    axes.invert_yaxis()
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def format_share(value: float) -> str:
    """Return a share with two decimals in as few characters as possible: ``".43"``, ``"1"``."""
    text = f"{value:.2f}"
    return "1" if text == "1.00" else text.removeprefix("0")

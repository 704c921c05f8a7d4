"""Maps of explored states: the sets of clusters on which agents trained proxies, near each other if they share clusters."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selectbench.artefacts.plots import FULL_COLOUR, MARKERS, PANELS_A_ROW, draw_absence, make_figure

MAPS = {"umap": "UMAP", "pca": "two principal components"}


def draw_states(spec: dict, states: Sequence[dict]) -> Figure:
    """Draw one panel a data set and seed: a marker a set, by agent, coloured by the proxy's validation accuracy; chosen sets are ringed.

    Parameters
    ----------
    spec : of the figure
    states : what ``map_states`` wrote, one a data set and seed
    """
    groups = list_groups(spec, states)
    if not groups:
        return draw_absence(spec["scale"], ["no agent of this table has explored anything"])
    methods = {method["method"]: method["title"] for group in groups for method in group["methods"]}
    markers = {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(methods)}
    num_columns = min(len(groups), PANELS_A_ROW)
    num_rows = -(-len(groups) // num_columns)
    figure = make_figure(num_rows, num_columns, [])
    titles = {panel["id"]: panel["title"].partition(",")[0] for panel in spec["panels"]}
    values = [value for group in groups for method in group["methods"] for value in method["top1"]]
    for index, group in enumerate(groups):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        shown = draw_group(axes, group, markers, (np.quantile(values, 0.02), max(values)))
        axes.set_title(f"{titles[group['dataset']]}, seed {group['seed']}\n{group['clusters']} clusters, {MAPS[group['map']]}", loc="left")
    bar = figure.colorbar(shown, ax=figure.axes, label="validation accuracy of the proxy (%)", shrink=0.8)
    bar.solids.set(rasterized=False, edgecolor="face")  # an SVG would hold an image of it
    handles = [Line2D([], [], linestyle="none", marker=markers[name], color="#777777", label=title) for name, title in methods.items()]
    ring = Line2D([], [], linestyle="none", marker="o", markersize=9, markerfacecolor="none", color=FULL_COLOUR, label="Chosen")
    figure.legend(handles=[*handles, ring], loc="outside right upper", title="small = incomplete", alignment="left")
    return figure


def list_groups(spec: dict, states: Sequence[dict]) -> list[dict]:
    """Return the maps of the table's data sets and keep fractions, of its methods only and without those that explored nothing."""
    rows = {panel["id"]: {row["id"] for row in panel["rows"]} for panel in spec["panels"]}
    keeps = {column["id"] for column in spec["columns"]}
    groups = []
    for group in states:
        methods = [method for method in group["methods"] if method["method"] in rows.get(group["dataset"], ()) and method["top1"]]
        if methods and group["keep"] in keeps:
            groups.append(group | {"methods": methods})
    return groups


def draw_group(axes: Axes, group: dict, markers: dict[str, str], limits: tuple[float, float]) -> PathCollection:
    """Draw the sets of one data set and seed; return what a colour bar needs."""
    for method in group["methods"]:
        sizes = np.where(np.array(method["size"]) < group["horizon"], 7.0, 20.0)
        shown = axes.scatter(
            method["x"], method["y"], s=sizes, c=method["top1"], cmap="viridis", vmin=limits[0], vmax=limits[1],
            marker=markers[method["method"]], alpha=0.8, linewidths=0,
        )  # fmt: skip
        if method["best"] is not None:
            place = method["x"][method["best"]], method["y"][method["best"]]
            axes.scatter(*([value] for value in place), s=90, facecolors="none", edgecolors=FULL_COLOUR, linewidths=1.1, zorder=3)
    axes.set_xticks([])
    axes.set_yticks([])
    return shown

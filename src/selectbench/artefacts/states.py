"""Maps of explored states: the sets of clusters on which agents trained proxies; sets that share clusters lie near each other."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selectbench.artefacts.plots import FULL_COLOUR, MARKERS, PANELS_A_ROW, draw_absence, make_figure
from selectbench.artefacts.specs import FigureSpec


class Explored(TypedDict):
    """The sets of clusters that one agent explored.

    Parameters
    ----------
    method, title : of the agent
    best : position of the set that it chose, or None
    x, y : places on the map
    top1 : validation accuracy of the proxy in percent
    size : number of clusters
    """

    method: str
    title: str
    best: int | None
    x: list[float]
    y: list[float]
    top1: list[float]
    size: list[int]


class StateMap(TypedDict):
    """The map of the sets that several agents explored among the same clusters.

    Parameters
    ----------
    dataset, clusters, keep, seed : of the clustering and the search
    horizon : number of clusters in a complete set
    map : how places were found
    methods : one per agent
    """

    dataset: str
    clusters: int
    keep: str
    seed: int
    horizon: int
    map: Literal["umap", "pca"]
    methods: list[Explored]


MAPS = {"umap": "UMAP", "pca": "two principal components"}


def draw_states(spec: FigureSpec, states: Sequence[StateMap]) -> Figure:
    """Draw one panel per data set and seed, one marker per set: its shape is the agent, its colour the proxy's validation accuracy.

    Chosen sets are ringed, incomplete ones small.

    Parameters
    ----------
    spec : of the figure
    states : what ``map_states`` wrote, one per data set and seed
    """
    groups = list_groups(spec, states)
    if not groups:
        return draw_absence(spec["scale"], ["no agent of this table explored any set"])
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
    if bar.solids:
        bar.solids.set(rasterized=False, edgecolor="face")  # else an SVG would embed an image of it
    handles = [Line2D([], [], linestyle="none", marker=markers[name], color="#777777", label=title) for name, title in methods.items()]
    ring = Line2D([], [], linestyle="none", marker="o", markersize=9, markerfacecolor="none", color=FULL_COLOUR, label="Chosen")
    figure.legend(handles=[*handles, ring], loc="outside right upper", title="small marker = incomplete set", alignment="left")
    return figure


def list_groups(spec: FigureSpec, states: Sequence[StateMap]) -> list[StateMap]:
    """Return the maps of the table's data sets and keep fractions, with its own methods only, excluding those that explored nothing."""
    rows = {panel["id"]: {row["id"] for row in panel["rows"]} for panel in spec["panels"]}
    keeps = {column["id"] for column in spec["columns"]}
    groups = []
    for group in states:
        methods = [method for method in group["methods"] if method["method"] in rows.get(group["dataset"], ()) and method["top1"]]
        if methods and group["keep"] in keeps:
            groups.append(group | {"methods": methods})
    return groups


def draw_group(axes: Axes, group: StateMap, markers: Mapping[str, str], limits: tuple[float, float]) -> PathCollection:
    """Draw the sets of one map; return what a colour bar needs."""
    for method in group["methods"]:
        sizes = np.where(np.array(method["size"]) < group["horizon"], 7.0, 20.0)
        shown = axes.scatter(
            method["x"], method["y"], s=sizes, c=method["top1"], cmap="viridis", vmin=limits[0], vmax=limits[1],
            marker=markers[method["method"]], alpha=0.8, linewidths=0,
        )  # fmt: skip
        if method["best"] is not None:
            x, y = ([places[method["best"]]] for places in (method["x"], method["y"]))
            axes.scatter(x, y, s=90, facecolors="none", edgecolors=FULL_COLOUR, linewidths=1.1, zorder=3)
    axes.set_xticks([])
    axes.set_yticks([])
    return shown

"""Coherence of clusters: every cluster by the share of its largest label and its silhouette."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selectbench.artefacts.plots import COLOURS, PANELS_A_ROW, draw_absence, make_figure
from selectbench.artefacts.specs import FigureSpec

if TYPE_CHECKING:
    from selectbench.llm.clusters import Coherence

NAMES = {"kmeans": "k-means", "stratified": "k-means within labels"}
LARGEST = 120  # square points of the largest cluster
ROOM = 0.45  # above the clusters, for the numbers
Number = Literal["silhouette", "purity", "neighbours_in_cluster", "neighbours_in_label", "chance_in_cluster", "chance_in_label"]
NUMBERS: tuple[tuple[Number, str, Number | None], ...] = (
    ("silhouette", "silhouette", None),
    ("purity", "label purity", None),
    ("neighbours_in_cluster", "neighbours in same cluster", "chance_in_cluster"),
    ("neighbours_in_label", "neighbours with same label", "chance_in_label"),
)


class Clustering(TypedDict):
    """The record of a clustering.

    Parameters
    ----------
    dataset, clustering, clusters, seed : which one: its data set, kind and number of clusters
    coherence : of its clusters
    """

    dataset: str
    clustering: str
    clusters: int
    seed: int
    coherence: "Coherence"


def draw_coherence(spec: FigureSpec, clusters: Sequence[Clustering]) -> Figure:
    """Draw one panel per data set and clustering; means over all samples and seeds stand in a corner.

    Parameters
    ----------
    spec : of the figure
    clusters : records of clusterings, one per data set, kind, number of clusters and seed
    """
    groups: dict[tuple[str, str, int], list[Coherence]] = {}
    for record in sorted(clusters, key=lambda record: (record["dataset"], record["clustering"], record["clusters"], record["seed"])):
        groups.setdefault((record["dataset"], record["clustering"], record["clusters"]), []).append(record["coherence"])
    if not groups:
        return draw_absence(spec["scale"], ["no clusters for these methods"])
    titles = {panel["id"]: panel["title"].partition(",")[0] for panel in spec["panels"]}
    num_columns = min(len(groups), PANELS_A_ROW)
    num_rows = -(-len(groups) // num_columns)
    figure = make_figure(num_rows, num_columns, [])
    for index, ((dataset, clustering, number), seeds) in enumerate(groups.items()):
        axes = figure.add_subplot(num_rows, num_columns, index + 1, sharey=figure.axes[0] if figure.axes else None)
        draw_clusters(axes, seeds)
        axes.set_title(f"{titles.get(dataset, dataset)}\n{number} clusters, {NAMES[clustering]}", loc="left")
        axes.set_xlabel("share of the largest label")
        if index % num_columns == 0:
            axes.set_ylabel("mean silhouette of a cluster")
    low, high = figure.axes[0].get_ylim()
    figure.axes[0].set_ylim(low, high + ROOM * (high - low))
    num_seeds = max(map(len, groups.values()))
    dots = [
        Line2D(
            [], [], linestyle="none", marker="o", color=COLOURS[place % len(COLOURS)], alpha=0.6, label=f"Seed {place + 1} of {num_seeds}"
        )
        for place in range(num_seeds)
    ]
    figure.legend(handles=dots, title="area = cluster size", loc="outside right upper", alignment="left")
    return figure


def draw_clusters(axes: Axes, seeds: "Sequence[Coherence]") -> None:
    """Draw the clusters of all seeds, one colour per seed, and write down the means over samples."""
    largest = max(size for coherence in seeds for size in coherence["sizes"])
    for seed, coherence in enumerate(seeds):
        rows = zip(coherence["purities"], coherence["silhouettes"], coherence["sizes"], strict=True)
        across, up, sizes = zip(*((purity, height, size) for purity, height, size in rows if height is not None), strict=True)
        areas = LARGEST * np.array(sizes) / largest
        axes.scatter(across, up, s=areas, color=COLOURS[seed % len(COLOURS)], alpha=0.35, linewidths=0)
    lines = []
    for key, name, chance in NUMBERS:
        mean = np.mean([coherence[key] for coherence in seeds])
        by_chance = f" (chance {np.mean([coherence[chance] for coherence in seeds]):.2f})" if chance else ""
        lines.append(f"{name} {mean:.2f}{by_chance}")
    axes.set_xlim(0, 1.05)
    axes.axhline(0, color="#999999", linewidth=0.8, zorder=1)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(0.02, 0.98, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=7, bbox=box, zorder=4)

"""Each selector against the naive form of its rule, in one process: seconds, ratio, peak memory, and growth with the size of the pool.

Seconds are the best of up to three runs on two threads, without creating the input. Peak memory is what a separate run needs in
addition to the input: what NumPy allocates (tracemalloc) or, where torch is used, how much the resident set of a fresh process grows.
The two results are compared at every size at which both run; a difference ends the benchmark.
"""

import csv
import sys
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from benchmarks import naive
from benchmarks.forms import (
    Form,
    Pool,
    add_all,
    add_in_rounds,
    make_pool,
    measure_batches,
    measure_samples,
    per_class,
    score_stream,
    score_with,
    select_with,
    solve_halves,
)
from benchmarks.tables import format_cells, format_markdown
from selectbench.errors import suggest
from selectbench.methods.cg_score import complexity_gaps
from selectbench.methods.herding import herd
from selectbench.methods.k_center import traverse_farthest_first
from selectbench.records.provenance import CPU, describe_provenance, read_peak_memory_mb
from selectbench.rl.cover import sample_cover
from selectbench.rl.geometry import distances_to_prototype
from selectbench.training.gradients import measure_alignments, measure_norms

FOLDER = Path(__file__).parent / "results"
COLUMNS = ("selector", "n", "d", "classes", "fast_s", "fast_mib", "naive_s", "naive_mib", "ratio", "note")
THREADS = 2
IMAGENET, CLASS = 1_281_167, 1_281  # the size of the largest pool, and of a class in it
FORKSERVER = get_context("forkserver")  # its child processes have not used threads yet, unlike this one
FORKSERVER.set_forkserver_preload(["torch"])
PANELS = {
    "one class": "Within one class or pool (d = 512)",
    "classes": "Classes of 1,281 rows (ssp, glister: 10 in all; d = 512)",
    "outputs": "Recorded outputs (10 classes; grand: d = 512)",
    "gradients": "Gradients of all 19,954 parameters of a resnet8",
}
LEGENDS = {"one class": "lower right", "classes": "lower right", "outputs": "upper left", "gradients": "lower right"}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")  # used in turn, as are the markers
MARKERS = "osD^vP*X"
PAGE = """# Selectors: seconds and memory

Written by `make bench` (`benchmarks/selectors.py`) on {processor}, {threads} threads, Python {python}, {versions}.

- `fast` is this library's implementation and `naive` a literal implementation of the rule (`benchmarks/naive.py`); `ratio` is naive over
  fast seconds. The results of both agree at every size at which both run.
- `mib` is the peak memory in addition to the input, which for 1,281,167 × 512 single-precision features is 2,502 MiB: what NumPy
  allocates, or how much the resident set of a fresh process grows where torch is used (`tdds`, `grand_full`, `moso`).
- `d` is the width of features or images, empty for rules that have none. Random selection has no naive form and is not included.

![Seconds by pool size](selectors.png)

{table}
"""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of the plot: a selector and the naive form of its rule, their input, and the pool sizes.

    Parameters
    ----------
    selector, panel : its name, and the panel it is drawn in
    fast, naive : the two forms; ``naive`` may be missing
    both, alone : pool sizes for both forms, and for the fast form only
    reads, d, classes : the input; ``d`` is None if the rule has no width, ``classes`` is None for classes of CLASS rows each
    tolerance : largest difference of the two results, relative to each value and to the largest one
    uses_torch : whether memory is measured in a separate process
    pairwise : whether the share of the machine's matrix-product rate is reported
    note : remark in the table
    """

    selector: str
    panel: str
    fast: Form
    naive: Form | None = None
    both: tuple[int, ...] = ()
    alone: tuple[int, ...] = ()
    reads: tuple[str, ...] = ("features",)
    d: int | None = 512
    classes: int | None = 10
    tolerance: float = 1e-6
    uses_torch: bool = False
    pairwise: bool = False
    note: str = ""

    def make_pool(self, n: int) -> Pool:
        """Return an input with n rows."""
        return make_pool(self.reads, n, self.d, self.count_classes(n))

    def count_classes(self, n: int) -> int:
        """Return the number of classes among n rows."""
        return self.classes or max(1, round(n / CLASS))


HERDING = {"selector": "herding", "fast": per_class(lambda rows: herd(rows, len(rows))), "naive": per_class(naive.herd)}
K_CENTER = {
    "selector": "k_center",
    "fast": per_class(lambda rows: traverse_farthest_first(rows, 0, len(rows))),
    "naive": per_class(naive.traverse),
}
COVER = {
    "selector": "sample_cover",
    "fast": lambda pool: sample_cover(pool["features"], pool["labels"]),
    "naive": per_class(naive.cover),
    "pairwise": True,
}
D2 = {"selector": "d2", "fast": score_with("d2"), "naive": naive.d2, "reads": ("features", "correct")}
ONE = {"panel": "one class", "classes": 1}
MANY = {"panel": "classes", "classes": None}
OUTPUTS = {"panel": "outputs", "d": None}
IMAGES = {
    "panel": "gradients",
    "d": 3072,
    "reads": ("images",),
    "tolerance": 1e-3,
    "uses_torch": True,
    "note": "resnet8, 19,954 parameters",
}

TABLE = [
    Series(**HERDING, **ONE, both=(500, 1000, 2000), alone=(5000,)),
    Series(**K_CENTER, **ONE, both=(500, 1000, 2000), alone=(5000,)),
    Series(**COVER, **ONE, both=(500, 1000, 2000), alone=(5000, 10000)),
    Series(**D2, **ONE, both=(500, 1000, 2000), alone=(5000,)),
    Series(
        **ONE,
        selector="cg_score",
        fast=per_class(solve_halves(complexity_gaps)),
        naive=per_class(solve_halves(naive.gaps)),
        both=(100, 200, 400),
        alone=(1000, 2000, 5000),
        note="half of the rows belong to the class",
    ),
    Series(
        panel="one class",
        selector="glister",
        fast=add_in_rounds(add_all),
        naive=add_in_rounds(naive.glister),
        reads=("features", "logits"),
        both=(500, 1000),
        alone=(2000,),
        note="one pool, one round per sample",
    ),
    Series(
        **MANY,
        selector="moderate",
        fast=lambda pool: distances_to_prototype(pool["features"], pool["labels"], "mean"),
        naive=naive.moderate,
        both=(1000, 2562, 5124),
        alone=(12_812, 128_117, IMAGENET),
    ),
    Series(
        panel="classes",
        selector="ssp",
        fast=score_with("ssp"),
        reads=("embeddings",),
        alone=(1000, 5000, 12_812),
        note="10 clusters, 10 starts; k-means is scikit-learn's, so there is no naive form",
    ),
    Series(**HERDING, **MANY, both=(2562, 5124), alone=(12_812, 128_117)),
    Series(**K_CENTER, **MANY, both=(1281, 2562), alone=(12_812,)),
    Series(**COVER, **MANY, both=(2562, 5124), alone=(12_812, 128_117, IMAGENET)),
    Series(**D2, **MANY, both=(2562, 5124), alone=(12_812, 128_117)),
    Series(
        panel="classes",
        selector="glister (15 rounds)",
        fast=add_in_rounds(add_all, 15),
        naive=add_in_rounds(naive.glister, 15),
        reads=("features", "logits"),
        both=(1000, 2562, 12_812),
        note="one pool",
    ),
    Series(
        **OUTPUTS,
        selector="el2n",
        fast=score_with("el2n"),
        naive=naive.el2n,
        reads=("logits",),
        both=(1000, 12_812, 128_117),
        alone=(IMAGENET,),
    ),
    Series(
        panel="outputs",
        selector="grand",
        fast=score_with("grand"),
        naive=naive.grand,
        reads=("features", "logits"),
        both=(1000, 12_812, 128_117),
        alone=(IMAGENET,),
    ),
    Series(
        **OUTPUTS,
        selector="forgetting",
        fast=score_with("forgetting"),
        naive=naive.forgetting,
        reads=("correct",),
        both=(1000, 12_812, 128_117, IMAGENET),
        note="20 epochs",
    ),
    Series(
        **OUTPUTS,
        selector="ccs",
        fast=select_with("ccs"),
        naive=naive.ccs,
        reads=("aum",),
        both=(1000, 12_812),
        alone=(128_117, IMAGENET),
        note="keeps 30 %",
    ),
    Series(
        **OUTPUTS,
        selector="tdds",
        fast=score_stream,
        naive=naive.tdds,
        reads=("outputs",),
        both=(1000, 12_812, 128_117),
        alone=(IMAGENET,),
        tolerance=1e-4,
        uses_torch=True,
        note="10 epochs, with the divergences",
    ),
    Series(
        **IMAGES,
        selector="grand_full",
        fast=measure_batches(measure_norms),
        naive=measure_samples(naive.measure_norms),
        both=(1000, 2000, 5000),
        alone=(10_000,),
    ),
    Series(
        **IMAGES,
        selector="moso",
        fast=measure_batches(measure_alignments),
        naive=measure_samples(naive.measure_alignments),
        both=(1000, 2000),
        alone=(5000, 10_000),
    ),
]


def main() -> None:
    """Measure all series, or those of the selectors named on the command line; write the table, as CSV and Markdown, and the plot."""
    torch.set_num_threads(THREADS)
    wanted, known = set(sys.argv[1:]), {series.selector for series in TABLE}
    if unknown := sorted(wanted - known):
        sys.exit(f"no selector {unknown[0]!r}{suggest(unknown[0], known)}")
    lines = []
    for series in TABLE:
        for line in measure_series(series) if not wanted or series.selector in wanted else read_series(series):
            print(" ".join(format_cells(line, COLUMNS)), flush=True)
            lines.append(line)
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / "selectors.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *(format_cells(line, COLUMNS) for line in lines)])
    (FOLDER / "selectors.md").write_text(write_markdown(lines), encoding="utf-8")
    draw_growth(lines).savefig(FOLDER / "selectors.png", dpi=160, metadata={"Software": None})


def read_series(series: Series) -> Iterator[dict]:
    """Yield the table lines that an earlier run wrote for a series."""
    with open(FOLDER / "selectors.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    sizes = {(str(n), str(series.count_classes(n))) for n in (*series.both, *series.alone)}
    for row in rows:
        if row["selector"] == series.selector and (row["n"], row["classes"]) in sizes:
            numbers = {name: float(row[name]) for name in COLUMNS if name.endswith(("_s", "_mib", "ratio")) and row[name]}
            whole = {name: int(row[name]) if row[name] else None for name in ("n", "d", "classes")}
            yield {"selector": series.selector, "panel": series.panel, **whole, **numbers, "note": row["note"]}


def measure_series(series: Series) -> Iterator[dict]:
    """Yield one table line per size.

    Raises
    ------
    AssertionError
        The results of the two forms differ.
    """
    for n in (*series.both, *series.alone):
        pool = series.make_pool(n)
        answer, seconds = time_form(series, "fast", pool)
        line = {"selector": series.selector, "panel": series.panel, "n": n, "d": series.d, "classes": series.count_classes(n)}
        line |= {"fast_s": seconds, "fast_mib": measure_peak(series, "fast", pool), "note": series.note}
        if series.pairwise:
            line["note"] = describe_product_shares(pool, seconds)
        if n in series.both:
            expected, seconds = time_form(series, "naive", pool)
            margin = series.tolerance * np.abs(expected).max()
            np.testing.assert_allclose(answer, expected, rtol=series.tolerance, atol=margin, err_msg=f"{series.selector} at {n}")
            line |= {"naive_s": seconds, "naive_mib": measure_peak(series, "naive", pool), "ratio": seconds / line["fast_s"]}
        yield line


def time_form(series: Series, form: str, pool: Pool) -> tuple[np.ndarray, float]:
    """Return the result and the best seconds of up to three runs, excluding imports and first calls."""
    function, seconds = getattr(series, form), []
    function(series.make_pool(16))
    with threadpool_limits(THREADS):
        while len(seconds) < 3 and sum(seconds) < 2:
            clock = time.perf_counter()
            answer = function(pool)
            seconds.append(time.perf_counter() - clock)
    return answer, min(seconds)


def measure_peak(series: Series, form: str, pool: Pool) -> float:
    """Return the peak memory of a run in MiB, excluding the input."""
    if series.uses_torch:
        with ProcessPoolExecutor(1, mp_context=FORKSERVER) as executor:
            return executor.submit(measure_resident_growth, TABLE.index(series), form, len(pool["labels"])).result()
    with threadpool_limits(THREADS):
        tracemalloc.start()
        getattr(series, form)(pool)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return peak


def measure_resident_growth(index: int, form: str, n: int) -> float:
    """Return by how many MiB a run raises the peak resident size of this process, which already holds the input and has run once."""
    series = TABLE[index]
    torch.set_num_threads(THREADS)
    pool, function = series.make_pool(n), getattr(series, form)
    function(series.make_pool(16))
    before = read_peak_memory_mb()
    function(pool)
    return read_peak_memory_mb() - before


def describe_product_shares(pool: Pool, seconds: float) -> str:
    """Return the rate of within-class pairs, relative to NumPy's matrix products of as many rows as the largest class.

    The products are of two arrays, and of one array with itself, where NumPy computes one triangle and mirrors it: the harder yardstick.
    """
    sizes = np.bincount(pool["labels"]).astype(float)
    rows = np.random.default_rng(0).normal(size=(int(sizes.max()), pool["features"].shape[1]))
    rate = np.square(sizes).sum() / seconds
    shares = [rate * time_product(rows, others) / len(rows) ** 2 for others in (rows.copy(), rows)]
    return "{:.0%} of the matrix-product rate, {:.0%} of a symmetric product's".format(*shares)


def time_product(rows: np.ndarray, others: np.ndarray) -> float:
    """Return the seconds of the fastest of ten products of rows (n, d) and others (n, d)."""
    best = np.inf
    with threadpool_limits(THREADS):
        for _ in range(10):
            clock = time.perf_counter()
            rows @ others.T
            best = min(best, time.perf_counter() - clock)
    return best


def write_markdown(lines: list[dict]) -> str:
    """Return the Markdown page with the table, sorted by selector, and the machine it was measured on."""
    machine = describe_provenance("", CPU, datetime.now(UTC))
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("numpy", "scipy", "scikit-learn", "torch"))
    ordered = sorted(lines, key=lambda line: (line["selector"], line["panel"], line["n"]))
    rows = [COLUMNS, ["---"] + ["---:"] * 8 + ["---"], *(format_cells(line, COLUMNS) for line in ordered)]
    return PAGE.format(
        processor=machine["processor"],
        threads=THREADS,
        python=machine["python"],
        versions=versions,
        table=format_markdown(rows),
    )


def draw_growth(lines: list[dict]) -> Figure:
    """Plot seconds by pool size, one panel per group, fast solid and naive dashed."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    names = list(dict.fromkeys(series.selector.split()[0] for series in TABLE))
    for axes, (panel, title) in zip(grid.flat, PANELS.items(), strict=True):
        for selector in dict.fromkeys(line["selector"] for line in lines if line["panel"] == panel):
            mine = [line for line in lines if (line["selector"], line["panel"]) == (selector, panel)]
            style = names.index(selector.split()[0]) % len(COLOURS)
            look = {"color": COLOURS[style], "marker": MARKERS[style], "markersize": 5, "linewidth": 1.4}
            axes.loglog([line["n"] for line in mine], [line["fast_s"] for line in mine], label=selector, **look)
            slow = [line for line in mine if "naive_s" in line]
            axes.loglog([line["n"] for line in slow], [line["naive_s"] for line in slow], linestyle="--", markerfacecolor="white", **look)
        axes.set_title(title, fontsize=11)
        axes.grid(color="#E4E4E4")
        axes.legend(fontsize=8, loc=LEGENDS[panel], framealpha=0.9, edgecolor="none")
    figure.supxlabel("samples")
    figure.supylabel("seconds (dashed, hollow: naive form)")
    return figure


if __name__ == "__main__":
    main()

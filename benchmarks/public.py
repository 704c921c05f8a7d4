"""Selectors against public code of the same rule, and library calls on a million rows: CPU seconds at several keep fractions.

Both sides use one thread and select from the same features, class by class. A row is refused if the machine was not quiet while it was
measured (``quiet``). Public packages are optional; rows of those that are not installed say so.
"""

import argparse
import csv
import importlib.util
import os
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import selectbench as sb
from benchmarks.forms import Pool, make_pool
from benchmarks.quiet import Timing, time_quietly
from benchmarks.tables import format_cells, format_markdown
from selectbench.policy import class_quotas, count_kept
from selectbench.records.provenance import CPU, describe_provenance

FOLDER = Path(__file__).parent / "results"
COLUMNS = (
    "selector",
    "public",
    "n",
    "d",
    "classes",
    "keep",
    "ours_s",
    "ours_spread",
    "ours_mib",
    "public_s",
    "public_spread",
    "ratio",
    "note",
)
KEEPS, SIZES, WIDTH, CLASSES = (0.01, 0.1, 0.3, 0.5), (5000, 20_000, 50_000), 128, 10
MILLION, NARROW, MANY = 1_000_000, 64, 1000  # rows, features and classes of library calls
PAGE = """# Selectors and public code: CPU seconds

Written by `python -m benchmarks.public` on {processor}, one thread, Python {python}, numpy {numpy}.

- Seconds are CPU seconds: the median of five measurements after a first call that does not count; `spread` is the largest minus the
  smallest, relative to the median. `ours` is `sb.select` with everything that it checks; `mib` is what it allocates beyond its input.
- `ratio` is public over our seconds. What each public package computes is in `benchmarks/public.py`.
- A row is refused if repeats differ by more than 20 %, if other processes used a tenth of a processor, if the load average was more than
  0.5 above the thread that is measured, or if the hypervisor took time away.

{table}
"""

Rule = Callable[[np.ndarray, int], np.ndarray]  # features (n, d) of a class, k → k rows


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Public code for the rule of a selector.

    Parameters
    ----------
    selector : the method
    package, select : the package that is compared, and its rule, applied to one class after another; none if there is no usable one
    does : what it computes, or why there is none
    largest : the largest class for which its memory suffices
    """

    selector: str
    package: str = ""
    select: Rule | None = None
    does: str
    largest: int = 10**9


def herd_with_coreax(rows: np.ndarray, count: int) -> np.ndarray:
    """Herd with a linear kernel: at each step the row most aligned with the gap between the means."""
    from coreax.data import Data
    from coreax.kernels import LinearKernel
    from coreax.solvers import KernelHerding

    solver = KernelHerding(coreset_size=count, kernel=LinearKernel(), unique=True)
    return np.asarray(compile_reduce()(solver, Data(rows.astype(np.float32))))


@cache
def compile_reduce() -> Callable[..., object]:
    """Return coreax's reduction, compiled once for every shape; without this it is compiled anew in every call."""
    from equinox import filter_jit

    compiled: Callable[..., object] = filter_jit(lambda solver, data: solver.reduce(data)[0].unweighted_indices)
    return compiled


def sample_with_skmatter(rows: np.ndarray, count: int) -> np.ndarray:
    """Traverse farthest first from the first row."""
    from skmatter.sample_selection import FPS

    chosen: np.ndarray = FPS(n_to_select=count, initialize=0).fit(rows).selected_idx_
    return chosen


def cover_with_apricot(rows: np.ndarray, count: int) -> np.ndarray:
    """Cover greedily, with the relation "closer than the 5 % quantile of distances" given as a dense matrix."""
    from apricot import MaxCoverageSelection
    from scipy.spatial.distance import pdist, squareform

    distances = pdist(rows)
    near = squareform(distances <= np.quantile(distances, 0.05)) | np.eye(len(rows), dtype=bool)
    chosen: np.ndarray = MaxCoverageSelection(count, threshold=1.0).fit(near.astype(np.float64)).ranking
    return chosen


def connect_with_sklearn(rows: np.ndarray, count: int) -> np.ndarray:
    """Find the neighbours on which D² passes messages, and leave the rest out; the first rows stand for a selection."""
    from sklearn.neighbors import NearestNeighbors

    NearestNeighbors(n_neighbors=10, algorithm="brute", n_jobs=1).fit(rows).kneighbors()
    return np.arange(count)


RIVALS = (
    Rival(selector="herding", package="coreax", select=herd_with_coreax, does="kernel herding with a linear kernel"),
    Rival(selector="k_center", package="skmatter", select=sample_with_skmatter, does="farthest point sampling"),
    Rival(
        selector="cover_greedy",
        package="apricot",
        select=cover_with_apricot,
        does="maximum coverage on a dense relation; compiled anew in every fit",
        largest=5000,
    ),
    Rival(selector="d2", package="sklearn", select=connect_with_sklearn, does="only the neighbours"),
    Rival(selector="glister", does="the only public code, cords 0.0.4, does not import beside scikit-learn 1.2 or newer"),
)
READS = {"d2": ("features", "correct"), "glister": ("features", "logits")}
CALLS = ("el2n", "forgetting", "moderate", "herding", "k_center", "d2", "ccs")  # on a million rows
CALLS_READ = {"el2n": ("logits",), "forgetting": ("correct",), "ccs": ("aum",), "d2": ("features", "correct")}


def main() -> None:
    """Measure, print and write the table; ``--try`` only prints it, for a small pool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--try", dest="only_try", action="store_true", help="one small pool, nothing is written")
    arguments = parser.parse_args()
    limit_threads()
    sizes, million = ((1000,), 20_000) if arguments.only_try else (SIZES, MILLION)
    lines = []
    for line in chain(compare_all(sizes), call_library(million)):
        print(" ".join(format_cells(line, COLUMNS)), flush=True)
        lines.append(line)
    if arguments.only_try:
        return
    with open(FOLDER / "public.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *(format_cells(line, COLUMNS) for line in lines)])
    (FOLDER / "public.md").write_text(write_page(lines), encoding="utf-8")


def limit_threads() -> None:
    """Hold all libraries to one thread; JAX reads its setting when it is first imported."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    threadpool_limits(1)


def compare_all(sizes: Sequence[int]) -> Iterator[dict]:
    """Yield one line per selector, pool size and keep fraction, of our code and of public code where there is some."""
    for rival in RIVALS:
        for n in sizes:
            pool = make_pool(READS.get(rival.selector, ("features",)), n, WIDTH, CLASSES)
            for keep in KEEPS:
                line = measure_ours(rival.selector, pool, keep)
                yield add_public(line, rival, pool, keep)


def call_library(n: int) -> Iterator[dict]:
    """Yield one line per method: a call of the library on this many rows."""
    for selector in CALLS:
        classes = CLASSES if selector == "el2n" else min(MANY, n // 20)
        yield measure_ours(selector, make_pool(CALLS_READ.get(selector, ("features",)), n, NARROW, classes), 0.1)


def measure_ours(selector: str, pool: Pool, keep: float) -> dict:
    """Return the line of a table for ``sb.select``; a line that is refused has a note instead of seconds."""

    def call() -> np.ndarray:
        return sb.select(selector, sb.Signals(**pool), keep).ids

    _, timing = time_quietly(call, 1)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    d = pool["features"].shape[1] if "features" in pool else None
    line = {"selector": selector, "n": len(pool["labels"]), "d": d, "classes": int(pool["labels"].max()) + 1, "keep": keep}
    return line | {"ours_mib": peak} | describe_timing("ours", timing)


def add_public(line: dict, rival: Rival, pool: Pool, keep: float) -> dict:
    """Return a line with the seconds of public code and the ratio, or with a note that says why it has none."""
    line, rule = line | {"public": rival.package}, rival.select
    if rule is None:
        return line | {"note": join_notes(line["note"], rival.does)}
    if importlib.util.find_spec(rival.package) is None:
        return line | {"note": join_notes(line["note"], f"{rival.package} is not installed")}
    if np.bincount(pool["labels"]).max() > rival.largest:
        return line | {"note": join_notes(line["note"], f"{rival.package} needs too much memory")}
    places = class_quotas(pool["labels"], count_kept(keep, len(pool["labels"])), "proportional")

    def call() -> None:
        for label, count in places.items():
            rule(pool["features"][pool["labels"] == label].astype(np.float64), count)

    _, timing = time_quietly(call, 1)
    public = describe_timing("public", timing)
    if "ours_s" in line and "public_s" in public:
        line = line | {"ratio": public["public_s"] / line["ours_s"]}
    return line | public | {"note": join_notes(line["note"], rival.does, public["note"])}


def describe_timing(side: str, timing: Timing) -> dict:
    """Return the columns of a timing; if it is refused, only the reason."""
    if timing.refused:
        return {"note": f"{side} refused: {timing.refused}"}
    return {f"{side}_s": timing.seconds, f"{side}_spread": timing.spread, "note": ""}


def join_notes(*notes: str) -> str:
    """Return the notes that say something, in one."""
    return "; ".join(note for note in notes if note)


def write_page(lines: list[dict]) -> str:
    """Return the Markdown page with the table and the machine it was measured on."""
    machine = describe_provenance("", CPU, datetime.now(UTC))
    rows = [COLUMNS, ["---", "---", *["---:"] * 10, "---"], *(format_cells(line, COLUMNS) for line in lines)]
    page = {"processor": machine["processor"], "python": machine["python"], "numpy": machine["versions"]["numpy"]}
    return PAGE.format(**page, table=format_markdown(rows))


if __name__ == "__main__":
    main()

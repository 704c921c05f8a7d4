"""What a set of runs says: values, intervals, paired differences and costs, from their records alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn, TypedDict

import numpy as np
from scipy.special import stdtrit

from selectbench.errors import RecordError

Records = Mapping[str, dict]

CONFIDENCE = 0.95
FULL, RANDOM = "full", "random"  # ids of the control rows that other rows are held against
FULL_COLUMN = "1"
TOTAL_WALL, TOTAL_VISITS, TRAINING_WALL = "total_wall_s", "total_visits", "training_wall_s"
COST_METRICS = {TOTAL_WALL: "wall_s", TOTAL_VISITS: "sample_visits", TRAINING_WALL: "wall_s"}  # totals are selection plus training
PROXY_LOSS, PROXY_TRAININGS = "proxy_loss", "proxy_trainings"
SEARCH_METRICS = {PROXY_LOSS: "proxy_loss", PROXY_TRAININGS: "trainings"}  # read from what a search of clusters recorded
NOISE_KEPT = "noise_kept"  # read from the training's record: the share of the pool's noisy samples that the subset holds
TEST_METRICS = frozenset({"top1", "loss"})
PERCENT_METRICS = frozenset({"top1", NOISE_KEPT})
LOWER_IS_BETTER = frozenset({"loss", NOISE_KEPT, *COST_METRICS, *SEARCH_METRICS})
METRIC_TITLES = {
    "top1": "top-1 accuracy (%)",
    "loss": "cross-entropy",
    NOISE_KEPT: "share of the noisy samples that are kept (%)",
    TOTAL_WALL: "selection plus training time (s)",
    TOTAL_VISITS: "selection plus training sample visits",
    TRAINING_WALL: "training time without selection (s)",
    PROXY_LOSS: "validation loss of the proxy on the chosen clusters",
    PROXY_TRAININGS: "proxy trainings",
}


class Interval(NamedTuple):
    """A mean with its Student-t interval; without at least two values there are no bounds."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


class Hole(TypedDict):
    """A run without a value, and why."""

    run: str
    reason: str


class Cost(TypedDict):
    """Mean over seeds, as a share of the full-data training of the same seed; ``selection`` to ``total`` are wall times."""

    selection: float
    training: float
    total: float
    sample_visits: float


class Cell(TypedDict):
    """One cell of a table or one point of a figure.

    ``values`` holds one value a run, None where there is none; ``interval`` is the 95 % t-interval of the mean; ``best_epoch`` is
    the mean of the best epoch (an extra: it peeks at the test set). ``against_random`` is the paired difference to uniform random,
    positive = better (of costs, the log-ratio), and ``below_random`` says that its interval lies below 0. ``status`` compares ``mean``
    with ``reported``. ``unreadable`` counts the images that could not be read: left out of the test set, or grey in training.
    """

    runs: list[str]
    values: list[float | None]
    holes: list[Hole]
    n: int
    mean: float | None
    sd: float | None
    interval: list[float] | None
    best_epoch: float | None
    against_random: dict | None
    below_random: bool
    best: bool
    cost: Cost | None
    reported: dict | None
    difference: float | None
    status: str | None
    unreadable: dict[str, int]
    footnotes: list[str]


def read_value(record: dict, metric: str, test_set: str) -> float | None:
    """Return the last-epoch value of a metric, or None if the record has no finite one."""
    if record["status"] != "ok":
        return None
    if metric in COST_METRICS:
        axis = COST_METRICS[metric]
        value = record["training"][axis] + (0.0 if metric == TRAINING_WALL else record["selection"][axis])
    elif metric in SEARCH_METRICS:
        value = (record["selection"].get("search") or {}).get(SEARCH_METRICS[metric])
    elif metric == NOISE_KEPT:
        noise = record.get("noise")
        value = 100.0 * noise["kept"] / noise["pool"] if noise else None
    else:
        value = (record["test"].get(test_set) or {}).get(metric)
    return value if value is not None and math.isfinite(value) else None


def find_hole(records: Records, run: str, metric: str, test_set: str) -> Hole | None:
    """Say why a run has no value; None if it has one."""
    if run not in records:
        return Hole(run=run, reason="no record")
    record = records[run]
    if record["status"] != "ok":
        reason = ((record["failure"] or {}).get("reason") or "no reason recorded").strip().splitlines()[0]
        return Hole(run=run, reason=f"failed: {reason}")
    if metric in SEARCH_METRICS and not record["selection"].get("search"):
        return Hole(run=run, reason="no search chose its subset")
    if read_value(record, metric, test_set) is None:
        place = f" on test set {test_set!r}" if metric in TEST_METRICS else ""
        return Hole(run=run, reason=f"its record has no finite {metric}{place}")
    return None


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE, least_sd: float = 0.0) -> Interval:
    """Return mean ± t · sd / √n with n − 1 degrees of freedom.

    Parameters
    ----------
    values : at least one number
    confidence : two-sided coverage of the interval
    least_sd : floor of the standard deviation; 0 leaves it alone
    """
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, None, None, None, n)
    sd = float(np.std(values, ddof=1))
    half_width = float(stdtrit(n - 1, (1 + confidence) / 2)) * max(sd, least_sd) / math.sqrt(n)
    return Interval(mean, sd, mean - half_width, mean + half_width, n)


def values_by_seed(records: Records, runs: Iterable[str], metric: str, test_set: str) -> dict[int, float]:
    """Return seed → value for the runs that have one.

    Raises
    ------
    RecordError
        Two of the runs share a seed, so that pairing by seed is not defined.
    """
    values: dict[int, float] = {}
    for run in runs:
        if find_hole(records, run, metric, test_set) is None:
            seed = records[run]["run"]["seed"]
            if seed in values:
                raise RecordError(f"{run}: a second run of seed {seed} in one set of runs; they cannot be paired by seed")
            values[seed] = read_value(records[run], metric, test_set)
    return values


def compare_runs(
    records: Records, better: Sequence[str], worse: Sequence[str], metric: str, test_set: str, higher_is_better: bool
) -> tuple[np.ndarray, float]:
    """Return the paired differences over common seeds, positive = ``better`` is better, and the floor of their standard deviation.

    Costs are compared by the difference of their logarithms. A percentage of ``num`` samples moves in steps of 100 / num, so
    differences that happen to be equal are no more certain than that: the floor is (100 / num) / √12.
    """
    left, right = (values_by_seed(records, runs, metric, test_set) for runs in (better, worse))
    seeds = sorted(left.keys() & right.keys())
    pairs = np.array([[left[seed], right[seed]] for seed in seeds], dtype=np.float64).reshape(-1, 2)
    if metric in COST_METRICS:
        pairs = np.log(pairs)
    differences = (pairs[:, 0] - pairs[:, 1]) * (1 if higher_is_better else -1)
    if metric not in PERCENT_METRICS or not seeds:
        return differences, 0.0
    present = [records[run] for run in (*better, *worse) if find_hole(records, run, metric, test_set) is None]
    num = min(record["noise"]["pool"] if metric == NOISE_KEPT else record["test"][test_set]["num"] for record in present)
    return differences, 100 / num / math.sqrt(12)


def mean_cost(records: Records, runs: Sequence[str], full_runs: Sequence[str]) -> Cost | None:
    """Return the cost of the runs relative to full-data training, paired by seed; None without a pair."""
    full = {records[run]["run"]["seed"]: records[run]["training"] for run in full_runs if is_ok(records, run)}
    shares = []
    for run in runs:
        if is_ok(records, run) and (seed := records[run]["run"]["seed"]) in full:
            selection, training, whole = records[run]["selection"], records[run]["training"], full[seed]
            visits = (selection["sample_visits"] + training["sample_visits"]) / whole["sample_visits"]
            shares.append((selection["wall_s"] / whole["wall_s"], training["wall_s"] / whole["wall_s"], visits))
    if not shares:
        return None
    selection_share, training_share, visit_share = (float(value) for value in np.mean(shares, axis=0))
    return Cost(selection=selection_share, training=training_share, total=selection_share + training_share, sample_visits=visit_share)


def is_ok(records: Records, run: str) -> bool:
    """Say whether the run has a record and did not fail."""
    return run in records and records[run]["status"] == "ok"


def fill_cell(records: Records, runs: Sequence[str], reported: dict | None, metric: str, test_set: str) -> Cell:
    """Return what the runs of one cell say, before it is held against other cells."""
    holes = [hole for run in runs if (hole := find_hole(records, run, metric, test_set)) is not None]
    missing = {hole["run"] for hole in holes}
    values = [None if run in missing else read_value(records[run], metric, test_set) for run in runs]
    present = [run for run in runs if run not in missing]
    found = t_interval([value for value in values if value is not None]) if present else None
    best = [records[run]["best_epoch"] for run in present] if metric == "top1" and test_set == "test" else [None]
    return Cell(
        runs=list(runs),
        values=values,
        holes=holes,
        n=len(present),
        mean=found.mean if found else None,
        sd=found.sd if found else None,
        interval=[found.low, found.high] if found and found.low is not None else None,
        best_epoch=float(np.mean([epoch["top1"] for epoch in best])) if present and None not in best else None,
        against_random=None,
        below_random=False,
        best=False,
        cost=None,
        reported=reported,
        difference=None,
        status=None,
        unreadable=count_unreadable([records[run] for run in present], test_set if metric in TEST_METRICS else None),
        footnotes=[],
    )


def count_unreadable(records: Sequence[dict], test_set: str | None) -> dict[str, int]:
    """Return the most images of one run that could not be read, in its training and (unless it is None) in a test set."""
    tests = [(record["test"].get(test_set) or {}).get("unreadable", 0) for record in records]
    return {"training": max((record["training"].get("unreadable", 0) for record in records), default=0), "test": max(tests, default=0)}


def fill_panels(spec: dict, records: Records) -> list[dict]:
    """Return the panels of a table or figure spec with their cells filled, compared with the controls and costed.

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec does not allow holes (``partial``).
    """
    metric = spec["metric"]
    panels = []
    for panel in spec["panels"]:
        rows, test_set = [], panel["test_set"]
        for row in panel["rows"]:
            cells = {} if row["planned"] else row["cells"]
            filled = {column: fill_cell(records, cell["runs"], cell["reported"], metric, test_set) for column, cell in cells.items()}
            rows.append(row | {"cells": filled})
        hold_against_controls(records, rows, metric, test_set)
        panels.append(panel | {"rows": rows})
    refuse_holes(spec, panels)
    return panels


def hold_against_controls(records: Records, rows: list[dict], metric: str, test_set: str) -> None:
    """Set in every cell of a panel its cost against full data and, for methods, its difference to uniform random."""
    runs = {row["id"]: {column: cell["runs"] for column, cell in row["cells"].items()} for row in rows}
    full_runs = runs.get(FULL, {}).get(FULL_COLUMN, [])
    for row in rows:
        for column, cell in row["cells"].items():
            cell["cost"] = mean_cost(records, cell["runs"], full_runs)
            random_runs = runs.get(RANDOM, {}).get(column, [])
            if row["control"] or not random_runs:
                continue
            differences, least_sd = compare_runs(records, cell["runs"], random_runs, metric, test_set, metric not in LOWER_IS_BETTER)
            if len(differences):
                found = t_interval(differences, CONFIDENCE, least_sd)
                cell["against_random"] = {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
                cell["below_random"] = found.high is not None and found.high < 0


def list_cells(panels: Iterable[dict]) -> list[tuple[dict, dict, str, Cell]]:
    """Return (panel, row, column, cell) for every cell, in reading order."""
    return [(panel, row, column, cell) for panel in panels for row in panel["rows"] for column, cell in row["cells"].items()]


def explain_absences(panels: Iterable[dict]) -> list[str]:
    """Return which of a table's panels a scale does not have, each with the reason."""
    return [f"{panel['title']}: {panel['absent']}" for panel in panels if panel["absent"] is not None]


def find_absence(panels: Iterable[dict]) -> str | None:
    """Return why a scale has none of a table's panels, each reason once; None if it has one."""
    reasons = dict.fromkeys(panel["absent"] for panel in panels)
    return None if None in reasons else "; ".join(reasons)


def refuse_holes(spec: dict, panels: list[dict]) -> None:
    """Raise a RecordError that names the first run without a value, unless the spec is ``partial``."""
    cells = [cell for _, _, _, cell in list_cells(panels)]
    holes = {hole["run"]: hole["reason"] for cell in cells for hole in cell["holes"]}
    if holes and not spec["partial"]:
        raise_holes(spec, holes, len({run for cell in cells for run in cell["runs"]}))


def raise_holes(spec: dict, holes: Mapping[str, str], num_runs: int) -> NoReturn:
    """Raise the RecordError of an artefact that allows no holes; ``holes`` maps runs to reasons."""
    run, reason = next(iter(holes.items()))
    raise RecordError(
        f"{spec['paper']}/{spec['id']}: {len(holes)} of {num_runs} runs have no value; first: {run}: {reason}; "
        "set partial: true in config/config.yaml to draw it with holes"
    )

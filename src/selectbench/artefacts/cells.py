"""What a set of runs says: values, intervals, paired differences and costs, from their records alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, NoReturn, NotRequired, TypedDict

import numpy as np
from scipy.special import stdtrit

from selectbench.artefacts.specs import CellT, Panel, PanelsSpec, Reported, TableRow
from selectbench.errors import RecordError
from selectbench.records.rows import FailedRow, FinishedRow, Outcome, Records, Row

CONFIDENCE = 0.95
FULL, RANDOM = "full", "random"  # ids of the control rows that other rows are compared with
NOT_SELECTING = frozenset({FULL, "full_fewer", "no_training"})  # rows without a selection: the best of a column is chosen among the others
FULL_COLUMN = "1"
TOTAL_WALL, TOTAL_VISITS, TRAINING_WALL, TRAINING_VISITS = "total_wall_s", "total_visits", "training_wall_s", "training_visits"
CostAxis = Literal["wall_s", "sample_visits"]
COST_METRICS: Mapping[str, CostAxis] = {
    TOTAL_WALL: "wall_s",
    TOTAL_VISITS: "sample_visits",
    TRAINING_WALL: "wall_s",
    TRAINING_VISITS: "sample_visits",
}  # totals add selection and a frozen encoder, whichever side pays for it
TOTALS = frozenset({TOTAL_WALL, TOTAL_VISITS})
WALL_METRICS = frozenset(metric for metric, axis in COST_METRICS.items() if axis == "wall_s")
VISITS_PER_FORWARD = 1 / 3  # a forward pass without a backward pass
PROXY_LOSS, PROXY_TRAININGS, SETS_COMPLETED = "proxy_loss", "proxy_trainings", "sets_completed"
SEARCH_METRICS: Mapping[str, Literal["proxy_loss", "trainings", "completed"]] = {
    PROXY_LOSS: "proxy_loss",
    PROXY_TRAININGS: "trainings",
    SETS_COMPLETED: "completed",
}
NOISE_KEPT = "noise_kept"  # read from the training's record: the share of the pool's noisy samples that the subset holds
KEEP_ERROR = "keep_error"  # how far an agent's mask, thresholded at ½, is from the wanted keep fraction, in points
TEST_METRICS = frozenset({"top1", "loss"})
PERCENT_METRICS = frozenset({"top1", NOISE_KEPT})
LOWER_IS_BETTER = frozenset({"loss", NOISE_KEPT, KEEP_ERROR, PROXY_LOSS, PROXY_TRAININGS, *COST_METRICS})
METRIC_TITLES = {
    "top1": "top-1 accuracy (%)",
    "loss": "cross-entropy",
    NOISE_KEPT: "noisy samples kept (%)",
    TOTAL_WALL: "selection plus training time (s)",
    TOTAL_VISITS: "selection plus training sample visits",
    TRAINING_WALL: "training time without selection and embedding (s)",
    TRAINING_VISITS: "training sample visits without selection and embedding",
    PROXY_LOSS: "validation loss of a proxy trained on the chosen clusters",
    PROXY_TRAININGS: "proxy trainings",
    SETS_COMPLETED: "complete sets measured",
    KEEP_ERROR: "distance of the policy's kept fraction from the wanted one (points)",
}


class Interval(NamedTuple):
    """A mean with its Student-t interval; fewer than two values give no bounds.

    Parameters
    ----------
    mean, sd : of the values
    low, high : bounds of the mean
    n : number of values
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


class Hole(TypedDict):
    """A run without a value.

    Parameters
    ----------
    run : its id
    reason : why it has none
    """

    run: str
    reason: str


class Repeated(TypedDict):
    """Wall time of repeated trainings of one seed, relative to the median of full data's.

    Parameters
    ----------
    number : of repeats
    low, median, high : of the training
    selection : median of a sampler that selects during the training
    """

    number: int
    low: float
    median: float
    high: float
    selection: float


class Cost(TypedDict):
    """Mean cost over seeds, relative to the full-data training of the same seed.

    Parameters
    ----------
    selection, training, total : wall time
    sample_visits : of selection and training
    repeated : wall time of repeated trainings, where they were repeated
    """

    selection: float
    training: float
    total: float
    sample_visits: float
    repeated: NotRequired[Repeated]


class Difference(TypedDict):
    """A mean of paired differences, positive = better; of costs, log-ratios.

    Parameters
    ----------
    mean : over seeds
    low, high : bounds of its 95 % t-interval; None for one seed
    n : number of seeds
    """

    mean: float
    low: float | None
    high: float | None
    n: int


class Cell(TypedDict):
    """One cell of a table or one point of a figure.

    Parameters
    ----------
    runs : ids
    values : one per run, None where there is none
    holes : runs without a value
    n : number of values
    mean, sd : of the values; None without any
    interval : 95 % t-interval of the mean
    best_epoch : mean over runs of the best epoch, an extra: it peeks at the test set
    against_random : paired difference from uniform random
    below_random : whether that interval lies below 0
    best : whether it is the best of its column
    cost : relative to full data
    reported : what the paper prints
    difference, status : ``mean`` minus the reported value, and what that amounts to
    unreadable : images that could not be read: left out of the test set (``"test"``) or grey in training (``"training"``)
    reached_keep : the keep fraction that a sampler's rule stands for where a limit of the rule makes it more than the column's
    distant : seed → how far the kept fraction of an agent's best mask is from the target, of runs where it is out of tolerance
    whole_pool : of texts: whether a sampler's training saw the whole pool, so that it does not compete with small subsets
    footnotes : marks
    """

    runs: list[str]
    values: list[float | None]
    holes: list[Hole]
    n: int
    mean: float | None
    sd: float | None
    interval: list[float] | None
    best_epoch: float | None
    against_random: Difference | None
    below_random: bool
    best: bool
    cost: Cost | None
    reported: Reported | None
    difference: float | None
    status: str | None
    unreadable: dict[str, int]
    reached_keep: float | None
    distant: dict[int, float]
    whole_pool: bool
    footnotes: list[str]


def read_value(record: Row, metric: str, test_set: str | None) -> float | None:
    """Return the last-epoch value of a metric, or None if the record has no finite one."""
    if metric == KEEP_ERROR:  # which a policy that missed its keep fraction has too
        return find_keep_error(record)
    if record["status"] != "ok":
        return None
    value: float | None
    if metric in COST_METRICS:
        axis = COST_METRICS[metric]
        encoding = find_encoding(record)[axis]
        value = record["training"][axis] - (encoding if axis == "wall_s" else 0.0)
        value += encoding + record["selection"][axis] if metric in TOTALS else 0.0
    elif metric in SEARCH_METRICS:
        search = record["selection"].get("search")
        value = search[SEARCH_METRICS[metric]] if search else None
    elif metric == NOISE_KEPT:
        noise = record.get("noise")
        value = 100.0 * noise["kept"] / noise["pool"] if noise else None
    else:
        outcome = find_outcome(record, test_set)
        value = {"top1": outcome["top1"], "loss": outcome["loss"]}.get(metric) if outcome else None
    return value if value is not None and math.isfinite(value) else None


def find_keep_error(record: Row) -> float | None:
    """Return how far a policy is from its keep fraction, in points: at the chosen epoch, or at the nearest if none was chosen."""
    trajectory = record["selection"].get("trajectory") if record["selection"] else None
    if trajectory is None or "kept_fraction" not in trajectory:
        return None
    wanted, chosen = float(record["run"]["keep"]), trajectory["chosen_epoch"]
    fractions = zip(trajectory["epoch"], trajectory["kept_fraction"], strict=True)
    return min((100 * abs(value - wanted) for epoch, value in fractions if value is not None and chosen in (None, epoch)), default=None)


def find_encoding(record: FinishedRow) -> dict[CostAxis, float]:
    """Return what a training paid for a frozen encoder: nothing if selection has paid for it already.

    A sampler's training needs the embeddings of the whole pool, other trainings those of their subset. Seconds are part of the
    training's; sample visits are not.
    """
    seconds = record["training"]["encode_s"]
    num = record["num_pool"] if "sampler" in record["selection"] else record["num_kept"]
    return {"wall_s": seconds, "sample_visits": num * VISITS_PER_FORWARD if seconds else 0.0}


def sees_whole_pool(record: FinishedRow) -> bool:
    """Tell whether a training visits every sample of the pool in some epoch, as samplers do while warming up or annealing."""
    visited = record["selection"].get("trajectory", {}).get("kept", []) if "sampler" in record["selection"] else [record["num_kept"]]
    return any(count is not None and count >= record["num_pool"] for count in visited)


def find_outcome(record: FinishedRow, test_set: str | None) -> Outcome | None:
    """Return the result of a run on a test set; None if it was not evaluated there."""
    return None if test_set is None else record["test"].get(test_set)


def find_finished(records: Records, run: str) -> FinishedRow | None:
    """Return the record of a run; None if it has none or failed."""
    record = records.get(run)
    return record if record is not None and record["status"] == "ok" else None


def find_hole(records: Records, run: str, metric: str, test_set: str | None) -> Hole | None:
    """Return why a run has no value; None if it has one."""
    if run not in records:
        return Hole(run=run, reason="no record")
    record = records[run]
    if metric == KEEP_ERROR and find_keep_error(record) is not None:
        return None
    if record["status"] != "ok":
        return Hole(run=run, reason=f"failed: {read_reason(record).strip().splitlines()[0]}")
    if metric in SEARCH_METRICS and not record["selection"].get("search"):
        return Hole(run=run, reason="its subset was not chosen by a search")
    if read_value(record, metric, test_set) is None:
        place = f" on test set {test_set!r}" if metric in TEST_METRICS else ""
        return Hole(run=run, reason=f"its record has no finite {metric}{place}")
    return None


def read_reason(record: FailedRow) -> str:
    """Return the reason for a failure."""
    return (record["failure"]["reason"] if record["failure"] else "") or "no reason recorded"


def t_interval(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE, least_sd: float = 0.0) -> Interval:
    """Return mean ± t · sd / √n with n − 1 degrees of freedom.

    Parameters
    ----------
    values : at least one number
    confidence : two-sided coverage of the interval
    least_sd : lower limit of the standard deviation that gives the bounds
    """
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, None, None, None, n)
    sd = float(np.std(values, ddof=1))
    half_width = float(stdtrit(n - 1, (1 + confidence) / 2)) * max(sd, least_sd) / math.sqrt(n)
    return Interval(mean, sd, mean - half_width, mean + half_width, n)


def values_by_seed(records: Records, runs: Iterable[str], metric: str, test_set: str | None) -> dict[int, float]:
    """Return seed → value for the runs that have one.

    Raises
    ------
    RecordError
        Two of the runs have the same seed, so they cannot be paired by it.
    """
    values: dict[int, float] = {}
    for run in runs:
        value = read_value(records[run], metric, test_set) if run in records else None
        if value is None:
            continue
        seed = records[run]["run"]["seed"]
        if seed in values:
            raise RecordError(f"{run}: a second run of seed {seed} in one set of runs; they cannot be paired by seed")
        values[seed] = value
    return values


def compare_runs(
    records: Records, better: Sequence[str], worse: Sequence[str], metric: str, test_set: str | None, higher_is_better: bool
) -> tuple[np.ndarray, float]:
    """Return the differences of ``pair_runs`` in the order of seeds, and the least standard deviation they have."""
    differences, least_sd = pair_runs(records, better, worse, metric, test_set, higher_is_better)
    return np.array([differences[seed] for seed in sorted(differences)], dtype=np.float64), least_sd


def pair_runs(
    records: Records, better: Sequence[str], worse: Sequence[str], metric: str, test_set: str | None, higher_is_better: bool
) -> tuple[dict[int, float], float]:
    """Return seed → paired difference, positive = ``better`` is better, and the least standard deviation of these differences.

    Costs are compared by the difference of their logarithms; a cost of 0, that of no training, has none. A percentage of ``num`` samples
    moves in steps of 100 / num, so differences that happen to be equal are no more certain than that: the least standard deviation is
    (100 / num) / √12.
    """
    left, right = (values_by_seed(records, runs, metric, test_set) for runs in (better, worse))
    seeds = [seed for seed in sorted(left.keys() & right.keys()) if metric not in COST_METRICS or min(left[seed], right[seed]) > 0]
    pairs = np.array([[left[seed], right[seed]] for seed in seeds], dtype=np.float64).reshape(-1, 2)
    if metric in COST_METRICS:
        pairs = np.log(pairs)
    values = ((pairs[:, 0] - pairs[:, 1]) * (1 if higher_is_better else -1)).tolist()
    return dict(zip(seeds, values, strict=True)), find_resolution(records, (*better, *worse), metric, test_set) / math.sqrt(12)


def find_resolution(records: Records, runs: Iterable[str], metric: str, test_set: str | None) -> float:
    """Return the step in which a percentage moves, 100 / number of samples; 0 for other metrics and for runs without a value."""
    if metric not in PERCENT_METRICS:
        return 0.0
    sizes = [size for run in runs if (size := count_samples(records, run, metric, test_set))]
    return 100 / min(sizes) if sizes else 0.0


def count_samples(records: Records, run: str, metric: str, test_set: str | None) -> int | None:
    """Return the number of samples of which a run's value is a percentage; None for a run without a value."""
    record = find_finished(records, run)
    if record is None or read_value(record, metric, test_set) is None:
        return None
    counted, outcome = record.get("noise"), find_outcome(record, test_set)
    if metric == NOISE_KEPT:
        return counted["pool"] if counted else None
    return outcome["num"] if outcome else None


def mean_cost(records: Records, runs: Sequence[str], full_runs: Sequence[str]) -> Cost | None:
    """Return the cost of the runs relative to full-data training, paired by seed; None without a pair."""
    full = {record["run"]["seed"]: record for run in full_runs if (record := find_finished(records, run))}
    shares = []
    for run in runs:
        record = find_finished(records, run)
        if record is not None and record["run"]["seed"] in full:
            full_record = full[record["run"]["seed"]]
            selection, training, whole = record["selection"], record["training"], full_record["training"]
            visits = read_value(record, TOTAL_VISITS, None) or 0.0
            visits /= read_value(full_record, TOTAL_VISITS, None) or math.inf
            shares.append((selection["wall_s"] / whole["wall_s"], training["wall_s"] / whole["wall_s"], visits))
    if not shares:
        return None
    selection_share, training_share, visit_share = (float(value) for value in np.mean(shares, axis=0))
    return Cost(selection=selection_share, training=training_share, total=selection_share + training_share, sample_visits=visit_share)


def fill_cell(records: Records, runs: Sequence[str], reported: Reported | None, metric: str, test_set: str | None) -> Cell:
    """Return what the runs of one cell say, before it is compared with other cells."""
    holes = [hole for run in runs if (hole := find_hole(records, run, metric, test_set)) is not None]
    missing = {hole["run"] for hole in holes}
    values = [None if run in missing else read_value(records[run], metric, test_set) for run in runs]
    present = [record for run in runs if run not in missing and (record := find_finished(records, run))]
    found = t_interval([value for value in values if value is not None]) if present else None
    return Cell(
        runs=list(runs),
        values=values,
        holes=holes,
        n=len(present),
        mean=found.mean if found else None,
        sd=found.sd if found else None,
        interval=[found.low, found.high] if found and found.low is not None and found.high is not None else None,
        best_epoch=mean_best_epoch(present) if metric == "top1" and test_set == "test" else None,
        against_random=None,
        below_random=False,
        best=False,
        cost=None,
        reported=reported,
        difference=None,
        status=None,
        unreadable=count_unreadable(present, test_set if metric in TEST_METRICS else None),
        reached_keep=max((record["selection"].get("reached_keep", 0.0) for record in present), default=0.0) or None,
        distant={record["run"]["seed"]: distance for record in present if (distance := record["selection"].get("distance"))},
        whole_pool=any(record["tokens"] is not None and sees_whole_pool(record) for record in present),
        footnotes=[],
    )


def mean_best_epoch(records: Sequence[FinishedRow]) -> float | None:
    """Return the mean accuracy of the best epochs; None unless every record names one."""
    tops = [best["top1"] for record in records if (best := record["best_epoch"]) is not None]
    return float(np.mean(tops)) if tops and len(tops) == len(records) else None


def count_unreadable(records: Sequence[FinishedRow], test_set: str | None) -> dict[str, int]:
    """Return the most images of one run that could not be read, in its training and (unless it is None) in a test set."""
    outcomes = [outcome for record in records if (outcome := find_outcome(record, test_set))]
    return {
        "training": max((record["training"].get("unreadable", 0) for record in records), default=0),
        "test": max((outcome.get("unreadable", 0) for outcome in outcomes), default=0),
    }


def fill_panels(spec: PanelsSpec, records: Records) -> list[Panel[Cell]]:
    """Return the panels of a table or figure with their cells filled, compared with the controls and costed.

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    """
    metric = spec["metric"]
    panels = []
    for panel in spec["panels"]:
        rows, test_set = [], panel["test_set"]
        for row in panel["rows"]:
            cells = {} if row["planned"] else row["cells"]
            filled = {column: fill_cell(records, cell["runs"], cell["reported"], metric, test_set) for column, cell in cells.items()}
            rows.append(replace_cells(row, filled))
        compare_with_controls(records, rows, metric, test_set)
        panels.append(replace_rows(panel, rows))
    refuse_holes(spec, panels)
    return panels


def replace_cells(row: TableRow[Any], cells: dict[str, CellT]) -> TableRow[CellT]:
    """Return a row with other cells."""
    return TableRow(id=row["id"], title=row["title"], control=row["control"], planned=row["planned"], cells=cells)


def replace_rows(panel: Panel[Any], rows: list[TableRow[CellT]]) -> Panel[CellT]:
    """Return a panel with other rows."""
    return Panel(id=panel["id"], title=panel["title"], test_set=panel["test_set"], absent=panel["absent"], rows=rows)


def compare_with_controls(records: Records, rows: list[TableRow[Cell]], metric: str, test_set: str | None) -> None:
    """Set in every cell of a panel its cost relative to full data and, for methods, its difference from uniform random."""
    runs = {row["id"]: {column: cell["runs"] for column, cell in row["cells"].items()} for row in rows}
    full_runs = runs.get(FULL, {}).get(FULL_COLUMN, [])
    for row in rows:
        for column, cell in row["cells"].items():
            cell["cost"] = mean_cost(records, cell["runs"], full_runs)
            random_runs = runs.get(RANDOM, {}).get(column, [])
            if row["control"] or not random_runs or metric in WALL_METRICS:  # seeds are not independent timings
                continue
            differences, least_sd = compare_runs(records, cell["runs"], random_runs, metric, test_set, metric not in LOWER_IS_BETTER)
            if len(differences):
                found = t_interval(differences, CONFIDENCE, least_sd)
                cell["against_random"] = Difference(mean=found.mean, low=found.low, high=found.high, n=found.n)
                cell["below_random"] = found.high is not None and found.high < 0


def list_cells(panels: Iterable[Panel[CellT]]) -> list[tuple[Panel[CellT], TableRow[CellT], str, CellT]]:
    """Return (panel, row, column, cell) for every cell, in reading order."""
    return [(panel, row, column, cell) for panel in panels for row in panel["rows"] for column, cell in row["cells"].items()]


def explain_absences(panels: Iterable[Panel[Any]]) -> list[str]:
    """Return the panels of a table that a scale does not have, each with the reason."""
    return [f"{panel['title']}: {panel['absent']}" for panel in panels if panel["absent"] is not None]


def find_absence(panels: Iterable[Panel[Any]]) -> str | None:
    """Return why a scale has none of a table's panels, each reason once; None if it has one."""
    reasons = [panel["absent"] for panel in panels]
    return None if None in reasons else "; ".join(dict.fromkeys(reason for reason in reasons if reason is not None))


def refuse_holes(spec: PanelsSpec, panels: list[Panel[Cell]]) -> None:
    """Raise a RecordError that names the first run without a value, unless the specification is ``partial``."""
    cells = [cell for _, _, _, cell in list_cells(panels)]
    holes = {hole["run"]: hole["reason"] for cell in cells for hole in cell["holes"]}
    if holes and not spec["partial"]:
        raise_holes(spec, holes, len({run for cell in cells for run in cell["runs"]}))


def raise_holes(spec: PanelsSpec, holes: Mapping[str, str], num_runs: int) -> NoReturn:
    """Raise the RecordError of an artefact that allows no holes; ``holes`` maps runs to reasons."""
    run, reason = next(iter(holes.items()))
    raise RecordError(
        f"{spec['paper']}/{spec['id']}: {len(holes)} of {num_runs} runs {'has' if len(holes) == 1 else 'have'} no value; "
        f"first: {run}: {reason}; set partial: true in config/config.yaml to show it with holes"
    )

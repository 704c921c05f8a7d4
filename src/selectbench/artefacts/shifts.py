"""Shifted test sets: grids whose cells add the matching clean accuracy and an interval over seeds and test images."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict, cast

import numpy as np

from selectbench.artefacts import grids
from selectbench.artefacts.cells import CONFIDENCE, Cell, find_finished, find_outcome, list_cells, t_interval
from selectbench.artefacts.formats import HOLE, format_number, format_signed
from selectbench.artefacts.kinds import Facts, Filled, Line, Table
from selectbench.artefacts.specs import TableSpec
from selectbench.errors import ConfigError
from selectbench.records.rows import Outcome, Records

METRIC = "top1"
CSV_COLUMNS = (*grids.CSV_COLUMNS, "clean", "minus_clean", "joint_low", "joint_high", "num_images", "num_clean_images")
_NORMAL = 1.959964  # two-sided 95 % quantile of the normal distribution


class Shift(TypedDict):
    """What the results of a cell's runs on a shifted test set say beside their mean.

    Parameters
    ----------
    clean : mean accuracy of the same checkpoints on the clean test images of the same classes; None unless every run has one
    interval : of the mean accuracy, over seeds and test images together
    num, clean_num : number of shifted and clean test images
    """

    clean: float | None
    interval: list[float]
    num: int
    clean_num: int | None


class ShiftedCell(Cell):
    """A cell of a grid on a shifted test set.

    Parameters
    ----------
    shift : None without a run
    """

    shift: Shift | None


def fill_shifts(spec: TableSpec, records: Records) -> Filled[ShiftedCell]:
    """Return the columns and the filled panels of a grid on shifted test sets.

    Raises
    ------
    RecordError
        A run is missing or failed, and the specification is not ``partial``.
    ConfigError
        The metric is not top-1 accuracy.
    """
    if spec["metric"] != METRIC:
        raise ConfigError(f"table {spec['id']}: a table of kind 'shifted' shows top1, not {spec['metric']!r}")
    filled = cast("Filled[ShiftedCell]", grids.fill_grid(spec, records))  # once each cell has its shift
    for panel, _, _, cell in list_cells(filled.panels):
        present = [run for run, value in zip(cell["runs"], cell["values"], strict=True) if value is not None]
        finished = [record for run in present if (record := find_finished(records, run))]
        cell["shift"] = describe_shift([outcome for record in finished if (outcome := find_outcome(record, panel["test_set"]))])
    return filled


def describe_shift(tests: Sequence[Outcome]) -> Shift | None:
    """Return what the test results of one cell's runs say beside their mean; None without a run.

    ``interval`` covers both the seeds (Student's t) and the images the test set happens to have (normal approximation of a
    binomial); the squares of the half-widths add up, as all seeds are tested on the same images.
    """
    values = [test["top1"] for test in tests if test["top1"] is not None]
    if not values:
        return None
    seeds = t_interval(values, CONFIDENCE)
    over_seeds = 0.0 if seeds.high is None else seeds.high - seeds.mean
    share, num = seeds.mean / 100.0, min(test["num"] for test in tests)
    over_images = 100.0 * _NORMAL * math.sqrt(share * (1.0 - share) / num)
    half_width = math.hypot(over_seeds, over_images)
    clean = [top1 for test in tests if (top1 := test.get("clean_top1")) is not None]
    return Shift(
        clean=float(np.mean(clean)) if len(clean) == len(tests) else None,
        interval=[seeds.mean - half_width, seeds.mean + half_width],
        num=num,
        clean_num=min((size for test in tests if (size := test.get("clean_num")) is not None), default=None),
    )


def describe_shifts(table: Table[ShiftedCell]) -> str:
    """Return the caption of a grid and what its cells add."""
    shown = [cell["shift"] for _, _, _, cell in list_cells(table["panels"]) if cell["shift"] is not None]
    sizes = " and ".join(f"{num:,}" for num in dict.fromkeys(shift["num"] for shift in shown))
    sentences = [
        grids.describe_grid(table).replace("mean ± standard deviation", "mean", 1),
        f"In brackets: the 95 % interval over both the seeds and the {sizes} test images.",
        "Clean: accuracy of the same checkpoints on the unshifted test set, restricted to the same classes.",
    ]
    return " ".join(sentences if shown else sentences[:1])


def flatten_shift(cell: ShiftedCell) -> Line:
    """Return a cell as the columns of the long form."""
    shift = cell["shift"]
    clean = shift["clean"] if shift else None
    low, high = shift["interval"] if shift else (None, None)
    return grids.flatten_cell(cell) | {
        "clean": clean,
        "minus_clean": None if cell["mean"] is None or clean is None else cell["mean"] - clean,
        "joint_low": low,
        "joint_high": high,
        "num_images": shift["num"] if shift else None,
        "num_clean_images": shift["clean_num"] if shift else None,
    }


def format_shift(cell: ShiftedCell, metric: str) -> tuple[str, str]:
    """Return ``("41.2", " [38.9, 43.5], clean 95.2")``, or a dash without a value."""
    shift = cell["shift"]
    if cell["mean"] is None or shift is None:
        return HOLE, ""
    low, high = (format_number(bound, metric) for bound in shift["interval"])
    clean = shift["clean"]
    return format_number(cell["mean"], metric), f" [{low}, {high}]" + ("" if clean is None else f", clean {format_number(clean, metric)}")


def list_facts(cell: ShiftedCell, table: Table[Any]) -> Facts:
    """Return what a page tells about a cell on demand."""
    facts = grids.list_facts(cell, table)
    shift = cell["shift"]
    if cell["mean"] is None or shift is None:
        return facts
    low, high = (format_number(bound, METRIC) for bound in shift["interval"])
    facts.append(("Interval over seeds and images", f"{low} to {high}, {shift['num']:,} images"))
    if shift["clean"] is not None:
        gap = format_signed(cell["mean"] - shift["clean"], 1)
        facts.append(
            (
                "Clean accuracy",
                f"{format_number(shift['clean'], METRIC)} ({gap} under the shift), {shift['clean_num']:,} images of the same classes",
            )
        )
    return facts

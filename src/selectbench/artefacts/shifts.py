"""Shifted test sets: grids whose cells carry the matching clean accuracy and an interval over seeds and test images."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from selectbench.artefacts import grids
from selectbench.artefacts.cells import CONFIDENCE, Records, list_cells, t_interval
from selectbench.artefacts.formats import HOLE, format_number, format_signed
from selectbench.errors import ConfigError

METRIC = "top1"
CSV_COLUMNS = (*grids.CSV_COLUMNS, "clean", "minus_clean", "joint_low", "joint_high", "num_images", "num_clean_images")
_NORMAL = 1.959964  # two-sided 95 % quantile of the normal distribution


def fill_shifts(spec: dict, records: Records) -> dict:
    """Return the columns and the filled panels of a grid on shifted test sets.

    Raises
    ------
    RecordError
        A run is missing or failed, and the spec is not ``partial``.
    ConfigError
        The metric is not top-1 accuracy.
    """
    if spec["metric"] != METRIC:
        raise ConfigError(f"table {spec['id']}: a table of kind 'shifted' shows top1, not {spec['metric']!r}")
    filled = grids.fill_grid(spec, records)
    for panel in filled["panels"]:
        for row in panel["rows"]:
            for cell in row["cells"].values():
                present = [run for run, value in zip(cell["runs"], cell["values"], strict=True) if value is not None]
                cell["shift"] = describe_shift([records[run]["test"][panel["test_set"]] for run in present])
    return filled


def describe_shift(tests: Sequence[Mapping]) -> dict | None:
    """Return what the test results of one cell's runs say beside their mean; None without a run.

    ``interval`` covers both the seeds (Student's t) and the images the test set happens to have (normal approximation of a
    binomial); the half-widths add in squares, as all seeds are tested on the same images.
    """
    if not tests:
        return None
    values = [test["top1"] for test in tests]
    seeds = t_interval(values, CONFIDENCE)
    over_seeds = 0.0 if seeds.high is None else seeds.high - seeds.mean
    share, num = seeds.mean / 100.0, min(test["num"] for test in tests)
    over_images = 100.0 * _NORMAL * math.sqrt(share * (1.0 - share) / num)
    half_width = math.hypot(over_seeds, over_images)
    clean = [test["clean_top1"] for test in tests if test.get("clean_top1") is not None]
    return {
        "clean": float(np.mean(clean)) if len(clean) == len(tests) else None,
        "interval": [seeds.mean - half_width, seeds.mean + half_width],
        "num": num,
        "clean_num": min((test["clean_num"] for test in tests if test.get("clean_num") is not None), default=None),
    }


def describe_shifts(table: dict) -> str:
    """Return the caption of a grid and what its cells add."""
    shown = [cell["shift"] for _, _, _, cell in list_cells(table["panels"]) if cell["shift"] is not None]
    sizes = " and ".join(f"{num:,}" for num in dict.fromkeys(shift["num"] for shift in shown))
    sentences = [
        grids.describe_grid(table).replace("mean ± standard deviation", "mean", 1),
        f"In brackets the 95 % interval over seeds and over the {sizes} test images together.",
        "Clean: the accuracy of the same checkpoints on the test set without the shift, among the same classes.",
    ]
    return " ".join(sentences if shown else sentences[:1])


def flatten_shift(cell: dict) -> dict:
    """Return a cell as the columns of the long form."""
    shift = cell["shift"] or {"clean": None, "interval": [None, None], "num": None, "clean_num": None}
    gap = None if cell["mean"] is None or shift["clean"] is None else cell["mean"] - shift["clean"]
    low, high = shift["interval"]
    added = {"clean": shift["clean"], "minus_clean": gap, "joint_low": low, "joint_high": high}
    return grids.flatten_cell(cell) | added | {"num_images": shift["num"], "num_clean_images": shift["clean_num"]}


def format_shift(cell: dict, metric: str) -> tuple[str, str]:
    """Return ``("41.2", " [38.9, 43.5], clean 95.2")`` and a dash for none."""
    if cell["mean"] is None:
        return HOLE, ""
    low, high = (format_number(bound, metric) for bound in cell["shift"]["interval"])
    clean = cell["shift"]["clean"]
    return format_number(cell["mean"], metric), f" [{low}, {high}]" + ("" if clean is None else f", clean {format_number(clean, metric)}")


def list_facts(cell: dict, table: dict) -> list[tuple[str, str]]:
    """Return what a cell tells on demand, as (name, text) pairs."""
    facts = grids.list_facts(cell, table)
    shift = cell["shift"]
    if shift is None:
        return facts
    low, high = (format_number(bound, METRIC) for bound in shift["interval"])
    facts.append(("Interval over seeds and images", f"{low} to {high}, {shift['num']:,} images"))
    if shift["clean"] is not None:
        gap = format_signed(cell["mean"] - shift["clean"], 1)
        facts.append(
            (
                "Without the shift",
                f"{format_number(shift['clean'], METRIC)} ({gap} here), {shift['clean_num']:,} images of the same classes",
            )
        )
    return facts

"""Samples of runs that are made again, the comparison of two results, and the weaker check on other machines."""

import copy
import math

import numpy as np
import pytest
from artefact_fixtures import DIGITS, make_record

from selectbench.errors import ConfigError
from selectbench.evidence import compare, remake
from selectbench.planning.plan import load_plan
from selectbench.records.files import seal

SEEDS = range(3)


@pytest.fixture
def rows():
    """Rows of two methods at one keep fraction, three seeds each."""
    made = [make_record(DIGITS, method, "0.5", seed) for method in ("random", "moderate") for seed in SEEDS]
    return {row["run"]["id"]: row for row in made}


@pytest.fixture
def recorded(rows):
    return rows[f"{DIGITS}/equal_epochs/random/keep-0.5/seed-0"]


def change(row: dict, *path: str, value: object) -> dict:
    """Return a copy of a row with one field changed."""
    changed = copy.deepcopy(row)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return seal(changed)


def test_times_and_machines_are_no_results(recorded):
    other = change(recorded, "training", "wall_s", value=99.0)
    other = change(other, "provenance", "host", value="elsewhere")
    other = change(other, "selection", "sources", value={"proxy": {"wall_s": 1.0, "sample_visits": 1, "peak_memory_mb": 1.0}})
    assert remake.find_difference(recorded, other) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("training", "final_loss"), 0.010000000000000002),
        (("training", "steps"), 1),
        (("selection", "subset_sha256"), "f" * 64),
        (("selection", "class_counts"), [1]),
        (("test", "test", "top1"), 92.0),
        (("test", "test", "loss"), 1.0),
        (("num_kept",), 1),
        (("status",), "failed"),
        (("sha256",), {"model.pt": "f" * 64}),
    ],
)
def test_the_last_bit_of_a_result_is_a_difference(recorded, path, value):
    found = remake.find_difference(recorded, change(recorded, *path, value=value))
    assert found is not None
    assert found.startswith(".".join(path[:2]) if path[0] != "test" else "test")


def test_records_without_digests_of_weights_are_compared_by_their_results(recorded):
    old = change(recorded, "sha256", value=None)
    assert remake.find_difference(old, recorded) is None


@pytest.mark.parametrize("field", ["processor", "device", "python", "arithmetic", "versions"])
def test_another_machine_is_recognised(recorded, field):
    assert remake.is_same_machine(recorded, recorded)
    assert not remake.is_same_machine(recorded, change(recorded, "provenance", field, value="another"))


def test_the_spread_is_pooled_over_methods(rows):
    top1 = [
        [rows[f"{DIGITS}/equal_epochs/{name}/keep-0.5/seed-{seed}"]["test"]["test"]["top1"] for seed in SEEDS]
        for name in ("random", "moderate")
    ]
    spread, freedom = remake.pool_spread(rows.values())
    assert freedom == 4
    assert spread == pytest.approx(math.sqrt(np.mean([np.var(values, ddof=1) for values in top1])))
    assert remake.pool_spread([]) == (0.0, 0)


def test_other_machines_may_leave_the_bits_but_not_the_spread(rows, recorded):
    spread, freedom = remake.pool_spread(rows.values())
    limit = remake.quantile(freedom) * math.sqrt(2) * spread
    top1 = recorded["test"]["test"]["top1"]
    assert remake.leave_spread(rows, recorded, change(recorded, "test", "test", "top1", value=top1 - 0.99 * limit)) is None
    found = remake.leave_spread(rows, recorded, change(recorded, "test", "test", "top1", value=top1 - 1.01 * limit))
    assert "more than ±" in found


def test_the_limit_is_left_by_one_run_in_a_thousand():
    draws = np.random.default_rng(0)
    left, total = 0, 20_000
    for _ in range(total):
        seeds = draws.normal(size=5)
        old, new = draws.normal(size=2)
        left += abs(new - old) > remake.quantile(4) * math.sqrt(2) * np.std(seeds, ddof=1)
    assert 0.0005 < left / total < 0.002


def test_a_single_seed_has_no_spread(recorded):
    alone = {recorded["run"]["id"]: recorded}
    assert "too few seeds" in remake.leave_spread(alone, recorded, change(recorded, "test", "test", "top1", value=1.0))


def test_another_status_is_within_the_spread_only_if_seeds_differ_in_it(rows, recorded):
    failed = change(recorded, "status", value="failed")
    assert remake.leave_spread(rows, recorded, failed) == "status was ok and is failed"
    name = f"{DIGITS}/equal_epochs/random/keep-0.5/seed-1"
    assert remake.leave_spread(rows | {name: change(rows[name], "status", value="failed")}, recorded, failed) is None


def test_a_sample_reaches_every_kind_of_run_before_it_repeats_one(root):
    plan = load_plan(root, {"scale": "smoke"})
    rows = {run.id: make_record(DIGITS, "random", "0.5", 0) for run in plan.runs.values()}
    kinds = {remake.find_stratum(plan, run) for run in plan.runs.values()}
    sample = remake.draw_sample(plan, rows, 1e9, seed=0)
    assert sorted(sample.runs) == sorted(plan.runs)
    assert {remake.find_stratum(plan, plan.runs[run]) for run in sample.runs[: len(kinds)]} == kinds
    assert remake.draw_sample(plan, rows, 1e9, seed=0) == sample
    assert remake.draw_sample(plan, rows, 1e9, seed=1).runs != sample.runs


def test_a_sample_keeps_to_its_time(root):
    plan = load_plan(root, {"scale": "smoke"})
    rows = {run.id: make_record(DIGITS, "random", "0.5", 0) for run in plan.runs.values()}
    sample = remake.draw_sample(plan, rows, 60.0, seed=0)
    assert 0 < len(sample.runs) < len(rows)
    assert sample.seconds <= 60.0
    assert remake.draw_sample(plan, rows, 0.5, seed=0).runs == []


def test_a_plan_of_some_runs_asks_for_no_artefacts(root):
    plan = load_plan(root, {"scale": "smoke"})
    first = next(iter(plan.runs))
    part = load_plan(root, {"scale": "smoke", "only": [first]})
    assert list(part.runs) == [first]
    assert part.tables == {}
    assert part.run_test_sets(part.runs[first]) == plan.run_test_sets(plan.runs[first])
    assert [[run.id for run in runs] for runs in part.batches["train"].values()] == [[first]]
    with pytest.raises(ConfigError, match=r"config/config.yaml: only: scale smoke has no run 'nowhere'"):
        load_plan(root, {"scale": "smoke", "only": ["nowhere"]})


def test_machines_are_compared_beside_seeds(rows):
    moved = {name: change(row, "test", "test", "top1", value=row["test"]["test"]["top1"] + 1.0) for name, row in rows.items()}
    spread = compare.measure_spreads(rows, moved)["digits"]
    assert spread.runs == 6
    assert spread.seeds == pytest.approx(remake.pool_spread(rows.values())[0])
    assert spread.machines == pytest.approx(1 / math.sqrt(2))
    assert spread.largest == pytest.approx(1.0)

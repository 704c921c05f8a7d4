import copy
import math

import pytest
from artefact_fixtures import DIGITS, FAILED, MISSING, by_id, make_records, make_table_spec, run_id

from selectbench.artefacts.cells import (
    LOWER_IS_BETTER,
    compare_runs,
    fill_panels,
    find_hole,
    list_cells,
    mean_cost,
    pair_runs,
    read_value,
    t_interval,
    values_by_seed,
)
from selectbench.artefacts.formats import format_difference, format_number, format_run_value
from selectbench.errors import RecordError
from selectbench.records.records import read_records, write_collection


@pytest.fixture
def records():
    return by_id(make_records())


def runs_of(method: str, keep: str) -> list[str]:
    return [run_id(DIGITS, method, keep, seed) for seed in range(3)]


def test_t_interval_by_hand():
    # mean 2, sd 1, t(0.975, 2) = 4.302653, half-width 4.302653 / √3
    found = t_interval([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.sd == 1
    assert found.n == 3
    assert found.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert 2 - found.low == pytest.approx(found.high - 2)


def test_t_interval_of_one_value_has_no_bounds():
    assert t_interval([5.0]) == (5.0, None, None, None, 1)


def test_t_interval_floors_the_standard_deviation_of_its_bounds_only():
    found = t_interval([1.0, 1.0], least_sd=0.5)
    assert found.sd == 0
    assert found.high - 1 == pytest.approx(12.7062 * 0.5 / math.sqrt(2), rel=1e-5)


SEARCH = {"trainings": 112, "completed": 34, "proxy_loss": 0.71}


def test_what_a_search_found_and_spent_is_read_from_its_record(records):
    run, other = runs_of("el2n", "0.3")[:2]
    records[run]["selection"]["search"] = SEARCH
    records[other]["selection"]["search"] = None
    assert read_value(records[run], "proxy_loss", "test") == 0.71
    assert read_value(records[run], "proxy_trainings", "test") == 112
    assert read_value(records[run], "sets_completed", "test") == 34
    assert find_hole(records, run, "proxy_trainings", "test") is None
    assert find_hole(records, other, "proxy_loss", "test")["reason"] == "its subset was not chosen by a search"
    assert find_hole(records, runs_of("random", "0.3")[0], "proxy_loss", "test")["reason"] == "its subset was not chosen by a search"
    records[run]["selection"]["search"] = SEARCH | {"proxy_loss": None}
    assert find_hole(records, run, "proxy_loss", "test")["reason"] == "its record has no finite proxy_loss"


def test_a_lower_proxy_loss_and_fewer_trainings_are_better(records):
    for method, seed_values in (("el2n", (0.5, 0.6, 0.7)), ("moderate", (0.6, 0.8, 0.7))):
        for run, value in zip(runs_of(method, "0.3"), seed_values, strict=True):
            records[run]["selection"]["search"] = SEARCH | {"proxy_loss": value}
    assert {"proxy_loss", "proxy_trainings", "training_wall_s"} <= LOWER_IS_BETTER and "sets_completed" not in LOWER_IS_BETTER
    differences, least_sd = compare_runs(records, runs_of("el2n", "0.3"), runs_of("moderate", "0.3"), "proxy_loss", "test", False)
    assert differences.tolist() == pytest.approx([0.1, 0.2, 0.0])
    assert least_sd == 0


def test_training_time_leaves_selection_out_and_is_compared_by_logarithms(records):
    run = runs_of("el2n", "0.5")[1]
    assert read_value(records[run], "training_wall_s", "test") == pytest.approx(6 * 0.5 + 0.05)
    assert read_value(records[run], "total_wall_s", "test") == pytest.approx(6 * 0.5 + 0.05 + 4.13)
    full = [run_id(DIGITS, "full", "1", seed) for seed in range(3)]
    differences, _ = compare_runs(records, runs_of("el2n", "0.5"), full, "training_wall_s", "test", False)
    assert differences.tolist() == pytest.approx([math.log((6 + 0.05 * seed) / (3 + 0.05 * seed)) for seed in range(3)])


@pytest.mark.parametrize(
    ("value", "metric", "texts"),
    [
        (0.71249, "proxy_loss", ("0.712", "0.7125", "+0.712")),
        (112.0, "proxy_trainings", ("112", "112", "+112.00")),
        (34.0, "sets_completed", ("34", "34", "+34.00")),
        (4.126, "training_wall_s", ("4.13", "4.13", "0.016× the cost")),
        (41.26, "training_wall_s", ("41.3", "41.26", None)),
    ],
)
def test_searches_and_training_times_are_printed_in_their_units(value, metric, texts):
    assert format_number(value, metric) == texts[0]
    assert format_run_value(value, metric) == texts[1]
    if texts[2] is not None:
        assert format_difference(value, None, None, metric) == texts[2]


def test_differences_are_paired_by_seed_whatever_the_order(records):
    forward, least_sd = compare_runs(records, runs_of("el2n", "0.3"), runs_of("random", "0.3"), "top1", "test", True)
    backward, _ = compare_runs(records, runs_of("el2n", "0.3")[::-1], runs_of("random", "0.3"), "top1", "test", True)
    by_hand = [
        read_value(records[left], "top1", "test") - read_value(records[right], "top1", "test")
        for left, right in zip(runs_of("el2n", "0.3"), runs_of("random", "0.3"), strict=True)
    ]
    assert forward.tolist() == backward.tolist() == pytest.approx(by_hand)
    assert least_sd == pytest.approx(100 / 397 / math.sqrt(12))


def test_lower_is_better_turns_the_sign(records):
    sides = (runs_of("el2n", "0.3"), runs_of("random", "0.3"), "loss", "test")
    lower, least_sd = compare_runs(records, *sides, False)
    higher, _ = compare_runs(records, *sides, True)
    assert lower.tolist() == (-higher).tolist()
    assert least_sd == 0


def test_times_are_compared_by_log_ratios(records):
    differences, _ = compare_runs(records, runs_of("random", "0.5"), runs_of("full", "1"), "total_wall_s", "test", False)
    cheap, full = records[runs_of("random", "0.5")[0]], records[runs_of("full", "1")[0]]
    cheap_s = cheap["selection"]["wall_s"] + cheap["training"]["wall_s"]
    assert differences[0] == pytest.approx(math.log(full["training"]["wall_s"] / cheap_s))


def test_two_runs_of_one_seed_cannot_be_paired(records):
    with pytest.raises(RecordError, match="second run of seed 0"):
        values_by_seed(records, [run_id(DIGITS, "el2n", keep, 0) for keep in ("0.3", "0.5")], "top1", "test")


def test_a_cost_of_nothing_has_no_ratio(records):
    ours, theirs = runs_of("random", "0.5"), runs_of("full", "1")
    before, _ = pair_runs(records, ours, theirs, "training_visits", None, False)
    free = records[ours[1]]
    changed = records | {ours[1]: free | {"training": free["training"] | {"sample_visits": 0}}}
    differences, _ = pair_runs(changed, ours, theirs, "training_visits", None, False)
    assert differences == {seed: before[seed] for seed in before if seed != free["run"]["seed"]}


def test_cost_is_relative_to_full_data_of_the_same_seed(records):
    run = run_id(DIGITS, "el2n", "0.5", 2)
    cost = mean_cost(records, [run], runs_of("full", "1"))
    assert cost["selection"] == pytest.approx(4.13 / 6.1)
    assert cost["training"] == pytest.approx(3.1 / 6.1)
    assert cost["total"] == pytest.approx(cost["selection"] + cost["training"])
    assert cost["sample_visits"] == pytest.approx((28000 + 20 * 700) / 28000)


def test_cost_without_a_full_run_is_none(records):
    assert mean_cost(records, runs_of("el2n", "0.3"), []) is None


@pytest.mark.parametrize(("run", "reason"), [(MISSING, "no record"), (FAILED, "failed: loss is not finite")])
def test_holes_say_why_in_one_line(records, run, reason):
    assert find_hole(records, run, "top1", "test")["reason"] == reason


def test_an_unknown_test_set_and_a_nan_are_holes(records):
    run = run_id(DIGITS, "el2n", "0.3", 0)
    assert "other" in find_hole(records, run, "top1", "other")["reason"]
    records[run]["test"]["test"]["top1"] = math.nan
    assert find_hole(records, run, "top1", "test") is not None


def test_a_failed_record_without_any_test_is_a_hole(records):
    records[FAILED] |= {"test": None, "training": None, "failure": None}
    assert find_hole(records, FAILED, "total_wall_s", "test")["reason"] == "failed: no reason recorded"


def test_strict_specs_refuse_holes_in_one_line(records):
    with pytest.raises(RecordError) as caught:
        fill_panels(make_table_spec(partial=False), records)
    text = str(caught.value)
    assert text.startswith("rl_selector/main: 2 of 39 runs have no value; first: ")
    assert "set partial: true in config/config.yaml to show it with holes" in text
    assert "\n" not in text


def test_partial_cells_use_the_seeds_they_have(records):
    cells = {
        (row["id"], column): cell
        for panel, row, column, cell in list_cells(fill_panels(make_table_spec(), records))
        if panel["id"] == "blobs"
    }
    cell = cells["el2n", "0.3"]
    assert cell["n"] == 2
    assert cell["values"][1] is None
    assert cell["against_random"]["n"] == 2


def test_filling_leaves_the_spec_alone(records):
    spec = make_table_spec()
    before = copy.deepcopy(spec)
    fill_panels(spec, records)
    assert spec == before


@pytest.mark.parametrize("line", ["{", "[]", '{"run": 3}', "{}"])
def test_a_corrupt_line_is_named(tmp_path, line):
    path = tmp_path / "records.jsonl"
    write_collection(path, make_records()[:1])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RecordError, match=r"records\.jsonl: line 2 "):
        read_records(path)


def test_a_repeated_run_and_a_missing_file_are_errors(tmp_path):
    path = tmp_path / "records.jsonl"
    write_collection(path, make_records()[:1] * 2)
    with pytest.raises(RecordError, match="line 2 is a second record"):
        read_records(path)
    with pytest.raises(RecordError, match="no such file"):
        read_records(tmp_path / "none.jsonl")

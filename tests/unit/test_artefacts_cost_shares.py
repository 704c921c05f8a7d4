"""Cost shares, computed by hand: every cell relative to full data with the same seed, next to the reported number."""

import pytest
from artefact_fixtures import DIGITS, by_id, make_records, make_table_spec, run_id

from selectbench.artefacts.tables import KINDS, fill_table, render_csv, render_markdown
from selectbench.errors import ConfigError

SPEC = make_table_spec(with_holes=False) | {"kind": "cost_shares", "metric": "total_visits", "tolerance": 0.05}


@pytest.fixture
def records():
    return by_id(make_records())


def find_cell(table, method, keep):
    return next(row["cells"][keep] for row in table["panels"][0]["rows"] if row["id"] == method)


def test_shares_by_hand(records):
    table = fill_table(SPEC, records)
    seconds = {seed: records[run_id(DIGITS, "full", "1", seed)]["training"]["wall_s"] for seed in range(3)}
    own = {seed: records[run_id(DIGITS, "el2n", "0.5", seed)] for seed in range(3)}
    cell = find_cell(table, "el2n", "0.5")
    assert cell["cost"]["sample_visits"] == pytest.approx((28000 + 20 * 700) / (20 * 1400))
    assert cell["cost"]["selection"] == pytest.approx(sum(own[seed]["selection"]["wall_s"] / seconds[seed] for seed in own) / 3)
    text = "".join(KINDS["cost_shares"].format(cell, "total_visits"))
    assert text == f"1.50 (time {cell['cost']['selection']:.2f} + {cell['cost']['training']:.2f})"
    assert f"| EL2N | {''.join(KINDS['cost_shares'].format(find_cell(table, 'el2n', '0.3'), ''))} | {text} |" in render_markdown(table)
    assert "".join(KINDS["cost_shares"].format(find_cell(table, "full", "1"), "")) == "1.00 (time 0.00 + 1.00)"
    assert "sample_visits,total_time,selection_time,training_time" in render_csv(table)


def test_the_fewest_visits_are_best_and_full_data_is_not(records):
    table = fill_table(SPEC, records)
    best = [row["id"] for row in table["panels"][0]["rows"] if any(cell["best"] for cell in row["cells"].values())]
    assert best == ["random", "random_balanced"]


def test_a_reported_share_is_compared_where_the_scale_is_the_paper_s(records):
    spec = make_table_spec(scale="full", with_holes=False) | {"kind": "cost_shares", "metric": "total_visits", "tolerance": 0.05}
    for row in spec["panels"][0]["rows"]:
        for keep, cell in row["cells"].items():
            cell["reported"] = {"value": {"0.3": 0.3, "0.5": 0.9}.get(keep, 1.0), "evidence": "paper-table", "note": ""}
    table = fill_table(spec, records)
    cell = find_cell(table, "random", "0.3")
    assert cell["status"] == "reproduced" and abs(cell["difference"]) < 0.05
    assert find_cell(table, "random", "0.5")["status"] == f"off by −{0.9 - find_cell(table, 'random', '0.5')['cost']['total']:.2f}"
    assert dict(KINDS["cost_shares"].list_facts(cell, table))["Reported"] == "0.3 × full data's cost (paper-table)"


def test_another_metric_is_refused(records):
    with pytest.raises(ConfigError, match="a table of kind 'cost_shares' needs the metric total_visits, not 'top1'"):
        fill_table(SPEC | {"metric": "top1"}, records)


def test_repeats_show_the_median_and_the_spread_by_hand(records):
    for seed in range(3):
        records[run_id(DIGITS, "el2n", "0.5", seed)]["training"]["encode_s"] = 1.0
    seconds = {
        ("full", "1"): ((10.0, 0.0), (8.0, 0.0), (20.0, 0.0)),
        ("el2n", "0.5"): ((4.0, 0.0), (6.0, 0.0), (5.0, 0.0)),
        ("random", "0.5"): ((5.0, 1.0), (5.0, 2.0), (9.0, 3.0)),
    }
    times = {
        run_id(DIGITS, *cell, 0): [{"training": training, "selection": selection} for training, selection in repeats]
        for cell, repeats in seconds.items()
    }
    table = fill_table(SPEC, records, times)
    cell = find_cell(table, "el2n", "0.5")
    assert cell["cost"]["repeated"] == {"number": 3, "low": 0.5, "median": 0.6, "high": 0.7, "selection": 0.0}  # an encoder works once
    selection = cell["cost"]["selection"]  # of a static method, as recorded
    assert (
        "".join(KINDS["cost_shares"].format(cell, "")) == f"{cell['cost']['sample_visits']:.2f} (time {selection:.2f} + 0.60 [0.50–0.70])"
    )
    assert "".join(KINDS["cost_shares"].format(find_cell(table, "random", "0.5"), "")).endswith("(time 0.20 + 0.50 [0.50–0.90])")
    assert find_cell(table, "full", "1")["cost"]["repeated"] == {"number": 3, "low": 0.8, "median": 1.0, "high": 2.0, "selection": 0.0}
    assert "repeated" not in find_cell(table, "el2n", "0.3")["cost"]  # not timed
    assert dict(KINDS["cost_shares"].list_facts(cell, table))["Training, 3 repeats"].startswith("0.600 × full data's, 0.500 to 0.700")
    assert "median of 3 repeats of one seed" in table["caption"] and "repeated_low" in render_csv(table)
    assert "repeats" not in fill_table(SPEC, records)["caption"]


def test_without_repeats_of_full_data_nothing_is_relative_to_it(records):
    times = {run_id(DIGITS, "el2n", "0.5", 0): [{"training": 4.0, "selection": 0.0}] * 2}
    assert "repeated" not in find_cell(fill_table(SPEC, records, times), "el2n", "0.5")["cost"]

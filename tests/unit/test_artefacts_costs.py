import pytest
from artefact_fixtures import make_record, make_row, run_id

from selectbench.artefacts.cells import fill_panels
from selectbench.artefacts.costs import Answer, describe_thresholds, find_cheapest, format_answer
from selectbench.artefacts.tables import fill_table, render_csv, render_latex, render_markdown
from selectbench.errors import ConfigError, RecordError

PLACE = "digits/a-to-b"
KEEPS = ["0.2", "0.4", "0.6"]
# method → keep fraction → (accuracy of both seeds, selection visits, training visits, wall times equal); full data: 100 visits, 10 s
BY_HAND = {
    "full": {"1": ((95.0, 97.0), 0, 100, 0.0, 10.0)},
    "random": {"0.2": ((80.0, 82.0), 0, 20, 0.0, 2.0), "0.4": ((92.0, 94.0), 0, 40, 0.0, 4.0), "0.6": ((94.0, 96.0), 0, 60, 0.0, 6.0)},
    "el2n": {"0.2": ((93.0, 94.0), 50, 20, 2.0, 2.0), "0.4": ((95.0, 95.5), 50, 40, 2.0, 4.0), "0.6": ((95.5, 95.9), 50, 60, 2.0, 6.0)},
    "moderate": {"0.2": ((93.5, 94.5), 10, 20, 1.0, 2.0), "0.4": ((93.6, 94.6), 0, 30, 1.0, 4.0), "0.6": ((97.0, 98.0), 60, 60, 1, 6)},
}


def make_case(**changes: object) -> tuple[dict, dict[str, dict]]:
    records = {}
    for method, keeps in BY_HAND.items():
        for keep, (top1, selection_visits, visits, selection_s, seconds) in keeps.items():
            for seed in range(2):
                record = make_record(PLACE, "random", keep, seed)
                record["run"] |= {"id": run_id(PLACE, method, keep, seed), "method": method}
                record["test"]["test"]["top1"] = top1[seed]
                record["selection"] |= {"sample_visits": selection_visits, "wall_s": selection_s}
                record["training"] |= {"sample_visits": visits, "wall_s": seconds}
                records[record["run"]["id"]] = record
    rows = [make_row(PLACE, method, KEEPS) for method in BY_HAND]
    for row in rows:
        for cell in row["cells"].values():
            cell["runs"] = cell["runs"][:2]
    spec = {
        "paper": "rl_selector", "id": "costs", "kind": "cost_to_reach", "scale": "tiny", "title": "Cost", "note": "", "metric": "top1",
        "regime": "equal_epochs", "partial": True, "tolerance": 1.0, "compare_reported": False,
        "columns": [{"id": keep, "title": keep} for keep in KEEPS], "targets": [0.97, 0.99, 1.0, 1.02],
        "panels": [{"id": "digits", "title": "Digits", "test_set": "test", "absent": None, "rows": rows}],
    }  # fmt: skip
    return spec | changes, records


def texts_of(table: dict) -> dict[str, list[str]]:
    (panel,) = table["panels"]
    return {row["id"]: ["".join(format_answer(answer, "top1")) for answer in row["cells"].values()] for row in panel["rows"]}


def answer_of(table: dict, method: str, column: str) -> Answer:
    (row,) = [row for row in table["panels"][0]["rows"] if row["id"] == method]
    return row["cells"][column]


def test_the_cheapest_keep_fraction_that_reaches_by_hand():
    # full data: 96; the columns require 93.12, 95.04, 96 and 97.92
    table = fill_table(*make_case())
    assert texts_of(table) == {
        "full": ["1.00 (time 1.00), 100 % kept"] * 3 + ["not reached"],
        "random": ["0.60 (time 0.60), 60 % kept", "not reached", "not reached", "not reached"],
        "el2n": ["0.70 (time 0.40), 20 % kept", "0.90 (time 0.60), 40 % kept", "not reached", "not reached"],
        "moderate": ["0.30 (time 0.30), 20 % kept", "1.20 (time 0.70), 60 % kept", "1.20 (time 0.70), 60 % kept", "not reached"],
    }
    assert answer_of(table, "random", "0.97")["threshold"] == pytest.approx(0.97 * 96)
    # a tie at 30 visits (20 % and 40 % kept) goes to the smaller keep fraction
    assert [option["visits"] for option in answer_of(table, "moderate", "0.97")["options"]] == pytest.approx([0.3, 0.3, 1.2])


def test_the_cheapest_of_a_column_is_bold_and_full_data_takes_part():
    table = fill_table(*make_case())
    best = {row["id"]: [answer["best"] for answer in row["cells"].values()] for row in table["panels"][0]["rows"]}
    assert best == {
        "full": [False, False, True, False],
        "random": [False] * 4,
        "el2n": [False, True, False, False],
        "moderate": [True, False, False, False],
    }
    text = render_markdown(table)
    assert "| Moderate-DS | **0.30 (time 0.30), 20 % kept** |" in text
    assert r"EL2N & 0.70 {\scriptsize (time 0.40), 20 \% kept} & \textbf{0.90} {\scriptsize (time 0.60), 40 \% kept}" in render_latex(table)
    assert "| | ≥ 97 % of full data | ≥ 99 % of full data | ≥ 100 % of full data | ≥ 102 % of full data |" in text
    assert "Digits: full data reaches 96.0; ≥ 97 % is 93.1, ≥ 99 % is 95.0, ≥ 100 % is 96.0, ≥ 102 % is 97.9." in text
    assert "descriptive, not a test" in table["note"]


def test_the_answer_names_every_run_it_was_chosen_from():
    table = fill_table(*make_case())
    runs = answer_of(table, "el2n", "0.97")["runs"]
    assert runs == [run_id(PLACE, "el2n", keep, seed) for keep in KEEPS for seed in range(2)] + [
        run_id(PLACE, "full", "1", seed) for seed in range(2)
    ]
    assert len(answer_of(table, "full", "0.97")["runs"]) == 2
    lines = render_csv(table).splitlines()
    assert len(lines) == 1 + 4 * 4
    assert ",el2n,EL2N,False,0.97,0.97,93.12,True,0.2,93.5,0.7,0.4,8,digits/" in lines[9]


def test_a_keep_fraction_with_a_hole_is_never_chosen_and_may_leave_a_dash():
    spec, records = make_case()
    failed = run_id(PLACE, "moderate", "0.2", 1)
    records[failed] |= {"status": "failed", "failure": {"reason": "loss is not finite", "log_tail": ""}}
    table = fill_table(spec, records)
    answers = [answer_of(table, "moderate", column) for column in ("0.97", "1.02")]
    assert [answer["reached"] for answer in answers] == [True, None]
    assert ["".join(format_answer(answer, "top1")) for answer in answers] == ["0.30 (time 0.50), 40 % kept", "—"]
    assert [note["text"] for note in table["footnotes"]] == ["1 of 8 runs failed (keep 0.2 seed 1): loss is not finite"]
    assert "| 0.30 (time 0.50), 40 % kept<sup>a</sup>" in render_markdown(table).replace("*", "")
    assert "footnotes mark where they might have been" in table["caption"]
    with pytest.raises(RecordError, match="rl_selector/costs: 1 of 20 runs has no value"):
        fill_table(spec | {"partial": False}, records)


def test_without_all_full_data_runs_nothing_is_known():
    spec, records = make_case()
    del records[run_id(PLACE, "full", "1", 0)]
    table = fill_table(spec, records)
    assert {text for texts in texts_of(table).values() for text in texts} == {"—"}
    assert describe_thresholds(table["panels"][0], "top1") is None
    spec["panels"][0]["rows"] = spec["panels"][0]["rows"][1:]
    with pytest.raises(ConfigError, match="panel 'digits' has no full-data runs to compare with"):
        fill_table(spec, records)


def test_a_metric_where_lower_is_better_is_refused():
    spec, records = make_case(metric="loss")
    with pytest.raises(ConfigError, match="the cost to reach a loss is not defined"):
        fill_table(spec, records)


def test_a_row_that_reaches_the_threshold_exactly_reaches_it():
    spec, records = make_case()
    (panel,) = fill_panels(spec, records)
    cells = {row["id"]: row["cells"] for row in panel["rows"]}
    assert find_cheapest(cells["full"], cells["full"]["1"], 1.0)["reached"] is True
    assert find_cheapest(cells["random"], cells["full"]["1"], 95 / 96)["chosen"]["keep"] == "0.6"

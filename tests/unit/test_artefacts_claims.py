import math

import pytest
from artefact_fixtures import (
    by_id,
    make_claims_spec,
    make_comparison,
    make_costs_spec,
    make_measured_claim,
    make_measurements,
    make_record,
    make_records,
    make_table_spec,
    retest,
)

from selectbench.artefacts.claims import compare, compare_statistics, decide, find_worst, format_comparison, judge_claims
from selectbench.artefacts.tables import fill_table
from selectbench.artefacts.verdict import count_verdicts, list_costs, make_verdict, render_markdown
from selectbench.errors import RecordError


def make_pair(differences: list[float], num: int = 10**9) -> tuple[dict, dict]:
    """Records in which EL2N minus random equals ``differences``, and the comparison of the two."""
    place = "digits/a-to-b"
    records = {}
    for seed, difference in enumerate(differences):
        for method, top1 in (("random", 80.0), ("el2n", 80.0 + difference)):
            record = make_record(place, method, "0.3", seed)
            record["test"]["test"] = {"top1": top1, "loss": 1.0, "num": num}
            records[record["run"]["id"]] = record
    comparison = make_comparison("el2n − random", (place, "el2n", "0.3"), (place, "random", "0.3"))
    for side in ("better", "worse"):
        comparison[side] = comparison[side][: len(differences)]
    return records, comparison


def judge(*sets: list[float], num: int = 10**9) -> tuple:
    compared = []
    for differences in sets:
        records, comparison = make_pair(differences, num)
        compared.append(compare(comparison, records, 0.95, len(sets)))
    return decide(compared, None, [])


def test_interval_of_paired_differences_by_hand():
    records, comparison = make_pair([1.0, 2.0, 3.0])
    found = compare(comparison, records, 0.95, 1)
    assert found["mean"] == pytest.approx(2)
    assert found["low"] == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)
    assert found["corrected_high"] == pytest.approx(found["high"])


def test_supported_needs_every_interval_above_zero():
    assert judge([3.0, 3.1, 3.2], [1.0, 1.1, 1.2]).verdict == "supported"
    verdict, why = judge([3.0, 3.1, 3.2], [-1.0, 1.1, 1.2])
    assert verdict == "undecided"
    assert why == "1 of 2 intervals contains 0; 1 lies above 0"


def test_contradicted_by_one_interval_below_zero():
    verdict, why = judge([3.0, 3.1, 3.2], [-1.0, -1.1, -1.2])
    assert verdict == "contradicted"
    assert why == "1 of 2 intervals lies below 0 after correction for 2 comparisons"


def test_bonferroni_correction_protects_a_claim_of_many_comparisons():
    # mean −2, sd 0.6: half-width 1.49 alone, 4.8 at 1 − 0.05 / 10
    low, high = [-1.4, -2.0, -2.6], [3.0, 3.1, 3.2]
    assert judge(low).verdict == "contradicted"
    verdict, why = judge(low, *[high] * 9)
    assert verdict == "undecided"
    assert why == "1 of 10 intervals lies below 0, but not after correction for 10 comparisons; 9 lie above 0"


def test_equal_differences_on_a_small_test_set_are_not_certain():
    # one sample of 40 is 2.5 points: sd at least 0.72, half-width 12.7 · 0.72 / √2 = 6.5
    assert judge([2.5, 2.5], num=40).verdict == "undecided"
    assert judge([2.5, 2.5], num=40000).verdict == "supported"


def test_an_allowance_is_what_a_claim_may_lose_or_must_win_by():
    records, comparison = make_pair([-0.3, -0.31, -0.29], num=100_000)
    assert decide([compare(comparison, records, 0.95, 1)], None, []).verdict == "contradicted"
    allowed = compare(comparison | {"allowance": 0.5}, records, 0.95, 1)
    assert decide([allowed], None, []).verdict == "supported"
    assert allowed["mean"] == pytest.approx(0.2)
    assert format_comparison(allowed).startswith("−0.30 [−0.32, −0.28] (allowed: −0.5)")
    for record in records.values():
        visits = 400 if record["run"]["id"] in comparison["better"] else 1000
        record["training"]["sample_visits"], record["selection"]["sample_visits"] = visits + record["run"]["seed"], 0
    cheaper = comparison | {"metric": "total_visits", "higher_is_better": False}
    halved, third = (compare(cheaper | {"allowance": -math.log(factor)}, records, 0.95, 1) for factor in (2, 3))
    assert [decide([found], None, []).verdict for found in (halved, third)] == ["supported", "contradicted"]
    assert math.exp(halved["mean"]) == pytest.approx(2.5 / 2, rel=1e-2)
    assert format_comparison(halved).startswith("0.40× the cost") and format_comparison(halved).endswith("(claimed: at most 0.50×)")


def test_one_seed_is_undecided_and_no_comparison_was_not_asked():
    assert judge([1.0]) == ("undecided", "the comparison has fewer than 2 seeds")
    assert decide([], None, []) == ("not asked", "nothing to compare at this scale")


def test_unavailable_claims_are_undecided_whatever_the_numbers():
    records, comparison = make_pair([3.0, 3.1, 3.2])
    compared = compare(comparison, records, 0.95, 1)
    assert decide([compared], "rl_selector is not built yet", []) == ("undecided", "rl_selector is not built yet")


def test_a_hole_never_supports_but_does_not_hide_a_contradiction():
    records, comparison = make_pair([3.0, 3.1, 3.2])
    missing = comparison["better"][0]
    del records[missing]
    hole = compare(comparison, records, 0.95, 2)
    assert hole["mean"] is None
    assert hole["hole"] == f"1 of 6 runs has no value; first: {missing}: no record"
    good_records, good = make_pair([3.0, 3.1, 3.2])
    bad_records, bad = make_pair([-3.0, -3.1, -3.2])
    assert decide([hole, compare(good, good_records, 0.95, 2)], None, []).why.startswith(
        "1 of 2 comparisons is incomplete (1 of 6 runs has no value; first: "
    )
    assert decide([hole, compare(bad, bad_records, 0.95, 2)], None, []).verdict == "contradicted"


def test_what_is_not_compared_cannot_be_beaten_but_does_not_hide_a_contradiction():
    good_records, good = make_pair([3.0, 3.1, 3.2])
    bad_records, bad = make_pair([-3.0, -3.1, -3.2])
    assert decide([compare(good, good_records, 0.95, 1)], None, ["MoSo"]) == ("undecided", "not built yet, so not compared: MoSo")
    assert decide([compare(bad, bad_records, 0.95, 1)], None, ["MoSo"]).verdict == "contradicted"


def test_sides_without_a_common_seed_are_a_hole():
    records, comparison = make_pair([1.0, 2.0])
    comparison |= {"better": comparison["better"][:1], "worse": comparison["worse"][1:]}
    assert compare(comparison, records, 0.95, 1)["hole"] == "the two sides have no seed in common"


def test_worst_is_lowest_in_units_of_its_half_width():
    wide = {"mean": -2.0, "low": -5.0, "high": 1.0}
    sharp = {"mean": -0.5, "low": -0.6, "high": -0.4}
    hole = {"mean": None, "low": None, "high": None}
    assert find_worst([wide, hole, sharp]) == 2
    assert find_worst([hole]) is None


def test_differences_are_printed_in_their_unit():
    comparison = {"metric": "top1", "mean": 0.421, "low": -0.1, "high": 0.94}
    assert format_comparison(comparison) == "+0.42 [−0.10, +0.94]"
    assert (
        format_comparison(comparison | {"metric": "total_wall_s", "mean": math.log(2), "low": 0.0, "high": math.log(4)})
        == "0.50× the cost [0.25×, 1.00×]"
    )
    assert format_comparison(comparison | {"low": None, "high": None}) == "+0.42"
    assert format_comparison(comparison | {"mean": None}) == "—"


def test_verdicts_of_the_synthetic_claims():
    judged = {claim["id"]: claim["verdict"] for claim in judge_claims(make_claims_spec(), by_id(make_records()), make_measurements())}
    assert judged == {
        "best": "undecided",
        "moderate": "supported",
        "el2n": "contradicted",
        "balance": "undecided",
        "blobs": "undecided",
        "cheap": "supported",
        "cover": "supported",
    }


def judge_statistics(values: list[float | None], dataset: str = "digits", **bound: float) -> dict:
    spec = make_claims_spec() | {"claims": [make_measured_claim("spearman", **bound or {"above": 0.0})]}
    measurements = [
        {"seed": seed, "dataset": dataset, "propositions": {"cover_bound": {"statistic": {"spearman": value}}}}
        for seed, value in enumerate(values)
    ]
    (claim,) = judge_claims(spec, {}, measurements)
    return claim


def test_a_statistic_is_held_against_its_bound_by_hand():
    # mean 0.5, sd 0.1, t(0.975, 2) = 4.302653: half-width 0.2484
    claim = judge_statistics([0.4, 0.5, 0.6])
    (comparison,) = claim["comparisons"]
    assert claim["verdict"] == "supported" and claim["n"] == "3"
    assert comparison["label"] == "digits: spearman of cover bound"
    assert comparison["low"] == pytest.approx(0.5 - 4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert format_comparison(comparison) == "+0.50 [+0.25, +0.75]"
    assert judge_statistics([0.4, 0.5, 0.6], above=0.4)["verdict"] == "undecided"
    contradicted = judge_statistics([0.4, 0.5, 0.6], above=0.9)
    assert contradicted["verdict"] == "contradicted"
    assert contradicted["comparisons"][0]["label"] == "digits: spearman of cover bound − 0.9"


def test_a_statistic_nobody_measured_is_a_hole():
    assert judge_statistics([])["why"] == "the comparison is incomplete (nothing was measured)"
    claim = judge_statistics([0.4, None, 0.6])
    assert claim["verdict"] == "undecided"
    assert claim["comparisons"][0]["hole"] == "1 of 3 seeds has no finite spearman; first: seed 1"


def test_statistics_are_compared_data_set_by_data_set():
    measurements = [item | {"dataset": dataset} for dataset in ("digits", "blobs") for item in make_measurements()]
    measured = {"proposition": "cover_bound", "statistic": "slope", "above": 0.0}
    comparisons = compare_statistics(measured, measurements, 0.95)
    assert [comparison["label"] for comparison in comparisons] == ["blobs: slope of cover bound", "digits: slope of cover bound"]
    assert decide(comparisons, None, []).verdict == "contradicted"


def test_the_verdict_names_losses_costs_and_origins_but_no_host():
    records = by_id(make_records())
    verdict = make_verdict(make_claims_spec(), [fill_table(make_table_spec(), records)], records)
    assert [loss["method"] for loss in verdict["losses"]] == ["EL2N", "EL2N"]
    assert verdict["tables"][0] | {"absent": []} == {
        "id": "main", "title": "Accuracy by keep fraction", "cells": 13, "filled": 11, "holes": 2,
        "planned": ["RL-Selector"], "absent": [], "reproduced": 0, "off": 0,
    }  # fmt: skip
    assert verdict["provenance"]["failed"] == 1
    assert "somewhere" not in render_markdown(verdict)


def test_what_was_not_asked_or_left_out_is_told_apart():
    records = by_id(make_records())
    table = make_table_spec()
    for panel in table["panels"]:
        panel |= {"absent": "the table is left out", "rows": []}
    spec = make_claims_spec()
    spec["claims"].append(spec["claims"][1] | {"id": "later", "comparisons": []})
    verdict = make_verdict(spec, [fill_table(table, records)], records)
    assert [(item["verdict"], item["count"]) for item in count_verdicts([verdict])][-2:] == [("undecided", 4), ("not asked", 1)]
    assert count_verdicts([verdict | {"claims": verdict["claims"][:-1]}])[-1]["verdict"] == "undecided"
    text = render_markdown(verdict)
    assert "4 undecided, 1 not asked." in text and "| – not asked | nothing to compare at this scale |" in text
    assert "- Accuracy by keep fraction: the table is left out\n" in text and "| Accuracy by keep fraction |" not in text


def test_tables_of_costs_to_reach_add_neither_losses_nor_costs():
    records = by_id(make_records())
    tables = [fill_table(spec, records) for spec in (make_table_spec(), make_costs_spec())]
    one, two = (make_verdict(make_claims_spec(), tables[:number], records) for number in (1, 2))
    assert (one["losses"], one["costs"]) == (two["losses"], two["costs"])
    assert two["tables"][1]["cells"] == 36


def test_panels_over_the_same_runs_are_costed_once():
    records = by_id(make_records())
    tables = [fill_table(retest(make_table_spec(), test_set), records) for test_set in ("test", "mnist_shift")]
    assert len(list_costs(tables)) == 2


def test_a_table_of_another_scale_is_refused():
    records = by_id(make_records())
    with pytest.raises(RecordError, match="at scale full, not of rl_selector at scale tiny"):
        make_verdict(make_claims_spec(), [fill_table(make_table_spec(scale="full"), records)], records)


def test_a_statistic_may_have_to_lie_below_its_bound():
    assert judge_statistics([0.04, 0.05, 0.06], below=0.1)["verdict"] == "supported"
    contradicted = judge_statistics([0.5, 0.52, 0.51], below=0.1)
    assert contradicted["verdict"] == "contradicted"
    assert contradicted["comparisons"][0]["label"] == "digits: 0.1 − spearman of cover bound"

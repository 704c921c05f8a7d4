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

from selectbench.artefacts.claims import Verdict, decide, judge_claim, judge_claims, list_open
from selectbench.artefacts.comparisons import (
    Compared,
    average_over_keeps,
    compare,
    compare_statistics,
    find_worst,
    format_comparison,
)
from selectbench.artefacts.decisions import Rule
from selectbench.artefacts.tables import fill_table
from selectbench.artefacts.verdict import count_verdicts, list_costs, make_verdict, render_markdown
from selectbench.errors import RecordError

RULE = Rule(0.95)


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
    for side, method in (("better", "el2n"), ("worse", "random")):
        comparison[side] = [run for run, record in records.items() if record["run"]["method"] == method]
    return records, comparison


def make_claim(*comparisons: dict, **others: object) -> dict:
    about = {"id": "it", "statement": "It helps.", "by": "field", "source": "tests", "table": "main"}
    rule = {"unavailable": None, "not_compared": [], "scope": "every", "construction": None, "learners": []}
    return about | rule | {"comparisons": list(comparisons)} | others


def settle(*compared: Compared, **others: object) -> Verdict:
    """The verdict on a claim of these comparisons."""
    return decide(make_claim(**others), compared, average_over_keeps(compared, RULE), RULE.level)


def judge(*sets: list[float], num: int = 10**9) -> Verdict:
    """The verdict on a claim with one comparison, with another opponent, per set of differences."""
    compared = []
    for place, differences in enumerate(sets):
        records, comparison = make_pair(differences, num)
        compared.append(compare(comparison | {"against": str(place)}, records, RULE))
    return settle(*compared)


def test_interval_of_paired_differences_by_hand():
    records, comparison = make_pair([1.0, 2.0, 3.0])
    found = compare(comparison, records, RULE).comparison
    assert found["mean"] == pytest.approx(2)
    assert found["low"] == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)
    assert found["high"] == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-6)


def test_supported_needs_every_interval_above_zero():
    assert judge([3.0, 3.1, 3.2], [1.0, 1.1, 1.2]).verdict == "supported"
    verdict, why, seeds = judge([3.0, 3.1, 3.2], [-1.0, 1.1, 1.2])
    assert verdict == "undecided"
    # mean 0.433, sd 1.242: t(0.975, n − 1) · 1.242 / √n falls below 0.433 at n = 35
    assert why == "1 of 2 intervals contains 0; 1 lies above 0; n ≈ 35 seeds would decide" and seeds == 35


def test_contradicted_by_one_interval_below_zero():
    verdict, why, seeds = judge([3.0, 3.1, 3.2], [-1.0, -1.1, -1.2])
    assert verdict == "contradicted" and seeds is None
    assert why == "1 of 2 intervals lies below 0 after correction for 2 of them"


def test_holms_correction_protects_a_claim_of_many_comparisons():
    # mean −2, sd 0.6: half-width 1.49 alone, 4.8 at 1 − 0.05 / 10
    low, high = [-1.4, -2.0, -2.6], [3.0, 3.1, 3.2]
    assert judge(low).verdict == "contradicted"
    verdict, why, _ = judge(low, *[high] * 9)
    assert verdict == "undecided"
    assert why.startswith("1 of 10 intervals lies below 0, but not after correction; 9 lie above 0; n ≈ ")


def test_equal_differences_on_a_small_test_set_are_not_certain():
    # one sample of 40 is 2.5 points: sd at least 0.72, half-width 12.7 · 0.72 / √2 = 6.5
    assert judge([2.5, 2.5], num=40).verdict == "undecided"
    assert judge([2.5, 2.5], num=40000).verdict == "supported"


def test_an_allowance_is_what_a_claim_may_lose_or_must_win_by():
    records, comparison = make_pair([-0.3, -0.31, -0.29], num=100_000)
    assert settle(compare(comparison, records, RULE)).verdict == "contradicted"
    allowed = compare(comparison | {"allowance": 0.5}, records, RULE)
    assert settle(allowed).verdict == "supported"
    assert allowed.comparison["mean"] == pytest.approx(0.2)
    assert format_comparison(allowed.comparison).startswith("−0.30 [−0.32, −0.28] (allowed: −0.5)")
    for record in records.values():
        visits = 400 if record["run"]["id"] in comparison["better"] else 1000
        record["training"]["sample_visits"], record["selection"]["sample_visits"] = visits + record["run"]["seed"], 0
    cheaper = comparison | {"metric": "total_visits", "higher_is_better": False}
    halved, third = (compare(cheaper | {"allowance": -math.log(factor)}, records, RULE) for factor in (2, 3))
    assert [settle(found).verdict for found in (halved, third)] == ["supported", "contradicted"]
    assert math.exp(halved.comparison["mean"]) == pytest.approx(2.5 / 2, rel=1e-2)
    text = format_comparison(halved.comparison)
    assert text.startswith("0.40× the cost of Random [") and text.endswith("(claimed: at most 0.50×)")


def test_one_seed_is_undecided_and_no_comparison_was_not_asked():
    assert judge([1.0]) == ("undecided", "the comparison has fewer than 2 seeds", None)
    assert settle() == ("not asked", "nothing to compare at this scale", None)


def test_unavailable_claims_are_undecided_whatever_the_numbers():
    records, comparison = make_pair([3.0, 3.1, 3.2])
    found = settle(compare(comparison, records, RULE), unavailable="rl_selector is not built yet")
    assert found == ("undecided", "rl_selector is not built yet", None)


def test_a_hole_never_supports_but_does_not_hide_a_contradiction():
    records, comparison = make_pair([3.0, 3.1, 3.2])
    missing = comparison["better"][0]
    del records[missing]
    hole = compare(comparison, records, RULE)
    assert hole.comparison["mean"] is None
    assert hole.comparison["hole"] == f"1 of 6 runs has no value; first: {missing}: no record"
    good_records, good = make_pair([3.0, 3.1, 3.2])
    bad_records, bad = make_pair([-3.0, -3.1, -3.2])
    why = settle(hole, compare(good, good_records, RULE)).why
    assert why.startswith("1 of 2 comparisons is incomplete (1 of 6 runs has no value; first: ")
    assert settle(hole, compare(bad, bad_records, RULE)).verdict == "contradicted"


def test_what_is_not_compared_cannot_be_beaten_but_does_not_hide_a_contradiction():
    good_records, good = make_pair([3.0, 3.1, 3.2])
    bad_records, bad = make_pair([-3.0, -3.1, -3.2])
    assert settle(compare(good, good_records, RULE), not_compared=["MoSo"])[:2] == ("undecided", "not built yet, so not compared: MoSo")
    assert settle(compare(bad, bad_records, RULE), not_compared=["MoSo"]).verdict == "contradicted"


def test_sides_without_a_common_seed_are_a_hole():
    records, comparison = make_pair([1.0, 2.0])
    comparison |= {"better": comparison["better"][:1], "worse": comparison["worse"][1:]}
    assert compare(comparison, records, RULE).comparison["hole"] == "the two sides have no seed in common"


def test_worst_is_the_largest_effect_against_a_claim_however_uncertain():
    wide = {"metric": "top1", "n": 3, "mean": -2.0, "low": -5.0, "high": 1.0}
    sharp = {"metric": "top1", "n": 3, "mean": -0.5, "low": -0.6, "high": -0.4}
    once = {"metric": "top1", "n": 1, "mean": -9.0, "low": None, "high": None}
    hole = {"metric": "top1", "n": 0, "mean": None, "low": None, "high": None}
    assert find_worst([sharp, hole, once, wide]) == 3
    assert find_worst([hole, once]) == 1
    assert find_worst([hole]) is None
    dear = {"metric": "total_visits", "n": 3, "mean": -0.1}  # 10 % more against 2 points less
    assert find_worst([wide, dear]) == 1


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
    comparisons = compare_statistics(measured, measurements, RULE)
    assert [item.comparison["label"] for item in comparisons] == ["blobs: slope of cover bound", "digits: slope of cover bound"]
    assert settle(*comparisons).verdict == "contradicted"


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
    assert ", 1 not asked." in text and "| – not asked | nothing to compare at this scale |" in text
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


def test_a_difference_within_the_declared_margin_is_equivalent():
    records, comparison = make_pair([0.2, 0.25, 0.15, -0.1, 0.1][:3], num=100_000)
    assert judge_claim(make_claim(comparison), records, [], RULE)["verdict"] == "supported"  # a small difference is one
    records, comparison = make_pair([0.2, -0.15, 0.05], num=100_000)
    claim = judge_claim(make_claim(comparison | {"equivalence": 1.0}), records, [], RULE)
    assert (claim["verdict"], claim["why"]) == ("equivalent", "the interval lies within the margin of equivalence")
    assert claim["comparisons"][0]["outcome"] == "equivalent"
    undecided = judge_claim(make_claim(comparison | {"equivalence": 0.1}), records, [], RULE)
    assert undecided["verdict"] == "undecided" and undecided["seeds"] > 3
    # a margin that is allowed anyway leaves nothing to be equivalent to
    assert judge_claim(make_claim(comparison | {"equivalence": 1.0, "allowance": 0.05}), records, [], RULE)["verdict"] == "undecided"


def test_what_training_alone_rules_out_is_impossible_and_what_selection_costs_is_contradicted():
    records, comparison = make_pair([0.0, 0.0, 0.0])
    half = comparison | {"metric": "total_visits", "higher_is_better": False, "allowance": -math.log(2)}
    for record in records.values():
        is_better = record["run"]["id"] in comparison["better"]
        record["training"]["sample_visits"], record["selection"]["sample_visits"] = 560 if is_better else 1000, 0
    ruled_out = judge_claim(make_claim(half), records, [], RULE)
    assert ruled_out["verdict"] == "impossible at this scale" and ruled_out["comparisons"][0]["outcome"] == "impossible at this scale"
    for run in comparison["better"]:
        records[run]["training"]["sample_visits"], records[run]["selection"]["sample_visits"] = 300, 260
    dear = judge_claim(make_claim(half), records, [], RULE)
    assert dear["verdict"] == "contradicted" and dear["why"] == "the interval lies at or above what is claimed"


def test_a_cell_at_the_ceiling_has_no_headroom():
    records, comparison = make_pair([0.05, 0.05, 0.05], num=1000)
    for run in comparison["worse"]:
        records[run]["test"]["test"]["top1"] = 99.7
    for run, top1 in zip(comparison["better"], (99.7, 99.8, 99.6), strict=True):
        records[run]["test"]["test"]["top1"] = top1
    close = judge_claim(make_claim(comparison | {"equivalence": 0.5}), records, [], RULE)
    assert close["verdict"] == "not asked" and close["why"].startswith("no headroom")
    assert close["comparisons"][0]["outcome"] == "no headroom"
    assert judge_claim(make_claim(comparison | {"equivalence": 0.1}), records, [], RULE)["comparisons"][0]["outcome"] != "no headroom"
    for run in comparison["better"]:
        records[run]["test"]["test"]["top1"] -= 20  # a ceiling does not hide a contradiction
    assert judge_claim(make_claim(comparison | {"equivalence": 0.5}), records, [], RULE)["verdict"] == "contradicted"


def test_wall_time_is_shown_with_its_range_and_not_judged():
    records, comparison = make_pair([0.0, 0.0, 0.0])
    for record in records.values():
        record["selection"]["wall_s"] = 0.0
        record["training"]["wall_s"] = 10.0 + record["run"]["seed"] if record["run"]["id"] in comparison["better"] else 5.0
    claim = judge_claim(make_claim(comparison | {"metric": "total_wall_s", "higher_is_better": False}), records, [], RULE)
    assert claim["verdict"] == "not asked" and claim["why"].startswith("wall time is shown and not judged")
    assert format_comparison(claim["comparisons"][0]) == "2.19× the cost of Random (2.00× to 2.40× over seeds)"
    assert claim["comparisons"][0]["low"] is None


def test_the_embedding_is_charged_to_both_sides():
    records, comparison = make_pair([0.0, 0.0, 0.0])
    for record in records.values():
        is_better = record["run"]["id"] in comparison["better"]
        record["num_kept"], record["training"]["sample_visits"], record["training"]["wall_s"] = 300, 3000, 50.0 if is_better else 10.0
        record["training"]["encode_s"] = 40.0 if is_better else 0.0
        record["selection"] |= {"wall_s": 0.0 if is_better else 40.0, "sample_visits": 0.0 if is_better else 100.0}
    for metric in ("total_visits", "training_visits", "total_wall_s", "training_wall_s"):
        found = compare(comparison | {"metric": metric, "higher_is_better": False}, records, RULE)
        assert found.comparison["mean"] == pytest.approx(0.0), metric


def test_what_holds_by_construction_is_labelled_unless_records_say_otherwise():
    records, comparison = make_pair([3.0, 3.1, 3.2])
    claim = make_claim(comparison, construction="it is linear")
    assert judge_claim(claim, records, [], RULE)["verdict"] == "holds by construction"
    assert judge_claim(claim, records, [], RULE)["why"] == "it is linear"
    records, comparison = make_pair([-3.0, -3.1, -3.2])
    assert judge_claim(make_claim(comparison, construction="it is linear"), records, [], RULE)["verdict"] == "contradicted"


def make_keeps(by_keep: dict[str, list[float]]) -> tuple[dict, list[dict]]:
    """Records and comparisons of EL2N with random at several keep fractions, by their differences."""
    records, comparisons = {}, []
    for keep, differences in by_keep.items():
        for method, values in (("random", [80.0] * len(differences)), ("el2n", [80.0 + difference for difference in differences])):
            for seed, top1 in enumerate(values):
                record = make_record("digits/a-to-b", method, keep, seed)
                record["test"]["test"] = {"top1": top1, "loss": 1.0, "num": 10**9}
                records[record["run"]["id"]] = record
        comparisons.append(
            make_comparison(
                f"digits: EL2N at {100 * float(keep):g} % against Random",
                ("digits/a-to-b", "el2n", keep),
                ("digits/a-to-b", "random", keep),
            )
        )
    return records, comparisons


def test_a_claim_has_a_verdict_at_every_keep_fraction_and_one_on_their_mean():
    records, comparisons = make_keeps({"0.3": [1.0, 3.0, 2.0], "0.5": [3.0, 1.0, 2.1]})
    claim = judge_claim(make_claim(*comparisons), records, [], RULE)
    assert [(item["keep"], item["verdict"]) for item in claim["by_keep"]] == [("0.3", "undecided"), ("0.5", "undecided")]
    (mean,) = claim["means"]
    assert mean["label"] == "digits: EL2N against Random, mean over 30 %, 50 %"
    assert mean["mean"] == pytest.approx((2.0 + 2.0333333) / 2) and mean["n"] == 3
    assert (claim["verdict"], claim["why"]) == ("supported", "the mean over keep fractions lies above 0")
    records, comparisons = make_keeps({"0.3": [9.0, 9.1, 9.2], "0.5": [-2.0, -2.01, -1.99]})
    claim = judge_claim(make_claim(*comparisons), records, [], RULE)
    assert claim["verdict"] == "contradicted" and [item["verdict"] for item in claim["by_keep"]] == ["supported", "contradicted"]
    assert claim["why"] == "1 of 2 intervals lies below 0 after correction for 2 of them"


def test_two_things_must_hold_together_at_the_best_keep_fraction():
    records, comparisons = make_keeps({"0.3": [-3.0, -3.1, -3.2], "0.5": [0.1, 0.12, 0.11]})
    visits = [item | {"metric": "total_visits", "higher_is_better": False, "allowance": -math.log(2)} for item in comparisons]
    allowed = [item | {"allowance": 0.5} for item in comparisons]
    for record in records.values():
        is_better = record["run"]["method"] == "el2n"
        record["training"]["sample_visits"], record["selection"]["sample_visits"] = 300 if is_better else 1000, 0
    claim = make_claim(*allowed, *visits, scope="best")
    judged = judge_claim(claim, records, [], RULE)
    assert judged["verdict"] == "supported"
    assert judged["why"] == "everything holds at 50 % kept, after correction for 2 keep fractions"
    assert [item["verdict"] for item in judged["by_keep"]] == ["contradicted", "supported"]
    for record in records.values():
        if record["run"]["keep"] == "0.5":
            record["training"]["sample_visits"] = 1000
    assert judge_claim(claim, records, [], RULE)["verdict"] == "contradicted"
    for record in records.values():
        record["training"]["sample_visits"] = 1000
    assert judge_claim(claim, records, [], RULE)["verdict"] == "impossible at this scale"


def test_stability_is_the_spread_over_keep_fractions_and_not_the_level():
    records, comparisons = make_keeps({"0.3": [-20.0, -20.1, -20.2], "0.5": [-20.0, -20.1, -20.2], "0.7": [-20.0, -19.9, -20.0]})
    for record in records.values():
        if record["run"]["method"] == "random":
            record["test"]["test"]["top1"] += 30 * float(record["run"]["keep"]) + 0.1 * record["run"]["seed"]
    spread = comparisons[0] | {"form": "spread", "keep": None}
    spread |= {side: [run for item in comparisons for run in item[side]] for side in ("better", "worse")}
    claim = judge_claim(make_claim(spread), records, [], RULE)
    assert claim["verdict"] == "supported" and claim["by_keep"] == []
    # the standard deviation of 9, 15 and 21 is 6, of the others about 0.1
    assert claim["comparisons"][0]["mean"] == pytest.approx(6.0, abs=0.15)


def test_a_loss_may_be_claimed_to_grow_between_two_keep_fractions():
    records, comparisons = make_keeps({"0.3": [4.0, 4.1, 4.2], "0.5": [1.0, 1.1, 1.0]})
    low, high = comparisons
    change = low | {"form": "change", "than_better": high["better"], "than_worse": high["worse"]}
    claim = judge_claim(make_claim(change), records, [], RULE)
    assert claim["verdict"] == "supported" and claim["comparisons"][0]["mean"] == pytest.approx(9.2 / 3)


def test_a_policy_may_be_held_to_its_keep_fraction_even_if_it_missed_it():
    records, comparison = make_pair([0.0, 0.0, 0.0])
    near = comparison | {"form": "bound", "bound": 1.0, "metric": "keep_error", "worse": [], "against": None, "higher_is_better": False}
    for run in near["better"]:
        trajectory = records[run]["selection"]["trajectory"]
        trajectory["chosen_epoch"] = 2
        trajectory["kept_fraction"] = [0.9, 0.304 + 0.0001 * records[run]["run"]["seed"], 0.3, 0.9, 0.9]
    claim = judge_claim(make_claim(near), records, [], RULE)
    assert claim["verdict"] == "supported" and claim["comparisons"][0]["mean"] == pytest.approx(0.59)
    for run in near["better"]:
        records[run]["status"] = "failed"
        records[run]["failure"] = {"reason": "the policy never came near", "log_tail": ""}
        trajectory = records[run]["selection"]["trajectory"]
        trajectory |= {"chosen_epoch": None, "kept_fraction": [0.9, 0.8, 0.5, 0.36 + 0.001 * records[run]["run"]["seed"], 0.7]}
    missed = judge_claim(make_claim(near), records, [], RULE)
    assert missed["verdict"] == "contradicted" and missed["comparisons"][0]["hole"] is None


def open_pairs(rule: Rule, *sets: list[float], **others: object) -> list[tuple[str, str]]:
    """The opponents and keep fractions that keep a claim undecided; each set holds the differences to one opponent at two fractions."""
    records, comparisons = {}, []
    for place, differences in enumerate(sets):
        for keep, values in zip(("0.3", "0.7"), (differences[::2], differences[1::2]), strict=True):
            found, comparison = make_pair(values)
            renamed = {f"{place}/{keep}/{run}": row | {"run": row["run"] | {"id": f"{place}/{keep}/{run}"}} for run, row in found.items()}
            sides = {side: [f"{place}/{keep}/{run}" for run in comparison[side]] for side in ("better", "worse")}
            records |= renamed
            comparisons.append(comparison | sides | {"against": f"opponent {place}", "keep": keep})
    return [(item["against"], item["keep"]) for item in list_open(make_claim(*comparisons, **others), records, rule)]


def test_what_keeps_a_claim_undecided_is_what_is_not_shown():
    good, unclear, bad = [3.0, 3.1, 3.2, 2.9, 3.1, 3.0], [0.1, -3.0, 2.0, 1.0, -2.0, 3.0], [-1.0, -1.1, 0.9, -1.0, -1.1, -3.0]
    # means over keep fractions are asked: both fractions of an opponent are open or neither
    assert open_pairs(RULE, good, unclear, bad) == [(f"opponent {place}", keep) for place in (1, 2) for keep in ("0.3", "0.7")]
    assert open_pairs(RULE, good) == []
    # at the best keep fraction, only the closest one
    half = [3.0, 0.1, 3.1, -3.0, 3.0, 2.0]
    assert open_pairs(RULE, half, [3.0, 1.0, 0.1, 1.0, 2.9, 1.0], scope="best") == [("opponent 1", "0.3")]


def test_a_claim_is_judged_at_every_look_that_its_seeds_reach():
    rule = Rule(0.95, (4, 8))
    clear = [3.0, 3.1, 2.9, 3.0]
    records, comparison = make_pair(clear)
    assert judge_claim(make_claim(comparison), records, [], rule)["verdict"] == "supported"  # at the first look
    records, comparison = make_pair([*clear, -9.0, 9.0, -9.0, 8.0])
    assert judge_claim(make_claim(comparison), records, [], rule)["verdict"] == "supported"  # whatever comes after it
    assert judge_claim(make_claim(comparison), records, [], RULE)["verdict"] == "undecided"
    weak = [1.0, 1.2, 0.3, 0.6]  # decides at 95 %, but not with half of the error rate
    records, comparison = make_pair(weak)
    assert judge_claim(make_claim(comparison), records, [], RULE)["verdict"] == "supported"
    early = judge_claim(make_claim(comparison), records, [], rule)
    assert early["verdict"] == "undecided" and early["seeds"] > 4
    low, high = early["comparisons"][0]["low"], early["comparisons"][0]["high"]
    assert low < 0 < high  # the interval spends what the look spends
    records, comparison = make_pair([*weak, *weak])
    assert judge_claim(make_claim(comparison), records, [], rule)["verdict"] == "supported"
    records, comparison = make_pair([*weak, 9.0])  # seeds between two looks wait for the next one
    assert judge_claim(make_claim(comparison), records, [], rule)["comparisons"][0]["n"] == 4


def test_a_verdict_on_added_seeds_says_how_often_it_was_looked_at():
    spec, records = make_claims_spec(), by_id(make_records())
    once = make_verdict(spec, [], records)
    assert "looks" not in once and "spends a share" not in render_markdown(once)
    often = make_verdict(spec | {"looks": [5, 10, 20]}, [], records)
    assert "judged again, with 5, 10 and 20 seeds. Each look spends a share of the error rate" in render_markdown(often)


def test_three_seeds_are_too_few_where_another_arithmetic_changes_results():
    records, comparison = make_pair([3.0, 3.1, 2.9])
    assert judge_claim(make_claim(comparison), records, [], RULE)["verdict"] == "supported"
    judged = judge_claim(make_claim(comparison | {"least_seeds": 5}), records, [], RULE)
    assert (judged["verdict"], judged["seeds"]) == ("undecided", 5)
    assert judged["why"] == (
        "the comparison has fewer than the 5 seeds that methods need whose results another arithmetic changes; n ≈ 5 seeds would decide"
    )
    records, comparison = make_pair([3.0, 3.1, 2.9, 3.0, 3.0])
    assert judge_claim(make_claim(comparison | {"least_seeds": 5}), records, [], RULE)["verdict"] == "supported"
    # numbers of sample visits are the same everywhere
    records, comparison = make_pair([0.0, 0.0, 0.0])
    for record in records.values():
        record["training"]["sample_visits"] = 500 if record["run"]["id"] in comparison["better"] else 1000
    cheaper = comparison | {"metric": "training_visits", "higher_is_better": False, "least_seeds": 5}
    assert judge_claim(make_claim(cheaper), records, [], RULE)["verdict"] == "supported"
    # what contradicts a claim elsewhere still does
    three, bad = make_pair([3.0, 3.1, 2.9])[1], [-5.0, -5.1, -4.9, -5.0, -5.0]
    records, worse = make_pair(bad)
    both = make_claim(three | {"least_seeds": 5}, worse | {"against": "another"})
    assert judge_claim(both, records, [], RULE)["verdict"] == "contradicted"

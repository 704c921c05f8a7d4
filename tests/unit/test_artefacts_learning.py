"""An agent against its twin that never learns: what is told of it, in tables and in claims."""

import pytest
from artefact_fixtures import DIGITS, by_id, make_comparison, make_record, make_records, make_table_spec

from selectbench.artefacts.claims import judge_claim
from selectbench.artefacts.decisions import Rule
from selectbench.artefacts.learning import assess_learning, describe_learning, find_idle
from selectbench.artefacts.tables import fill_table, render_latex, render_markdown

RULE = Rule(0.95)
LEARNER = {"method": "moderate", "twin": "el2n", "published_updates": 39200}


def make_agents(own: list[float], twin: list[float], quantity: str = "regret", updates: int | None = 406) -> dict[str, dict]:
    """Records of an agent and of its twin on digits, with a value of the quantity by seed, at two keep fractions."""
    records = by_id(make_records())
    for method, values in (("moderate", own), ("el2n", twin)):
        for keep in ("0.3", "0.5"):
            for seed, value in enumerate(values):
                record = make_record(DIGITS, method, keep, seed)
                trajectory = record["selection"]["trajectory"]
                del trajectory["regret"]
                trajectory["chosen_epoch"] = 3
                trajectory[quantity] = [0.5, 0.5, value, 0.5, None] if quantity == "regret" else [0.5, 0.5, 0.5, value, None]
                if updates is not None:
                    trajectory["updates"] = [updates // 5 * epoch for epoch in range(1, 5)] + [updates if method == "moderate" else 0]
                records[record["run"]["id"]] = record
    return records


def test_an_agent_that_is_no_better_than_its_twin_did_not_learn():
    learning = assess_learning(make_agents([0.94, 0.97, 0.91], [0.96, 0.93, 0.99]), LEARNER, "digits")
    assert learning.outcome == "did not learn"
    assert describe_learning(learning) == "agent not shown to learn (regret 0.94 against 0.96 of its twin; 406 of 39,200 updates)"


def test_lower_regret_and_higher_merit_are_learning():
    assert assess_learning(make_agents([0.3, 0.32, 0.28], [0.96, 0.93, 0.99]), LEARNER, "digits").outcome == "learnt"
    assert assess_learning(make_agents([0.96, 0.93, 0.99], [0.3, 0.32, 0.28]), LEARNER, "digits").outcome == "did not learn"
    learnt = assess_learning(make_agents([0.6, 0.62, 0.58], [0.0, 0.1, -0.1], "merit", updates=None), LEARNER, "digits")
    assert learnt.outcome == "learnt"
    assert describe_learning(learnt) == "agent learnt (merit 0.60 against 0.00 of its twin)"
    worse = assess_learning(make_agents([-0.6, -0.62, -0.58], [0.0, 0.1, -0.1], "merit"), LEARNER, "digits")
    assert describe_learning(worse).startswith("agent did not learn (merit −0.60 against 0.00 of its twin")


def test_a_search_is_compared_by_the_proxy_loss_of_its_choice():
    records = make_agents([0.5, 0.52, 0.48], [0.9, 0.92, 0.93], updates=None)
    for record in records.values():
        if record["selection"].get("trajectory", {}).get("regret"):
            record["selection"]["trajectory"]["proxy_loss"] = record["selection"]["trajectory"].pop("regret")
    learning = assess_learning(records, LEARNER, "digits")
    assert describe_learning(learning) == "agent learnt (proxy loss 0.50 against 0.92 of its twin)"


def test_without_a_twin_or_its_columns_nothing_is_said():
    records = make_agents([0.94, 0.97, 0.91], [0.96, 0.93, 0.99])
    for learner, dataset in ((LEARNER | {"twin": "random"}, "digits"), (LEARNER, "blobs")):
        unknown = assess_learning(records, learner, dataset)
        assert unknown.outcome == "unknown" and describe_learning(unknown) == ""
    assert assess_learning(make_agents([0.94], [0.96]), LEARNER | {"twin": "random"}, "digits").outcome == "unknown"
    assert find_idle(records, [], ["digits"]) == {}


@pytest.mark.parametrize(("own", "verdict"), [([0.94, 0.97, 0.91], "not asked"), ([0.3, 0.32, 0.28], "supported")])
def test_a_claim_about_learning_is_not_asked_of_an_agent_that_did_not_learn(own, verdict):
    records = make_agents(own, [0.96, 0.93, 0.99])
    comparison = make_comparison("digits: Moderate-DS against EL2N", (DIGITS, "moderate", "0.3"), (DIGITS, "el2n", "0.3"))
    claim = {"id": "it", "statement": "It learns.", "by": "paper", "source": "abstract", "table": "main", "unavailable": None}
    claim |= {"not_compared": [], "scope": "every", "construction": None, "learners": [LEARNER], "comparisons": [comparison]}
    judged = judge_claim(claim, records, [], RULE)
    assert judged["verdict"] == verdict
    if verdict == "not asked":
        assert judged["why"] == "agent not shown to learn (regret 0.94 against 0.96 of its twin; 406 of 39,200 updates)"
        # another method of the same claim is still asked
        other = make_comparison("digits: Random against EL2N", (DIGITS, "random", "0.3"), (DIGITS, "el2n", "0.3"))
        both = judge_claim(claim | {"comparisons": [comparison, other]}, records, [], RULE)
        assert both["verdict"] == "supported" and len(both["comparisons"]) == 1
        assert both["why"].endswith("; not asked of another data set or method: " + judged["why"])


@pytest.mark.parametrize(
    ("presumed", "verdict", "why"),
    [
        (("moderate", "el2n"), "supported", "the interval lies above 0"),
        (("el2n", "moderate"), "not asked", "digits: it helps is not shown to be better: −5.22 [−6.62, −3.83]"),
    ],
)
def test_a_claim_is_not_asked_where_what_it_presumes_is_not_shown(presumed, verdict, why):
    records = by_id(make_records())
    asked = make_comparison("digits: Moderate-DS against EL2N", (DIGITS, "moderate", "0.3"), (DIGITS, "el2n", "0.3"))
    first, second = ((DIGITS, method, "0.3") for method in presumed)
    claim = {"id": "it", "statement": "It pays.", "by": "paper", "source": "abstract", "table": "main", "unavailable": None}
    claim |= {"not_compared": [], "scope": "every", "construction": None, "learners": [], "comparisons": [asked]}
    judged = judge_claim(claim | {"provided": [make_comparison("digits: it helps", first, second)]}, records, [], RULE)
    assert (judged["verdict"], judged["why"]) == (verdict, why)
    # a run that is missing leaves open whether it holds, so the claim is asked
    hole = make_comparison("digits: it helps", ("nowhere", "el2n", "0.3"), ("nowhere", "moderate", "0.3"))
    assert judge_claim(claim | {"provided": [hole]}, records, [], RULE)["verdict"] == "supported"


def test_rows_of_an_agent_that_did_not_learn_say_so_where_it_did_not():
    note = "agent not shown to learn (regret 0.94 against 0.96 of its twin; 406 of 39,200 updates)"
    table = fill_table(make_table_spec() | {"learners": [LEARNER]}, make_agents([0.94, 0.97, 0.91], [0.96, 0.93, 0.99]))
    (mark,) = [item["mark"] for item in table["footnotes"] if item["text"] == note]
    assert f"| Moderate-DS<sup>{mark}</sup> |" in render_markdown(table)
    assert rf"Moderate-DS\textsuperscript{{{mark}}} &" in render_latex(table)
    marked = [(panel["id"], row["id"]) for panel in table["panels"] for row in panel["rows"] if row.get("footnotes")]
    assert marked == [("digits", "moderate")]
    learnt = fill_table(make_table_spec() | {"learners": [LEARNER]}, make_agents([0.3, 0.32, 0.28], [0.96, 0.93, 0.99]))
    assert note not in render_markdown(learnt) and "Moderate-DS<sup>" not in render_markdown(learnt)

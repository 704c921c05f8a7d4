"""README shows the committed verdicts and the number of runs in the plan."""

import json
import re

import pytest
import yaml

from selectbench.artefacts.readme import find_shown, refresh_verdicts
from selectbench.errors import ConfigError
from selectbench.planning.plan import load_plan


@pytest.fixture
def readme(root) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def read_verdicts(root, committed, scale: str) -> tuple[dict, dict]:
    """Return the committed verdicts of all papers, and the papers' names."""
    papers = yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))["papers"]
    verdicts = {paper: json.loads((committed / f"results/{scale}/{paper}/verdict.json").read_text(encoding="utf-8")) for paper in papers}
    titles = {paper: yaml.safe_load((root / f"config/papers/{paper}.yaml").read_text(encoding="utf-8"))["title"] for paper in papers}
    return verdicts, titles


def test_the_verdicts_are_those_committed(root, committed):
    readme = (committed / "README.md").read_text(encoding="utf-8")
    scale, papers = find_shown(readme)
    verdicts, titles = read_verdicts(root, committed, scale)
    assert papers == set(verdicts)
    assert refresh_verdicts(readme, verdicts, titles) == readme, "README's table of verdicts is stale: run `make figures`"


def test_a_changed_verdict_makes_it_stale_and_is_counted():
    text = "before\n<!-- verdicts tiny: a/one -->\nold\n<!-- end of verdicts -->\nafter\n"
    claims = [
        {
            "id": "one",
            "by": "paper",
            "verdict": "supported",
            "statement": "One.",
            "why": "no agent learnt",
            "worst": None,
            "comparisons": [],
        },
        {"id": "two", "by": "field", "verdict": "undecided", "statement": "Two.", "why": "", "worst": None, "comparisons": []},
    ]
    fresh = refresh_verdicts(text, {"a": {"claims": claims}}, {"a": "A"})
    assert fresh.startswith("before\n<!-- verdicts tiny: a/one -->\n")
    assert fresh.endswith("<!-- end of verdicts -->\nafter\n")
    assert "| [A](results/tiny/a/verdict.md) | 1 claimed by the paper | 1 | 0 | 0 | 0 |" in fresh
    assert "| [A](results/tiny/a/verdict.md) | 1 added by this benchmark | 0 | 0 | 0 | 1 |" in fresh
    assert "| A: One. | ✓ supported | no agent learnt |" in fresh
    assert "Two." not in fresh
    assert refresh_verdicts(fresh, {"a": {"claims": claims}}, {"a": "A"}) == fresh
    unasked = [claim | {"verdict": "not asked"} for claim in claims]
    told = refresh_verdicts(text, {"a": {"claims": unasked}}, {"a": "A"})
    assert "| 1 added by this benchmark; 1 – not asked | 0 | 0 | 0 | 0 |" in told
    open_ = [claims[0] | {"verdict": "undecided", "seeds": 14}, claims[1] | {"verdict": "holds by construction"}]
    told = refresh_verdicts(text, {"a": {"claims": open_}}, {"a": "A"})
    assert "| A: One. | ? undecided (n ≈ 14) |" in told and "| 1 added by this benchmark; 1 ≡ holds by construction |" in told
    claims[0]["verdict"] = "contradicted"
    assert refresh_verdicts(fresh, {"a": {"claims": claims}}, {"a": "A"}) != fresh
    with pytest.raises(ConfigError, match="unknown claim 'a/one' in the marker of its verdicts; did you mean 'a/ones'"):
        refresh_verdicts(text, {"a": {"claims": [claims[0] | {"id": "ones"}]}}, {"a": "A"})


def test_a_page_without_the_marker_is_left_alone():
    assert refresh_verdicts("text", {}, {}) == "text"
    assert find_shown("text") is None


def test_its_parts_stand_in_order(readme):
    parts = [
        "<!-- verdicts ",
        "![",
        "## Two commands",
        "make reproduce",
        "make test",
        "## What you get",
        "## What a scale costs",
        "## Read on",
    ]
    places = [readme.index(part) for part in parts]
    assert places == sorted(places)
    sentence = readme.split("\n\n")[1]
    assert sentence.endswith(".")
    assert ". " not in sentence


def test_runs_of_every_scale_are_those_planned(root, readme):
    shown = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| ([\d,]+) \|", readme, flags=re.MULTILINE)
    assert {name for name, _ in shown} == {path.stem for path in (root / "config/scale").glob("*.yaml")}
    for scale, runs in shown:
        assert f"{len(load_plan(root, {'scale': scale}).runs):,}" == runs, scale

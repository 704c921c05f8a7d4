"""Seeds are added to an undecided claim, run, and counted, by one command; the same configuration then plans nothing more."""

import json

import yaml

from conftest import Project, copy_project
from selectbench.records.records import read_records

CLAIM = {"method": ["random_dynamic"], "against": ["full"], "metric": "top1", "margin": 0.5, "keep": [0.5]}


def make_deciding_project(root, target) -> Project:
    """Copy the project and reduce it to one claim about one method that selects during training, with two seeds and four at most."""
    project = copy_project(root, target, "data_agent")
    project.edit("config/scale/smoke.yaml", "seeds: [0, 1]", "seeds: [0, 1]\ndecide: {most: 4}")
    name = "config/papers/data_agent.yaml"
    paper = yaml.safe_load(project.path(name).read_text(encoding="utf-8"))
    paper["tables"] = {"dynamic": paper["tables"]["dynamic"]}
    paper["tables"]["dynamic"]["where"] |= {"dataset": ["cifar10"], "method": ["random_dynamic"], "keep": [0.5]}
    paper["figures"], paper["claims"] = {}, {"lossless": paper["claims"]["lossless"] | {"compare": CLAIM}}
    project.path(name).write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")
    return project


def test_a_claim_gets_seeds_until_there_are_no_more(root, tmp_path):
    project = make_deciding_project(root, tmp_path)
    result = project.run("selectbench", "decide", "--minutes", "10", "--cores", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 of 1 claim undecided at scale smoke" in result.stdout
    assert "data_agent/lossless: " in result.stdout and "4 seeds next, 4 runs in" in result.stdout
    added = yaml.safe_load(project.path("config/seeds/smoke.yaml").read_text(encoding="utf-8"))
    assert set(added.values()) == {4} and {cell.split("/")[3] for cell in added} == {"full", "random_dynamic"}
    rows = list(read_records(project.path("results/smoke/data_agent/records.jsonl.gz")).values())
    seeds = {
        method: {row["run"]["seed"] for row in rows if row["run"]["method"] == method} for method in ("full", "random_dynamic", "random")
    }
    assert seeds == {"full": {0, 1, 2, 3}, "random_dynamic": {0, 1, 2, 3}, "random": {0, 1}}
    verdict = json.loads(project.path("results/smoke/data_agent/verdict.json").read_text(encoding="utf-8"))
    assert [claim["n"] for claim in verdict["claims"]] == ["4"]
    table = json.loads(project.path("results/smoke/data_agent/tables/dynamic.cells.json").read_text(encoding="utf-8"))
    assert {len(cell["runs"]) for panel in table["panels"] for row in panel["rows"] for cell in row["cells"].values()} == {2}
    assert project.jobs() == {}
    again = project.run("selectbench", "decide", "--minutes", "0")
    assert again.returncode == 0 and "chosen" not in again.stdout

"""Runs made elsewhere are not run again: after an import, Snakemake plans what is missing and nothing else, and the tables are the same."""

import csv
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from conftest import Project, cut_project, make_project
from selectbench.records.records import read_records

OUT = "results/smoke"
MADE = {"prepare_data", "train_replicates", "score_samples", "select_subsets", "train_targets", "evaluate_targets"}
ARTEFACTS = {"all", "collect_records", "make_table", "judge_claims", "draw_figure", "build_page", "build_front_page"}
COMMITTED = ("data_agent", "rl_selector", "theory", "times")  # folders of results that git keeps


def run_records(project: Project, *arguments: object) -> str:
    """Run ``selectbench records`` and return what it prints last."""
    result = project.run(sys.executable, "-m", "selectbench.cli", "records", *map(str, arguments))
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()[-1]


def run_workflow(project: Project) -> None:
    result = project.snakemake()
    assert result.returncode == 0, result.stderr[-4000:]


def read_tables(project: Project) -> dict[str, list[dict[str, str]]]:
    """Return the rows of every table, without costs, which are measured in seconds."""
    tables = {}
    for path in sorted(project.path(OUT).glob("*/tables/*.csv")):
        with open(path, newline="", encoding="utf-8") as stream:
            rows = [{name: value for name, value in row.items() if not re.search(r"_cost$", name)} for row in csv.DictReader(stream)]
        tables[path.relative_to(project.root).as_posix()] = rows
    return tables


def list_trained(project: Project) -> set[str]:
    """Return the runs that have weights, which an import does not bring."""
    runs = project.path(OUT) / "runs"
    return {path.parent.relative_to(runs).as_posix() for path in runs.rglob("model.pt")}


@pytest.fixture(scope="module")
def parts(root, tmp_path_factory) -> tuple[Path, Path]:
    """Bundles of two workflows, one for each of two seeds."""
    folder = tmp_path_factory.mktemp("parts")
    for seed in (0, 1):
        project = cut_project(root, folder / f"seed-{seed}", f"[{seed}]")
        run_workflow(project)
        assert run_records(project, "export", "--output", folder / f"{seed}.zip").endswith("4 runs of scale smoke")
    return folder / "0.zip", folder / "1.zip"


def test_a_clone_with_imported_runs_makes_artefacts_alone_and_the_same_tables(finished, root, tmp_path):
    run_records(finished, "export", "--output", tmp_path / "all.zip")
    clone = make_project(root, tmp_path / "clone")
    for name in COMMITTED:
        shutil.copytree(finished.path(f"{OUT}/{name}"), clone.path(f"{OUT}/{name}"), ignore=shutil.ignore_patterns("*.pdf", "*.png"))
    runs = len(list(finished.path(OUT).glob("runs/**/train.json")))
    assert run_records(clone, "import", tmp_path / "all.zip") == f"{runs} runs imported, 0 already here, 0 refused, 0 conflicts"
    planned = clone.jobs()
    assert planned
    assert not set(planned) & MADE
    run_workflow(clone)
    assert clone.jobs() == {}
    tables = {path.relative_to(finished.root): path.read_bytes() for path in finished.path(OUT).glob("*/tables/*.csv")}
    assert tables
    assert {name: clone.path(str(name)).read_bytes() for name in tables} == tables
    assert not list_trained(clone)
    rows = read_records(clone.path(f"{OUT}/rl_selector/records.jsonl.gz"))
    assert {row["imported"]["file"] for row in rows.values()} == {"all.zip"}


def test_two_partial_runs_give_the_tables_of_one_whole_run(finished_table, root, parts, tmp_path):
    project = cut_project(root, tmp_path / "merged", "[0, 1]")
    run_records(project, "merge", *parts, "--output", tmp_path / "both.zip")
    assert run_records(project, "import", tmp_path / "both.zip") == "8 runs imported, 0 already here, 0 refused, 0 conflicts"
    assert set(project.jobs()) <= ARTEFACTS
    run_workflow(project)
    assert read_tables(project) == read_tables(finished_table)
    assert read_tables(project)[f"{OUT}/rl_selector/tables/main.csv"]
    assert not list_trained(project)


def test_a_seed_is_added_to_imported_ones(root, parts, tmp_path):
    project = cut_project(root, tmp_path / "project", "[0]")
    prepared = project.run(sys.executable, "-m", "selectbench.cli", "data", "prepare", "digits")
    assert prepared.returncode == 0, prepared.stderr
    run_records(project, "import", parts[0])
    assert set(project.jobs()) <= ARTEFACTS
    project.edit("config/scale/smoke.yaml", "seeds: [0]", "seeds: [0, 1]")
    planned = project.jobs()
    assert {rule: planned[rule] for rule in MADE & set(planned)} == {
        **{"train_replicates": 1, "score_samples": 4, "select_subsets": 4},  # of the added seed
        **{"train_targets": 1, "evaluate_targets": 1},  # whose only batch holds the runs of both seeds
    }
    run_workflow(project)
    assert {run.rpartition("/")[2] for run in list_trained(project)} == {"seed-1"}
    assert len(list_trained(project)) == 4
    assert project.jobs() == {}


def test_a_changed_recipe_is_not_hidden_by_imported_runs(root, parts, tmp_path):
    project = cut_project(root, tmp_path / "project", "[0]")
    run_records(project, "import", parts[0])
    assert set(project.jobs()) <= ARTEFACTS
    path = project.path("config/recipes.yaml")
    recipes = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipes["digits_smoke"]["epochs"] += 1
    path.write_text(yaml.safe_dump(recipes, sort_keys=False), encoding="utf-8")
    assert {"train_replicates", "train_targets", "evaluate_targets"} <= set(project.jobs())
    result = project.run(sys.executable, "-m", "selectbench.cli", "records", "import", "--dry-run", str(parts[0]))
    assert result.returncode == 1
    assert re.search(r"^refused: (code|recipe: differs in epochs): .*: 4 runs, first ", result.stdout, flags=re.MULTILINE)

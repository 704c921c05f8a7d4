"""Subsets that other code has chosen: their file, the rows that they get, and what is refused."""

import shutil

import numpy as np
import pytest

from selectbench.data.subset_files import Place, read_subset_file
from selectbench.errors import ConfigError, DataError
from selectbench.planning.plan import load_plan
from selectbench.policy import count_kept, parse_keep
from selectbench.stages._subsets import find_scores, find_subset
from selectbench.stages.read_subsets import ReadSubsets

POOL = 896  # digits
LINE = "mine: {title: Mine, subsets: subsets/mine.csv, cost: {wall_s: 60, sample_visits: 1000}}\n"


def list_lines(places, ids=None):
    """Return a CSV with k ids of each place."""
    rng = np.random.default_rng(0)
    lines = ["dataset,keep,seed,id"]
    for dataset, keep, seed in places:
        chosen = rng.permutation(POOL)[: count_kept(keep, POOL)] if ids is None else ids
        lines += [f"{dataset},{keep},{seed},{sample}" for sample in chosen]
    return "\n".join(lines) + "\n"


@pytest.fixture
def project(root, tmp_path):
    """A copy of the configuration in which other code has chosen subsets of digits."""
    shutil.copytree(root / "config", tmp_path / "config")
    shutil.copytree(root / "workflow/schemas", tmp_path / "workflow/schemas")
    methods = tmp_path / "config/methods.yaml"
    methods.write_text(methods.read_text(encoding="utf-8") + LINE, encoding="utf-8")
    (tmp_path / "subsets").mkdir()
    (tmp_path / "subsets/mine.csv").write_text(
        list_lines([("digits", "0.2", 0), ("digits", "0.20", 1), ("digits", "0.4", 0)]), encoding="utf-8"
    )
    return tmp_path


def test_csv_and_arrays_give_the_same_subsets_in_the_order_of_the_file(tmp_path):
    text = "id,seed,keep,dataset\n5,0,0.5,a\n3,0,0.50,a\n7,1,0.5,a\n3,0,0.25,b\n4,0,0.5,a\n"
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    found = read_subset_file(tmp_path / "a.csv", "a.csv")
    half = parse_keep("0.5")
    assert {place: ids.tolist() for place, ids in found.items()} == {
        Place("a", half, 0): [5, 3, 4],
        Place("a", half, 1): [7],
        Place("b", parse_keep("0.25"), 0): [3],
    }
    np.savez(
        tmp_path / "a.npz", id=[5, 3, 7, 3, 4], seed=[0, 0, 1, 0, 0], keep=[0.5, 0.5, 0.5, 0.25, 0.5], dataset=["a", "a", "a", "b", "a"]
    )
    again = read_subset_file(tmp_path / "a.npz", "a.npz")
    assert {place: ids.tolist() for place, ids in again.items()} == {place: ids.tolist() for place, ids in found.items()}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "", "a.txt: cannot be read as subsets; give a .csv or .npz file"),
        ("b.csv", "dataset,keep,sed,id\na,0.5,0,1\n", "b.csv: the column 'seed' is missing; did you mean 'sed'?"),
        ("b.csv", "dataset,keep,seed,id\n", "b.csv: dataset, keep, seed, id should be equally long and not empty, not of 0, 0, 0, 0"),
        ("b.csv", "dataset,keep,seed,id\na,0.5,0,-1\n", "b.csv: id: '-1' is not a whole number from 0"),
        ("b.csv", "dataset,keep,seed,id\na,0.5,x,1\n", "b.csv: seed: 'x' is not a whole number from 0"),
        ("b.csv", "dataset,keep,seed,id\na,1.5,0,1\n", "b.csv: keep: '1.5' is outside (0, 1]"),
        ("c.npz", "no archive", "c.npz: not an .npz of arrays"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_subset_file(tmp_path / name, name)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("places", "ids", "said"),
    [
        ([("digit", "0.2", 0)], None, "subsets/mine.csv: dataset: unknown 'digit'; did you mean 'digits'?"),
        ([("digits", "0.2", 0)], range(3), "subsets/mine.csv: digits, keep 0.2, seed 0: holds 3 samples instead of 179"),
        ([("digits", "0.2", 0)], [1] * 179, "subsets/mine.csv: digits, keep 0.2, seed 0: sample 1 is there 179 times"),
        ([("digits", "0.2", 0)], range(800, 979), "digits, keep 0.2, seed 0: there is no sample 978; the pool has 896, from 0 to 895"),
    ],
)
def test_subsets_that_do_not_fit_their_pool_are_refused_before_work_starts(project, places, ids, said):
    (project / "subsets/mine.csv").write_text(list_lines(places, ids), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_plan(project)
    assert str(caught.value).startswith("config/methods.yaml: mine.subsets: ") and said in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mine: {title: Mine, subsets: subsets/mine.csv}\n", "cost"),
        ("mine: {title: Mine, subsets: subsets/mine.csv, method: el2n, cost: {wall_s: 1, sample_visits: 1}}\n", "mine.method"),
        (
            "mine: {title: Mine, subsets: subsets/none.csv, cost: {wall_s: 1, sample_visits: 1}}\n",
            "subsets/none.csv: No such file or directory",
        ),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(project, line, said):
    methods = project / "config/methods.yaml"
    methods.write_text(methods.read_text(encoding="utf-8").replace(LINE, line), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_plan(project)
    assert str(caught.value).startswith("config/methods.yaml: mine") and said in str(caught.value)


def test_the_method_has_a_row_where_its_data_set_is_and_no_job_beside_its_own(project):
    plan = load_plan(project, {"scale": "smoke"})
    rows = {panel["id"] for spec in plan.tables.values() for panel in spec["panels"] if "mine" in [row["id"] for row in panel["rows"]]}
    assert rows == {"digits"}
    assert "mine" in {row["id"] for row in plan.tables["rl_selector", "main"]["panels"][0]["rows"]}
    run = next(run for run in plan.runs.values() if run.method == "mine")
    assert run.proxy == "none" and find_scores(plan, run) is None and isinstance(find_subset(plan, run).job, ReadSubsets)
    (project / "subsets/mine.csv").write_text(list_lines([("digits", "0.2", 0)]), encoding="utf-8")
    changed = load_plan(project, {"scale": "smoke"})
    assert find_subset(plan, run).job.specify(plan)["sha256"] != find_subset(changed, run).job.specify(changed)["sha256"]

"""Repeated trainings: which runs are timed, in which order, and that a repeat is the training of its run."""

import pytest

from selectbench.planning.plan import load_plan
from selectbench.stages.make_table import MakeTable
from selectbench.stages.time_trainings import TimeTrainings, take_turns


@pytest.fixture(scope="module")
def plan(root):
    return load_plan(root, {"scale": "tiny"})


def test_every_table_of_costs_is_timed_panel_by_panel(plan):
    assert [(job.dataset, job.target) for job in TimeTrainings.list_of(plan, "data_agent", "cost")] == [("digits", "convnet")]
    assert [(job.dataset, job.target) for job in TimeTrainings.list_of(plan, "cluster_mdp", "cost")] == [("tweets", "minilm_head")]
    assert list(TimeTrainings.list_of(plan, "data_agent", "dynamic")) == []
    assert len(MakeTable("data_agent", "cost").list_inputs(plan)["times"]) == 1
    assert MakeTable("data_agent", "dynamic").list_inputs(plan)["times"] == []


def test_one_seed_of_every_cell_is_timed(plan):
    job = TimeTrainings("data_agent", "cost", "digits", "convnet")
    runs = job.list_timed(plan)
    cells = [cell for panel in plan.tables["data_agent", "cost"]["panels"] for row in panel["rows"] for cell in row["cells"].values()]
    assert {run.seed for run in runs} == {0}
    assert {run.id for run in runs} == {cell["runs"][0] for cell in cells}
    spec = job.specify(plan)
    assert spec["repeats"] == plan.config.scale["repeats"]
    assert [run["id"] for run in spec["runs"]] == [run.id for run in runs]
    assert all((run["subset"] is None) == plan.config.is_dynamic(run["method"]) for run in spec["runs"])


def test_a_scale_without_repeats_times_nothing(root):
    plan = load_plan(root, {"scale": "small"})
    assert list(TimeTrainings.list_of(plan, "data_agent", "cost")) == []


def test_rounds_go_there_and_back():
    assert list(take_turns("abc", 3)) == list("abc" + "cba" + "abc")

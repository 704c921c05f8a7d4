"""The command by which `selectbench status` says that a failed run is tried again."""

import shlex
from pathlib import Path

import pytest

from selectbench.evidence.retries import describe_retry
from selectbench.planning.plan import load_plan
from selectbench.records.records import write_record
from selectbench.stages._subsets import find_subset

MANIFEST = "results/smoke/batches/train/digits/0.json"


@pytest.fixture
def plan(root, tmp_path):
    return load_plan(root, {"scale": "smoke", "results": f"{tmp_path}/my results", "papers": ["rl_selector", "data_agent"]})


def find_run(plan, method):
    return next(run for run in plan.runs.values() if run.method == method)


def write_choice(plan, run, failure):
    """Write the record of the job that chooses a run's subset, and return the job's files."""
    job = find_subset(plan, run).job
    write_record(Path(job.find_output(plan, job.record)), {"status": "ok", "subsets": {run.keep: {"failure": failure}}})
    return list(job.list_outputs(plan).values())


def test_a_run_whose_training_failed_is_trained_again(plan):
    run = find_run(plan, "el2n")
    settings = shlex.join(["scale=smoke", 'papers=["rl_selector", "data_agent"]', f"results={plan.layout.root}"])
    again = f"snakemake --cores 2 --config {settings}"
    assert describe_retry(plan, run, [MANIFEST]) == f"to retry: rm -f {MANIFEST} && {again}"
    write_choice(plan, run, None)
    assert describe_retry(plan, run, [MANIFEST, "a b"]) == f"to retry: rm -f {MANIFEST} 'a b' && {again}"
    assert describe_retry(plan, find_run(plan, "infobatch"), [MANIFEST]).startswith("to retry: ")


def test_a_subset_that_was_not_found_is_chosen_anew(plan):
    run = find_run(plan, "rl_selector_threshold")
    assert describe_retry(plan, run, [MANIFEST]).startswith("to retry: ")
    files = write_choice(plan, run, "the policy never came near")
    told = describe_retry(plan, run, [MANIFEST])
    command = shlex.join([*files, MANIFEST])
    assert told.startswith("a result of the method, which the same settings and code give again; ")
    assert f": rm -rf {command} && snakemake --cores 2 " in told
    assert any(" " in file for file in files)

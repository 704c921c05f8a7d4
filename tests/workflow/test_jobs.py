"""The jobs counted in costs and schedules are those that Snakemake runs, with the same inputs."""

import pytest

from selectbench.costs.recorded import read_note
from selectbench.planning.jobs import list_jobs
from selectbench.planning.plan import load_plan


@pytest.mark.parametrize("name", ["finished", "finished_texts"])
def test_jobs_are_those_that_snakemake_ran(request, monkeypatch, name):
    project = request.getfixturevalue(name)
    monkeypatch.chdir(project.root)
    plan = load_plan(project.root)
    for job in list_jobs(plan).values():
        for output in job.outputs:
            note = read_note(output)
            assert note["rule"] == job.rule, output
            assert sorted(note["input"]) == sorted(job.inputs), output
            assert note["log"] == [job.stage.find_log(plan)], output

"""Times of files: whatever order a copy was written in, contents decide what is up to date."""

import os
from pathlib import Path

import pytest

from selectbench.evidence.damage import MOST_HASHED
from selectbench.evidence.times import find_time, settle_times
from selectbench.planning.jobs import list_jobs
from selectbench.planning.plan import load_plan
from selectbench.records.files import digest_file, read_sealed, write_sealed, write_text
from selectbench.records.records import write_record

RULES = ("prepare_data", "train_proxy", "score_samples", "select_subsets")  # each reads what those before it wrote
NOON = 1_700_000_000 * 10**9


def write_outputs(plan, job, number):
    """Write the files of a job as if it had run at a time of its own."""
    record = Path(job.stage.find_output(plan, job.stage.record))
    others = [path for path in map(Path, job.outputs) if path != record]
    for path in others:
        if not path.exists():
            write_text(path, f"{path}\n")
    inputs = job.stage.list_input_paths(plan)
    made_from = {name: [digest_file(Path(path)) for path in paths] for name, paths in inputs.items()}
    write_record(record, {"status": "ok", "made_from": made_from, "sha256": {path.name: digest_file(path) for path in others}})
    for path in (*others, record):
        os.utime(path, ns=(NOON + number, NOON + number))


@pytest.fixture
def results(root, tmp_path):
    """Two seeds of one method, from prepared data to subsets: the plan and its jobs."""
    plan = load_plan(root, {"scale": "smoke", "results": f"{tmp_path}/results", "resources": f"{tmp_path}/resources"})
    jobs = {
        name: job
        for name, job in list_jobs(plan).items()
        if job.rule in RULES
        and job.stage.wildcards["dataset"] == "digits"
        and job.stage.wildcards.get("proxy", "convnet") == "convnet"
        and job.stage.wildcards.get("method", "el2n_single") == "el2n_single"
    }
    assert [job.rule for job in jobs.values()].count("select_subsets") == 2
    for number, job in enumerate(jobs.values()):
        write_outputs(plan, job, number)
    return plan, jobs


def list_times(jobs):
    return {path: os.stat(path).st_mtime_ns for job in jobs.values() for path in job.outputs}


def assert_in_order(jobs):
    for job in jobs.values():
        newest = max([0, *(find_time(Path(path)) for path in job.inputs)])
        assert all(os.stat(path).st_mtime_ns >= newest for path in job.outputs)


def find_job(jobs, rule):
    return next(job for job in jobs.values() if job.rule == rule)


def test_times_in_order_are_left_alone(results):
    plan, jobs = results
    before = list_times(jobs)
    assert settle_times(plan, jobs) == []
    assert list_times(jobs) == before


def test_a_copy_in_another_order_gets_times_in_order(results):
    plan, jobs = results
    contents = {path: Path(path).read_bytes() for path in list_times(jobs)}
    for number, path in enumerate(sorted(list_times(jobs))):
        os.utime(path, ns=(NOON - number, NOON - number))
    assert settle_times(plan, jobs)
    assert_in_order(jobs)
    assert {path: Path(path).read_bytes() for path in contents} == contents
    assert settle_times(plan, jobs) == []


def test_contents_of_any_size_decide(results):
    plan, jobs = results
    scored, chosen = find_job(jobs, "score_samples"), find_job(jobs, "select_subsets")
    large = Path(scored.stage.find_output(plan, "scores"))
    with open(large, "ab") as stream:
        stream.truncate(MOST_HASHED + 1)
    for number, job in enumerate((scored, chosen)):
        write_outputs(plan, job, 100 + number)
    os.utime(large, ns=(NOON + 200, NOON + 200))
    assert settle_times(plan, jobs) == [chosen.outputs[0]]
    assert_in_order(jobs)


def test_what_was_made_from_other_contents_stays_outdated(results):
    plan, jobs = results
    scored, chosen = find_job(jobs, "score_samples"), find_job(jobs, "select_subsets")
    scores = Path(scored.stage.find_output(plan, "scores"))
    write_text(scores, "others\n")
    write_outputs(plan, scored, 200)
    before = list_times(jobs)
    assert settle_times(plan, jobs) == []
    assert list_times(jobs) == before
    assert all(os.stat(path).st_mtime_ns < scores.stat().st_mtime_ns for path in chosen.outputs)
    record = Path(chosen.stage.find_output(plan, chosen.stage.record))
    write_sealed(record, {name: value for name, value in read_sealed(record).items() if name != "made_from"})
    os.utime(record, ns=(NOON, NOON))
    assert settle_times(plan, jobs) == []  # as after an import, whose records name no inputs


def test_links_into_a_cache_count_with_their_targets(results, tmp_path):
    plan, jobs = results
    scored, chosen = find_job(jobs, "score_samples"), find_job(jobs, "select_subsets")
    for output in scored.outputs:
        kept = tmp_path / "cache" / Path(output).name
        kept.parent.mkdir(exist_ok=True)
        os.rename(output, kept)
        os.symlink(kept, output)
        os.utime(kept, ns=(NOON + 300, NOON + 300))
    assert settle_times(plan, jobs)
    assert_in_order(jobs)
    for output in chosen.outputs:
        os.unlink(output)
        os.symlink(tmp_path / "purged", output)
    assert settle_times(plan, jobs) == []  # what is gone is made again

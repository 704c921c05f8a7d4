"""Jobs that are forked from a warm process make the same files as jobs that Python starts, and leave no process behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import Project, cut_project, duplicate, strip_time_and_host

OUT = "results/smoke"
TELL = "    import os, sys\n    print('started by', open(f'/proc/{os.getppid()}/cmdline').read().replace(chr(0), ' '), file=sys.stderr)\n"
STAGES = ("prepare_data", "train_replicates", "score_samples", "select_subsets", "train_targets", "evaluate_targets")


def make_project(root: Path, target: Path) -> Project:
    """Copy the project with one table; its stages tell who started them."""
    project = cut_project(root, target, "[0, 1]")
    for stage in STAGES:
        project.edit(
            f"src/selectbench/stages/{stage}.py",
            "    arguments = parse_arguments(__doc__",
            f"{TELL}    arguments = parse_arguments(__doc__",
        )
    return project


@pytest.fixture(scope="module")
def warm(root, tmp_path_factory) -> Project:
    """A project whose jobs were forked from warm processes."""
    project = make_project(root, tmp_path_factory.mktemp("warm"))
    result = project.snakemake()
    assert result.returncode == 0, result.stderr[-4000:]
    return project


@pytest.fixture(scope="module")
def fresh(warm, tmp_path_factory) -> Project:
    """The same project whose jobs Python started."""
    project = duplicate(warm, tmp_path_factory.mktemp("fresh") / "copy")
    for name in ("results", "resources", ".snakemake"):
        shutil.rmtree(project.path(name))
    result = project.snakemake("--config", "warm_start=False")
    assert result.returncode == 0, result.stderr[-4000:]
    return project


def list_starts(project: Project) -> list[bool]:
    """Tell of every job that says so whether it was forked from a warm process."""
    logs = [path.read_text(encoding="utf-8") for folder in (OUT, "resources") for path in project.path(folder).rglob("*.log")]
    return ["_warm_process" in line for text in logs for line in re.findall(r"^started by .*$", text, flags=re.MULTILINE)]


def test_all_jobs_are_forked_unless_that_is_turned_off(warm, fresh):
    starts = list_starts(warm), list_starts(fresh)
    assert len(starts[0]) == len(starts[1]) > len(STAGES)
    assert all(starts[0]) and not any(starts[1])


def test_jobs_make_the_same_files_however_they_start(warm, fresh):
    paths = [path.relative_to(warm.root) for folder in (OUT, "resources") for path in warm.path(folder).rglob("*")]
    compared = 0
    for path in sorted(path for path in paths if "state" not in path.parts):
        made, again = (project.root / path for project in (warm, fresh))
        if path.suffix in (".npz", ".npy", ".pt"):
            assert made.read_bytes() == again.read_bytes(), path
            compared += 1
        elif path.name in ("train.json", "evaluate.json"):
            assert drop_times(made) == drop_times(again), path
            compared += 1
    assert compared > 20


def drop_times(path: Path) -> object:
    record = strip_time_and_host(json.loads(path.read_text(encoding="utf-8")))
    record.pop("made_from", None)
    return record


def list_processes(project: Project) -> list[int]:
    """List the processes that work in a project's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(project.root):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("how", ["group", "polite", "alone"])
def test_a_killed_workflow_leaves_no_process_behind(warm, tmp_path, how):
    """A workflow that is killed alone leaves its jobs, which end by themselves; so do their keepers, and the warm processes at once."""
    project = duplicate(warm, tmp_path / "copy")
    shutil.rmtree(project.path(OUT))
    log = tmp_path / "said.txt"
    with open(log, "w", encoding="utf-8") as said:
        process = subprocess.Popen(
            ["snakemake", "--cores", "2"], cwd=project.root, env=project.environment(), stdout=said, stderr=said, start_new_session=True
        )
    while not any("started by" in path.read_text(encoding="utf-8") for path in project.root.rglob("*.log") if "replicates" in str(path)):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    if how == "alone":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL if how == "group" else signal.SIGTERM)
    process.wait()
    while list_processes(project):
        time.sleep(0.05)


def test_a_workflow_of_few_jobs_starts_no_warm_process(warm, tmp_path):
    project = duplicate(warm, tmp_path / "copy")
    scores, log = (
        project.path(f"{OUT}/{folder}/digits/convnet/el2n/seed-0.{kind}") for folder, kind in (("scores", "npz"), ("logs/score", "log"))
    )
    scores.unlink()
    log.unlink()
    result = project.snakemake("--", str(scores.relative_to(project.root)))
    assert result.returncode == 0, result.stderr[-3000:]
    started = log.read_text(encoding="utf-8")
    assert "started by" in started and "_warm_process" not in started

"""The workflow is killed at random moments and its disk fills up, yet it always ends as if nothing had happened."""

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from test_workflow import read_rows

from conftest import DYNAMIC, Project, make_project, strip_time_and_host
from selectbench.evidence.damage import read_stamp
from selectbench.records.files import read_sealed, write_sealed

OUT = "results/smoke"
RUNS = 4 + 3 + len(DYNAMIC)
STARTING = ["group"] * 5 + ["polite"] * 2 + ["alone"] * 2  # ways to end a workflow that has started no job yet, or only just
WORKING = ["group"] * 6 + ["polite"] * 3 + ["alone"] * 2  # … of one at work
FULL = 2
PLACE = "digits/convnet/early_replicates"
DELAYS_S = {False: (0.3, 3.5), True: (0.5, 6.5)}  # after the start, after the first job
ROOM_MB = 256


def cut_project(root: Path, target: Path) -> Project:
    """Copy the project and keep one static method with its proxy, dynamic ones, their controls, and one seed."""
    project = make_project(root, target)
    project.edit("config/scale/smoke.yaml", "seeds: [0, 1]", "seeds: [0]")
    for name, table, kept in (("rl_selector", "main", ["el2n"]), ("data_agent", "dynamic", DYNAMIC)):
        path = project.path(f"config/papers/{name}.yaml")
        paper = yaml.safe_load(path.read_text(encoding="utf-8"))
        paper["tables"] = {table: paper["tables"][table]}
        paper["tables"][table]["where"] |= {"method": kept, "keep": [0.5]}
        paper |= {"figures": {}, "claims": {}}
        path.write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")
    methods = project.path("config/methods.yaml")
    lines = methods.read_text(encoding="utf-8").splitlines(keepends=True)
    methods.write_text(
        "".join(line for line in lines if "control" in line or line.partition(":")[0] in ["el2n", *DYNAMIC]), encoding="utf-8"
    )
    return project


@dataclass
class Disk:
    """A small file system in memory that can be filled up to the last page."""

    root: Path

    def resize(self, size: int) -> bool:
        return subprocess.run(["mount", "-o", f"remount,size={size}", self.root], capture_output=True, check=False).returncode == 0

    def fill(self) -> None:
        """Fill the disk; files written meanwhile may take a page or two."""
        for _ in range(20):
            state = os.statvfs(self.root)
            if self.resize((state.f_blocks - state.f_bfree) * state.f_frsize):
                return
        raise AssertionError("the disk cannot be filled")

    def grow(self) -> None:
        assert self.resize(ROOM_MB << 20)


@dataclass
class History:
    """The history of a workflow: its interruptions, and how often it ended before one came."""

    project: Project
    disk: Disk | None
    interruptions: Counter = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)  # groups whose jobs continue without their Snakemake

    def finished_records(self) -> dict[Path, bytes]:
        """Path → content of the records of finished runs."""
        found = {path: path.read_bytes() for path in self.project.path(f"{OUT}/runs").rglob("train.json")}
        return {path: content for path, content in found.items() if json.loads(content)["status"] == "ok"}

    @property
    def log(self) -> Path:
        return self.project.root.with_name("said.txt")

    def start(self) -> subprocess.Popen:
        command, environment = ["snakemake", "--cores", "2"], self.project.environment()
        with open(self.log, "a", encoding="utf-8") as said:
            process = subprocess.Popen(command, cwd=self.project.root, env=environment, stdout=said, stderr=said, start_new_session=True)
        return process

    def interrupt(self, how: str, working: bool, delay_s: float) -> bool:
        """Start the workflow and end it in one way some time after its start or its first job; return False if it finished first."""
        before, said = self.finished_records(), self.log.stat().st_size if self.log.exists() else 0
        process = self.start()
        while working and process.poll() is None and b"Execute" not in self.log.read_bytes()[said:]:
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay_s)
        if process.poll() == 0:
            return False
        assert process.poll() is None, process.returncode
        if how == "full":
            self.disk.fill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=6)
            kill_group(process.pid)
            process.wait()
            self.disk.grow()
        elif how == "polite":
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
        else:
            os.kill(process.pid, signal.SIGKILL) if how == "alone" else os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.orphans += [process.pid] * (how == "alone")
        self.interruptions[how] += 1
        self.note_lost(before)
        return True

    def note_lost(self, before: dict[Path, bytes]) -> None:
        """Note the finished runs whose records have changed."""
        after = self.finished_records()
        self.lost += [str(path) for path, content in before.items() if after.get(path) != content]


def kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A separate file system, or None where mounting is not permitted."""
    root = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_MB << 20}", "selectbench-test", root]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    yield Disk(root)
    subprocess.run(["umount", "--lazy", root], check=True)


@pytest.fixture(scope="module")
def history(root, disk, tmp_path_factory):
    """A workflow that was interrupted repeatedly at random moments and finally finished."""
    place = disk.root if disk else tmp_path_factory.mktemp("kills")
    history, draws = History(cut_project(root, place / "project"), disk), random.Random(20260)
    ways = [(how, False) for how in STARTING] + [(how, True) for how in WORKING + ["full"] * (FULL if disk else 0)]
    draws.shuffle(ways)
    try:
        for how, working in ways:
            delay_s = draws.uniform(*DELAYS_S[working])
            while not history.interrupt(how, working, delay_s):
                subprocess.run(["rm", "-r", history.project.path(OUT)], check=True)  # it ended first: start over
        before = history.finished_records()
        process = history.start()
        assert process.wait(timeout=600) == 0, history.log.read_text(encoding="utf-8")[-4000:]
        history.note_lost(before)
        history.said = history.log.read_text(encoding="utf-8").splitlines()
        yield history
    finally:
        for group in history.orphans:
            kill_group(group)


def test_a_workflow_killed_at_twenty_moments_ends_and_repeats_no_finished_run(history):
    assert sum(history.interruptions[how] for how in ("group", "polite", "alone")) >= 20
    assert history.lost == []
    assert history.project.jobs() == {}
    assert not any("Error: Directory cannot be locked" in line or "--unlock" in line for line in history.said)


def test_the_records_are_those_of_an_unbroken_run(history, finished):
    num = 0
    for paper in ("rl_selector", "data_agent"):
        whole = read_rows(finished, paper)
        for run, row in read_rows(history.project, paper).items():
            broken, unbroken = strip_time_and_host(row), strip_time_and_host(whole[run])
            assert broken.pop("test")["test"] == unbroken.pop("test")["test"]
            for record in (broken, unbroken):
                del record["evaluation"]  # there it is tested on more test sets
            assert broken == unbroken
            num += 1
    assert num == RUNS
    signals, unbroken_signals = (project.path(f"{OUT}/replicates/{PLACE}/seed-0.npz") for project in (history.project, finished))
    assert signals.read_bytes() == unbroken_signals.read_bytes()


def test_a_full_disk_costs_no_finished_run(history):
    if history.disk is None:
        pytest.skip("a small file system can be mounted by root only, and not in every container")
    assert history.interruptions["full"] == FULL
    assert any("No space left on device" in line for line in history.said)


def test_a_subset_that_was_damaged_is_told_before_the_workflow_starts(history):
    """The start is refused with the file's name; once the file is whole, only the run that was missing is done."""
    project = history.project
    subset = project.path(f"{OUT}/subsets/digits/convnet/el2n/seed-0.npz")
    record = project.path(f"{OUT}/runs/digits/convnet-to-resnet8/equal_epochs/el2n/keep-0.5/seed-0/train.json")
    content, times = subset.read_bytes(), subset.stat()
    subset.write_bytes(content[:100])
    os.utime(subset, ns=(times.st_atime_ns, times.st_mtime_ns))
    record.unlink()
    project.path(f"{OUT}/batches/train/digits/resnet8/equal_epochs/0.json").unlink()
    result = project.snakemake()
    assert result.returncode != 0
    assert f"{subset.relative_to(project.root)}: edited or damaged" in result.stderr and "to repair: rm -rf " in result.stderr
    assert not record.exists()
    subset.write_bytes(content)
    os.utime(subset, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = project.snakemake()
    assert result.returncode == 0, result.stderr[-3000:]
    assert record.exists()


def test_what_status_prints_retries_a_run_whose_data_were_unreadable(history):
    """A file vanishes: its run fails, the rest finishes, strict tables refuse, partial ones show a hole, and one command repairs it.

    The check at the start would tell of the file; it is passed off as checked, as one is that is damaged after the start.
    """
    project = history.project
    assert project.snakemake("--dry-run").returncode == 0
    run = "digits/convnet-to-resnet8/equal_epochs/el2n/keep-0.5/seed-0"
    subset = project.path(f"{OUT}/subsets/digits/convnet/el2n/seed-0.npz")
    record = project.path(f"{OUT}/runs/{run}/train.json")
    content, times, before = subset.read_bytes(), subset.stat(), json.loads(record.read_text(encoding="utf-8"))
    subset.write_bytes(content[:100])
    os.utime(subset, ns=(times.st_atime_ns, times.st_mtime_ns))
    inventory = project.path(f"{OUT}/state/inventory.json")
    known = read_sealed(inventory)
    known["digests"][str(subset.relative_to(project.root))][0] = read_stamp(subset)
    write_sealed(inventory, known)
    record.unlink()
    project.path(f"{OUT}/batches/train/digits/resnet8/equal_epochs/0.json").unlink()
    result = project.snakemake()
    assert result.returncode != 0
    assert "rl_selector/main: 1 of 4 runs has no value" in result.stderr
    assert project.path(f"{OUT}/data_agent/tables/dynamic.md").exists()
    status = project.run("selectbench", "status", "--scale", "smoke").stdout
    assert "rl_selector/main: 3 of 4 runs done, 1 failed" in status and "data_agent/dynamic: 6 of 6 runs done\n" in status
    told = rf"^failed: {run}: (\S+): does not match the SHA-256 in seed-0.json; .*\n  to retry: (.*)$"
    name, command = re.search(told, status, flags=re.MULTILINE).groups()
    assert name == str(subset.relative_to(project.root))
    result = project.snakemake("--config", "partial=True")
    assert result.returncode == 0, result.stderr[-3000:]
    table = project.path(f"{OUT}/rl_selector/tables/main.md").read_text(encoding="utf-8")
    assert re.search(r"1 of 1 seed failed \(0\): \S+/seed-0.npz: does not match the SHA-256 in seed-0.json", table)
    subset.write_bytes(content)
    os.utime(subset, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = project.run("bash", "-c", command)
    assert result.returncode == 0, result.stderr[-3000:]
    assert strip_time_and_host(json.loads(record.read_text(encoding="utf-8"))) == strip_time_and_host(before)
    assert "failed" not in project.run("selectbench", "status").stdout

"""A disk that is full: every stage says so in one line, and once there is space again, nothing that was done is done again."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import Project, cut_project, duplicate
from selectbench.planning.jobs import list_jobs, load_stages
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import to_json

OUT = "results/smoke"
ROOM = 64 << 20
FREE = 150 << 10  # bytes: one of four trained models takes 96 KiB
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))  # as many as Python writes to see whether a temporary folder takes files
os.execvp(sys.argv[1], sys.argv[1:])
"""
FULL_SHM = "mount -t tmpfs -o size=4k none /dev/shm && head -c 4096 /dev/zero > /dev/shm/file"
TOLD = re.compile(r"error: (?P<file>\S+): (File too large|only part of it could be written); it takes [\d,]+ bytes")


@pytest.fixture(scope="module")
def finished_projects(finished, finished_texts, tmp_path_factory) -> list[Project]:
    """Copies of both finished projects, which together run every stage."""
    place = tmp_path_factory.mktemp("copies")
    return [duplicate(finished, place / "images"), duplicate(finished_texts, place / "texts")]


def read_contents(folder: Path) -> dict[Path, bytes]:
    """Path → content of every file below a folder, save the states of progress."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def find_option(project: Project, stage: str) -> bool:
    """Tell whether a stage takes its specification as an option; others read it from standard input."""
    rules = "".join(path.read_text(encoding="utf-8") for path in project.path("workflow/rules").glob("*.smk"))
    assert f"selectbench.stages.{stage} " in rules
    return f"selectbench.stages.{stage} --spec" in rules


@pytest.mark.parametrize("stage", load_stages())
def test_every_stage_that_cannot_write_says_so_in_one_line(finished_projects, monkeypatch, stage):
    """A file may have four bytes, which is told by the same call as a full disk."""
    for project in finished_projects:
        monkeypatch.chdir(project.root)
        plan = load_plan(project.root)
        job = next((job.stage for job in list_jobs(plan).values() if job.stage.name == stage), None)
        if job is not None:
            break
    else:
        pytest.skip("neither of the two projects has such a job")
    files = {name: [path] for name, path in job.list_outputs(plan).items()} | job.list_input_paths(plan)
    options = [word for name, paths in files.items() for word in (f"--{name}", *paths)]
    spec, by_option = to_json(job.specify(plan)), find_option(project, stage)
    command = [sys.executable, "-m", f"selectbench.stages.{stage}", *(["--spec", spec] if by_option else []), *options]
    before = read_contents(project.path("results"))
    piped = ("sh", "-c", 'spec=$1; shift; printf %s "$spec" | "$@"', "sh", spec)
    result = project.run(sys.executable, "-c", LIMITED, *piped, *command)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert len(errors) == 1 and TOLD.match(errors[0]), result.stderr
    after = read_contents(project.path("results"))
    assert {path for path in after if after[path] != before.get(path)} == set()


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory that only the commands see which are run with it."""

    project: Project
    root: Path
    keeper: subprocess.Popen

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command in the project's folder."""
        entered = ("nsenter", "--target", str(self.keeper.pid), "--user", "--mount", "sh", "-c", 'cd "$1" && shift && exec "$@"', "sh")
        return self.project.run(*entered, str(self.project.root), *command)

    def resize(self, size: int) -> None:
        """Let files take this many bytes."""
        assert self.run("mount", "-o", f"remount,size={size}", str(self.root)).returncode == 0

    def leave(self, free: int) -> None:
        """Shrink the file system until few bytes are free."""
        used = self.run(sys.executable, "-c", f"import shutil; print(shutil.disk_usage({str(self.root)!r}).used)")
        self.resize(int(used.stdout) + free)

    def read_all(self, pattern: str) -> dict[str, str]:
        """Path → content, in hexadecimal, of files below the results."""
        code = (
            "import json, pathlib; "
            f"print(json.dumps({{str(p): p.read_bytes().hex() for p in pathlib.Path({OUT!r}).glob({pattern!r}) if p.is_file()}}))"
        )
        return json.loads(self.run(sys.executable, "-c", code).stdout)


@pytest.fixture
def small_disk(root, tmp_path) -> Iterator[SmallDisk]:
    """The smallest project, whose results are on a file system of their own, and whose commands find a full /dev/shm."""
    project = cut_project(root, tmp_path / "project", "[0]")
    results = project.path("results")
    results.mkdir()
    mounted = f"mount -t tmpfs -o size={ROOM} none {shlex.quote(str(results))} && {FULL_SHM} && echo ready && exec cat"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as keeper:
        if keeper.stdout.readline() != "ready\n":
            pytest.skip("nothing can be mounted here")
        yield SmallDisk(project, results, keeper)
        keeper.stdin.close()


def test_a_workflow_goes_on_once_there_is_space_again(small_disk):
    first = small_disk.run("snakemake", "--cores", "2", "--until", "select_subsets")
    assert first.returncode == 0, first.stderr
    small_disk.leave(FREE)
    before = small_disk.read_all("**/*.npz")
    full = small_disk.run("snakemake", "--cores", "1")
    told = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert full.returncode != 0 and "Traceback" not in full.stderr, full.stderr
    expected = rf"error: {OUT}/\S+: No space left on device; it takes [\d,]+ bytes, [\d,]+ bytes are free"
    assert told and all(re.fullmatch(expected, line) for line in told), full.stderr
    done = small_disk.read_all("runs/**/train.json")
    assert 0 < len(done) < 4 and {json.loads(bytes.fromhex(content))["status"] for content in done.values()} == {"ok"}
    assert not [path for path in small_disk.read_all("runs/**/*") if Path(path).name.startswith(".")]
    small_disk.resize(ROOM)
    last = small_disk.run("snakemake", "--cores", "2")
    assert last.returncode == 0, last.stderr
    now = small_disk.read_all("**/*")
    assert {path: now.get(path) for path in before | done} == before | done
    assert len(small_disk.read_all("runs/**/train.json")) == 4

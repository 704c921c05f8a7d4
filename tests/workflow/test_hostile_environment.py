"""The workflow in an environment where nothing is as usual, all at once: names, locale, permissions, limits, folders and times."""

import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import Project, cut_project

PLACE = b"my 'own' \"work\" ~ \xc3\xbc $HOME\nsecond line \xff {dataset}"  # of the checkout: no UTF-8, and a shell's own characters
RESULTS = "my results 'ü' ~ #1"
OPEN_FILES = 128
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
HOUSES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")
UNSET = ("PYTHONUTF8", "PYTHONIOENCODING", "LANG", "LC_CTYPE", "TMP", "TEMP", "TEMPDIR")


@dataclass(frozen=True)
class Hostile:
    """A copy of the project, and what stands around it."""

    project: Project
    elsewhere: Path  # another repository, where commands are started
    temporary: Path

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in self.project.environment().items() if name not in UNSET}
        nowhere = f"{self.elsewhere / 'file'}/no folder"  # below a file: nobody can make it, root included
        return kept | dict.fromkeys(HOUSES, nowhere) | {"LC_ALL": "C", "TMPDIR": str(self.temporary)}

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
        """Run a command, from the other repository if nothing else is said, with few open files, a narrow umask and no /dev/shm."""
        limited = f'umask 077; ulimit -n {OPEN_FILES}; exec "$@"'
        hidden = ("unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh")
        bare = hidden if has_namespaces() else ()
        streams = {"capture_output": True, "encoding": "utf-8", "errors": "surrogateescape"}
        command = (*bare, "sh", "-c", limited, "sh", *command)
        return subprocess.run(command, cwd=cwd or self.elsewhere, env=self.environment(), check=False, timeout=900, **streams)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        root = self.project.root
        return self.run("snakemake", "--cores", "2", "--snakefile", str(root / "Snakefile"), "--directory", str(root), *arguments)


def has_namespaces() -> bool:
    """Tell whether this machine lets a test mount something over /dev/shm that only its commands see."""
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/dev/shm"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def commit_all(folder: Path) -> str:
    """Make a folder a repository with one commit, and return its name."""
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "all")):
        subprocess.run([*GIT, *command], cwd=folder, check=True, capture_output=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def copy_in_disorder(folder: Path) -> None:
    """Put a copy in a folder's place, whose files' times have nothing to do with when they were made."""
    original = folder.rename(folder.with_name("original"))
    shutil.copytree(original, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    order = random.Random(0).sample(range(len(files)), len(files))
    for path, hour in zip(files, order, strict=True):
        os.utime(path, (10**9 + 3600 * hour,) * 2)


@pytest.fixture(scope="module")
def hostile(root, tmp_path_factory) -> Hostile:
    around = tmp_path_factory.mktemp("around")
    project = cut_project(root, around / os.fsdecode(PLACE), "[0]")
    project.edit("config/config.yaml", "results: results", f"results: {json.dumps(RESULTS, ensure_ascii=False)}")
    elsewhere, temporary = around / "another repository", around / "temporary 'files'"
    for folder in (elsewhere, temporary):
        folder.mkdir()
    (elsewhere / "file").write_text("no folder", encoding="utf-8")
    commit_all(elsewhere)
    return Hostile(project, elsewhere, temporary)


def test_the_smallest_workflow_runs_in_a_hostile_environment(hostile):
    commit = commit_all(hostile.project.root)
    result = hostile.snakemake()
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert "Logging error" not in result.stderr
    records = sorted(hostile.project.path(RESULTS).glob("smoke/runs/**/*.json"))
    told = [json.loads(path.read_text(encoding="utf-8"))["provenance"] for path in records]
    assert told and {(each["commit"], each["dirty"]) for each in told} == {(commit, False)}  # not that of the folder it was started from
    assert {path.stat().st_mode & 0o077 for path in hostile.project.path(RESULTS).rglob("*")} == {0}
    for command, said in (
        (("status",), "4 of 4 runs done"),
        (("verify", "--minutes", "0"), "agrees"),
        (("data", "check", "digits"), "present and intact"),
    ):
        answer = hostile.run("selectbench", *command, cwd=hostile.project.root)
        assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout
        assert said in answer.stdout
    again = hostile.snakemake()
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr
    copy_in_disorder(hostile.project.path(RESULTS))
    again = hostile.snakemake()
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr

"""The commit of a record is that of the project, wherever a command was started."""

import os
import re
import subprocess
import sys

import pytest

from selectbench.records.provenance import read_commit

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b")


def commit_all(folder):
    """Make a repository of a folder and return its only commit."""
    for command in (("init", "-q"), ("add", "."), (*IDENTITY, "commit", "-qm", "all")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, encoding="utf-8")
    return found.stdout.strip()


def make_package(folder):
    package = folder / "src/selectbench"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder without settings of git."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    read_commit.cache_clear()
    yield
    read_commit.cache_clear()


def test_the_folder_and_variables_of_another_repository_make_no_difference(tmp_path, monkeypatch):
    project = make_package(tmp_path / "my project")
    commit = commit_all(project)
    other = make_package(tmp_path / "other")
    assert commit_all(other) is not None
    (other / "src/selectbench/__init__.py").write_text("1\n", encoding="utf-8")
    monkeypatch.chdir(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert read_commit(project) == (commit, False)
    (project / "src/selectbench/__init__.py").write_text("2\n", encoding="utf-8")
    read_commit.cache_clear()
    assert read_commit(project) == (commit, True)


def test_a_package_that_lies_in_another_repository_has_no_commit(tmp_path, capfd):
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / ".gitignore").write_text(".venv\n", encoding="utf-8")
    project = make_package(repository / ".venv/lib")
    commit_all(repository)
    assert read_commit(project) == (None, None)
    assert read_commit(make_package(tmp_path / "nowhere")) == (None, None)
    assert capfd.readouterr().err == ""


def test_dubious_ownership_is_told_with_what_mends_it(tmp_path, monkeypatch, capfd):
    project = make_package(tmp_path / "their project")
    commit = commit_all(project)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert read_commit(project) == (None, None)
    told = capfd.readouterr().err
    assert (
        told.startswith(f"{project}: records will name no commit, since git finds the ownership dubious; run `") and told.count("\n") == 1
    )
    command = re.search(r"run `(.*)`$", told.strip())[1]
    subprocess.run(["bash", "-c", command], check=True)
    read_commit.cache_clear()
    assert read_commit(project) == (commit, False)
    assert capfd.readouterr().err == ""


def test_a_process_started_elsewhere_names_this_project(root, tmp_path):
    asked = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, encoding="utf-8", check=False)
    other = make_package(tmp_path / "other")
    commit_all(other)
    program = "from selectbench.records.provenance import read_commit; print(read_commit()[0])"
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    found = subprocess.run([sys.executable, "-c", program], cwd=other, env=environment, capture_output=True, encoding="utf-8", check=True)
    assert found.stdout.strip() == (asked.stdout.strip() if asked.returncode == 0 else "None")

"""All ways to set up the project name the same packages."""

import re
import tomllib

import yaml


def read_lock(root) -> dict[str, str]:
    text = (root / "requirements.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", text, flags=re.MULTILINE))


def read_project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_lock_holds_every_dependency_with_hashes_and_no_address(root):
    lock, project = read_lock(root), read_project(root)
    wanted = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    for requirement in wanted:
        assert re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower() in lock, requirement
    text = (root / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)


def test_conda_installs_the_same_lock_on_the_same_pythons(root):
    text = (root / "environment.yml").read_text(encoding="utf-8")
    packages = yaml.safe_load(text)["dependencies"]
    assert "pip install --no-deps --require-hashes --requirement requirements.lock" in text
    assert "--no-deps --require-hashes --compile-bytecode --requirements requirements.lock" in (root / "Makefile").read_text(
        encoding="utf-8"
    )
    assert f"python {read_project(root)['requires-python']}" in packages
    assert {"make", "pip"} <= set(packages)


def test_the_readme_begins_with_the_two_commands(root):
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [line.split("#")[0].strip() for line in blocks[0].strip().splitlines()] == ["make reproduce", "make test"]
    assert (root / ".ci/run").read_text(encoding="utf-8").splitlines()[-1] == "make test"

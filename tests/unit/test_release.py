"""The release: one version, a citation, catalogue metadata, and a wheel that works without the rest of the project."""

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

import selectbench

CFF_FIELDS = {"cff-version", "message", "title", "abstract", "type", "version", "license", "authors", "keywords", "references"}
ZENODO_FIELDS = {
    *("title", "upload_type", "description", "creators", "access_right", "license", "version", "language", "keywords"),
    "related_identifiers",
}
CHECKOUT = [
    ["plan"],
    ["simulate"],
    ["status"],
    ["why"],
    ["report"],
    ["export", "--crate", "crate"],
    ["data", "list"],
    ["new-method", "mine"],
]


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run a command without this environment's code on its path."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def built(root, tmp_path_factory) -> Path:
    """A folder with the wheel and the source distribution of this working tree."""
    folder = tmp_path_factory.mktemp("built")
    result = run(sys.executable, "-m", "hatchling", "build", "--directory", folder, cwd=root)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The programs of an environment that has only the wheel and its declared dependencies."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    (wheel,) = built.glob("*.whl")
    uv = Path(sys.executable).parent / "uv"
    for command in ([uv, "venv", "--python", sys.executable, folder], [uv, "pip", "install", "--python", folder / "bin/python", wheel]):
        result = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=300)
        assert result.returncode == 0, result.stderr
    return folder / "bin"


@pytest.fixture
def own(tmp_path) -> Path:
    """A folder outside the project with a file of signals."""
    rng = np.random.default_rng(0)
    arrays = {"logits": rng.normal(size=(2, 100, 3)), "inputs": rng.normal(size=(100, 4)), "embeddings": rng.normal(size=(100, 4))}
    np.savez(tmp_path / "mine.npz", labels=rng.integers(0, 3, 100), features=rng.normal(size=(100, 5)), **arrays)
    return tmp_path


def test_the_wheel_selects_in_an_empty_environment(installed, own):
    assert run(installed / "selectbench", "--version", cwd=own).stdout == f"selectbench {selectbench.__version__}\n"
    assert "new-method" in run(installed / "selectbench", "--help", cwd=own).stdout
    command = ["select", "el2n", "--signals", "mine.npz", "--keep", "0.3", "--output", "kept.npz"]
    result = run(installed / "selectbench", *command, cwd=own)
    assert (result.stdout, result.stderr) == ("kept.npz: 30 of 100 ids\n", "")
    code = """
import sys
import selectbench as sb
signals = sb.Signals.load("mine.npz")
print(*sb.select("el2n", signals, keep=0.3).ids)
print(len(sb.select("moderate", signals, keep=0.1)), len(sb.dynamic.make("infobatch", num_samples=100, keep=0.5, epochs=4)))
assert not {"torch", "scipy", "sklearn"} & set(sys.modules)
"""
    result = run(installed / "python", "-c", code, cwd=own)
    assert result.returncode == 0, result.stderr
    with np.load(own / "kept.npz") as kept:
        assert result.stdout.splitlines() == [" ".join(map(str, kept["ids"])), "10 100"]


def test_a_missing_package_is_one_line_that_names_the_extra(installed, own):
    for method, package in (("cg_score", "scipy"), ("ssp", "scikit-learn"), ("rl_selector", "scipy")):
        result = run(installed / "selectbench", "select", method, "--signals", "mine.npz", "--keep", "0.3", cwd=own)
        assert result.returncode == 2
        assert re.fullmatch(rf"error: .+ needs {package}, which is not installed; .*selectbench\[library\].*\n", result.stderr)
    for code, package in (("sb.llm", "gymnasium"), ("sb.sample_cover([[0.0], [1.0]], [0, 0])", "scipy")):
        result = run(installed / "python", "-c", f"import selectbench as sb; {code}", cwd=own)
        assert re.match(rf"selectbench.errors.MissingPackage: .+ needs {package}, which", result.stderr.splitlines()[-1])


@pytest.mark.parametrize("command", CHECKOUT, ids=" ".join)
def test_commands_of_a_checkout_say_that_they_need_one(installed, own, command):
    result = run(installed / "selectbench", *command, cwd=own)
    expected = f"error: config/config.yaml: no such file; run `selectbench {command[0]}` in a checkout of selectbench\n"
    assert (result.returncode, result.stderr) == (2, expected)


def test_the_wheel_holds_the_package_and_nothing_else(root, built):
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"selectbench-{selectbench.__version__}-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = root / "src/selectbench"
    files = {
        f"selectbench/{path.relative_to(package)}" for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == files
    assert {"selectbench/artefacts/page/scale.html.j2", "selectbench/data/imagenet1k_classes.txt"} <= names


def test_the_source_distribution_is_the_project(root, built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"Makefile", "Snakefile", "LICENSE", "CITATION.cff", "requirements.lock", "README.md", "PKG-INFO"} <= names
    for folder in ("src/selectbench", "config", "workflow", "docs", "tests", "profiles"):
        for path in (root / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(root)) in names


def test_the_version_stands_in_one_place(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/selectbench/__init__.py"
    newest = re.search(r"^## \[?(\d\S*?)\]?(?: |$)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest[1] == selectbench.__version__
    assert yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))["version"] == selectbench.__version__


def test_the_citation_names_the_papers_and_the_licence(root):
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert set(cited) <= CFF_FIELDS
    assert cited["cff-version"] == "1.2.0"
    assert cited["license"] == tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"] == "MIT"
    assert (root / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    numbers = {identifier["value"] for paper in cited["references"] for identifier in paper["identifiers"]}
    for paper in (root / "config/papers").glob("*.yaml"):
        citation = yaml.safe_load(paper.read_text(encoding="utf-8"))["citation"]
        assert re.search(r"arXiv:[\d.]+\d", citation)[0] in numbers
    for paper in cited["references"]:
        assert paper["type"] in ("article", "conference-paper")
        assert all(set(author) == {"given-names", "family-names"} for author in paper["authors"])


def test_what_describes_the_release_agrees(root):
    """CITATION.cff, .zenodo.json and pyproject.toml name the same release; tests/unit/test_crate.py holds crates to CITATION.cff."""
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    zenodo = json.loads((root / ".zenodo.json").read_text(encoding="utf-8"))
    assert set(zenodo) == ZENODO_FIELDS
    assert (zenodo["title"], zenodo["description"]) == (cited["title"], cited["abstract"])
    assert cited["title"].startswith(f"{project['name']}: ")
    assert zenodo["version"] == cited["version"] == selectbench.__version__
    assert zenodo["license"] == cited["license"] == project["license"]
    assert zenodo["keywords"] == cited["keywords"] == project["keywords"]
    assert zenodo["creators"] == cited["authors"] == project["authors"]
    assert (zenodo["upload_type"], zenodo["access_right"], zenodo["language"]) == (cited["type"], "open", "eng")
    papers = [(identifier["value"], paper["type"]) for paper in cited["references"] for identifier in paper["identifiers"]]
    kinds = {"conference-paper": "publication-conferencepaper", "article": "publication-preprint"}
    assert zenodo["related_identifiers"] == [
        {"identifier": number, "relation": "references", "scheme": "arxiv", "resource_type": kinds[kind]} for number, kind in papers
    ]


def test_the_workflow_catalogue_finds_what_it_asks_for(root):
    usage = yaml.safe_load((root / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}
    for name in ("workflow/Snakefile", "config/README.md", "config/config.yaml"):
        assert (root / name).is_file()
    described = (root / "config/README.md").read_text(encoding="utf-8")
    for path in (root / "config").iterdir():
        assert path.name == "README.md" or f"`{path.name}" in described


def test_the_extra_for_the_library_is_part_of_the_whole_stack(root):
    extras = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras["library"]) <= set(extras["benchmark"])

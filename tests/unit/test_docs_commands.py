"""Every command and every Python block of README and docs runs, page by page and in order, in a temporary copy of the project.

The copy is cut down to one table with one seed at scale smoke, and has run to its last figure before a page begins, so that a page's
commands find a finished project, as they do after the first two commands of README. ``INSTEAD`` and ``ELSEWHERE`` list every command
that does not run as written, with the reason; a command that is neither run nor listed there fails the test of its page.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("make", "selectbench", "snakemake", "python", "pip", "conda", "source", "git", "squeue", "scontrol", "sbatch", "export")
EXTRAS = (
    "Makefile",
    "README.md",
    "benchmarks",
    "pyproject.toml",
    "requirements.lock",
    *("environment.yml", "LICENSE", "CITATION.cff", ".zenodo.json", "CHANGELOG.md"),
    "docs/draw_architecture.py",
    "tests/conftest.py",
    "tests/contract",
)

COUNTS = "plans of large scales take several seconds; tests/unit/test_costing.py makes them"
DECIDED = "the copy has results of scale smoke alone; tests/workflow/test_deciding.py runs the command"
INSTEAD = {  # command as written → what runs instead, and why
    "make reproduce": ("make reproduce SCALE=smoke", "scale tiny takes half an hour"),
    "make figures": ("make figures SCALE=smoke", "the copy has records of scale smoke alone"),
    "make check": ("make --dry-run check", "runs lint, types and tests of its own; make test does them all"),
    "make lint": ("make --dry-run lint", "checks types for a minute; make test does it too"),
    "make bench": ("make --dry-run bench", "timings take hours, and tests do not measure time"),
    "python -m benchmarks.engine": ("python -m benchmarks.engine --short", "the full benchmark takes minutes; the short form trains less"),
    "python -m benchmarks.tune_selector": ("make --dry-run bench", "measures agents for minutes, and the copy has no RL-Selector"),
    "make lock": ("make --dry-run lock", "asks the package index for the newest versions"),
    "python -m pytest tests/contract -k margin": (
        "python -m pytest tests/contract -k 'margin and not another_process'",
        "the omitted test starts a process that imports the installed project instead of this copy",
    ),
    "make verify": ("make --dry-run verify", "makes runs again for five minutes; tests/workflow/test_verify.py runs the command"),
    "selectbench verify": ("selectbench verify --minutes 0", "makes runs again for five minutes; tests/workflow/test_verify.py does so"),
    "selectbench verify --scale tiny": ("selectbench verify --scale smoke --minutes 0", "the copy has results of scale smoke alone"),
    "selectbench decide --scale decided --minutes 0": ("selectbench decide --help", DECIDED),
    "selectbench decide --scale decided --minutes 120": ("selectbench decide --help", DECIDED),
    "selectbench records import runs.zip --scale decided": (
        "selectbench records import --help",
        "the copy has runs of scale smoke alone; tests/unit/test_exchange.py imports those of a base",
    ),
    "selectbench compare OTHER_RESULTS": ("selectbench compare results", "there are no results of another machine"),
    "selectbench export --crate results.zip --scale tiny": (
        "selectbench export --crate results.zip --scale smoke",
        "the copy has results of scale smoke alone",
    ),
    "selectbench records import results/tiny/*/records.jsonl.gz --scale tiny": (
        "selectbench records import results/smoke/*/records.jsonl.gz --scale smoke",
        "the copy has results of scale smoke alone",
    ),
    "selectbench simulate --scale full --gpus 8 64": ("selectbench simulate --scale smoke --gpus 8 64", COUNTS),
    "selectbench plan --scale full": ("selectbench plan --scale smoke", COUNTS),
    "selectbench plan --scale small": ("selectbench plan --scale smoke", COUNTS),
    "selectbench plan --config scale=small papers=[rl_selector]": ("selectbench plan --config scale=smoke papers=[rl_selector]", COUNTS),
    "snakemake --profile profiles/slurm --config scale=full --dry-run": (
        "snakemake --profile profiles/slurm --config scale=smoke --dry-run",
        "the same DAG; at scale full every model is checked against its image shape, which takes ten seconds",
    ),
    "snakemake --profile profiles/slurm --config scale=full": (
        "snakemake --profile profiles/slurm --config scale=smoke --dry-run",
        "occupies a cluster for days; tests/slurm/test_slurm.py runs this profile on a two-node SLURM",
    ),
    "snakemake --profile profiles/slurm --cores 8 --groups score_samples=scores --group-components scores=20": (
        "snakemake --profile profiles/slurm --cores 8 --groups score_samples=scores --group-components scores=20 --dry-run",
        "there is no SLURM here; tests/slurm/test_slurm.py packs scores like this",
    ),
}
ELSEWHERE = {  # command as written → the file that runs it, the text in that file, and why it does not run here
    "python -m selectbench.costs.sizes": (
        "tests/unit/test_costing.py",
        "count_networks",
        "takes half a minute, as that test does",
    ),
    "make test": (".ci/run", "make test", "a test cannot run all tests"),
    "make test-units": ("Makefile", "--jobs 2 test-units test-workflows test-systems", "a test cannot run all tests"),
    "make test-systems": ("Makefile", "--jobs 2 test-units test-workflows test-systems", "a test cannot run all tests"),
    "make test-workflows": ("Makefile", "--jobs 2 test-units test-workflows test-systems", "a test cannot run all tests"),
    "python -m pytest tests/slurm": ("Makefile", "-m pytest tests/browser tests/slurm", "takes minutes, and is part of make test"),
    "pip install .": ("tests/unit/test_release.py", '"pip", "install"', "installs into an environment, so that test creates an empty one"),
    "squeue --me": ("tests/slurm/test_slurm.py", '"squeue", "--me"', "needs a SLURM"),
    'squeue --me --format "%i %T %M %N %k"': ("tests/slurm/test_slurm.py", '"--format", "%i %T %M %N %k"', "needs a SLURM"),
}


def read_commands(block: str) -> list[str]:
    """Split a shell block into commands, keeping continuation lines and here-documents together and dropping comments after two spaces."""
    commands, lines = [], iter(block.splitlines())
    for line in lines:
        command = re.sub(r"(^|\s{2,})# .*$", "", line).rstrip()
        while command.endswith("\\"):
            command += "\n" + next(lines)
        ending = re.search(r"<<\s*'(\w+)'", command)
        while ending and command.splitlines()[-1] != ending[1]:
            command += "\n" + next(lines)
        if command:
            commands.append(command)
    return commands


def read_steps(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return a page's steps (language, code) in order, one per command or block, and the commands named only in its prose."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    steps = []
    for language, block in blocks:
        assert language in ("sh", "python", "yaml", "text"), f"a block of language {language!r}, which no test runs"
        steps += [("sh", command) for command in read_commands(block)] if language == "sh" else [(language, block)]
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", prose)
    return steps, [span for span in dict.fromkeys(spans) if " " in span and span.split()[0] in PROGRAMS]


READ = {page: read_steps(page.read_text(encoding="utf-8")) for page in PAGES}
IN_BLOCKS = {code for steps, _ in READ.values() for language, code in steps if language == "sh"}
FIRST = {  # command in prose → the first page with it; not a step of its own if a block has it or has a longer command starting with it
    command: page
    for page, (_, named) in reversed(READ.items())
    for command in named
    if not any(other == command or other.startswith(f"{command} ") for other in IN_BLOCKS)
}


def list_steps(page: Path) -> list[tuple[str, str]]:
    """Return what a page runs: its blocks in order, then the commands that no block contains and that this page is the first to name."""
    steps, named = READ[page]
    return [*steps, *(("sh", command) for command in named if FIRST.get(command) == page)]


def load_projects():
    """Return the module that copies projects for the workflow tests."""
    spec = importlib.util.spec_from_file_location("workflow_projects", ROOT / "tests/workflow/conftest.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make_environment(folder: Path) -> None:
    """Give the copy a .venv that `make` considers complete: links to this environment, into which nothing is installed."""
    folder.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / name).symlink_to(Path(sys.prefix) / name)
    (folder / "installed").touch()
    os.utime(folder / "installed", (2**32, 2**32))


def cut_project(project) -> None:
    """Leave one table, one figure and one claim, with one method and one seed."""
    for name, change in (("papers/rl_selector", cut_paper), ("scale/smoke", lambda scale: scale.update(seeds=[0]))):
        path = project.path(f"config/{name}.yaml")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    path = project.path("config/methods.yaml")
    methods = yaml.safe_load(path.read_text(encoding="utf-8"))
    kept = {name: entry for name, entry in methods.items() if name == "el2n" or entry.get("control")}
    path.write_text("".join(f"{name}: {json.dumps(entry)}\n" for name, entry in kept.items()), encoding="utf-8")


def cut_paper(paper: dict) -> None:
    where = paper["tables"]["main"]["where"] | {"dataset": ["cifar10"], "target": "resnet18", "method": ["el2n"], "keep": [0.5]}
    paper["tables"] = {"main": paper["tables"]["main"] | {"where": where}}
    paper["figures"] = {"accuracy_by_keep": paper["figures"]["accuracy_by_keep"]}
    paper["claims"] = {"el2n_beats_random": paper["claims"]["el2n_beats_random"]}


def edit_configuration(project, block: str) -> None:
    """Merge a YAML block into the file that its first line names, as a reader would; a block without a file name only has to be valid."""
    block = textwrap.dedent(block)
    content, named = yaml.safe_load(block), re.match(r"# (\S+\.yaml)\n", block)
    if named:
        path = project.path(named[1])
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump(merge(before, content), sort_keys=False), encoding="utf-8")


def merge(before: dict, added: dict) -> dict:
    """Return the first mapping with the second merged into it recursively."""
    inner = {
        key: merge(before[key], value) for key, value in added.items() if isinstance(value, dict) and isinstance(before.get(key), dict)
    }
    return before | added | inner


def run_shell(project, command: str) -> None:
    result = subprocess.run(
        ["bash", "-ec", command], cwd=project.root, env=project.environment(), capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy of the project in which the first command of README has finished."""
    projects = load_projects()
    project = projects.copy_project(ROOT, tmp_path_factory.mktemp("docs") / "project", "rl_selector")
    for name in EXTRAS:
        source, target = ROOT / name, project.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    make_environment(project.path(".venv"))
    cut_project(project)
    run_shell(project, INSTEAD["make reproduce"][0])
    return project


@pytest.mark.parametrize("page", [page for page in PAGES if list_steps(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_runs(page, finished, tmp_path):
    steps = [(language, code) for language, code in list_steps(page) if language != "text" and code not in ELSEWHERE]
    project = type(finished)(tmp_path / "project")
    shutil.copytree(finished.root, project.root, symlinks=True)
    for language, code in steps:
        if language == "sh":
            run_shell(project, INSTEAD[code][0] if code in INSTEAD else code)
        elif language == "yaml":
            edit_configuration(project, code)
        else:
            result = project.run(sys.executable, "-c", code)
            assert result.returncode == 0, f"{code}\n{result.stderr[-3000:]}"


def test_what_runs_otherwise_is_named_in_the_pages_and_runs_there():
    written = {code for page in PAGES for language, code in list_steps(page) if language == "sh"}
    assert set(INSTEAD) | set(ELSEWHERE) <= written
    assert not set(INSTEAD) & set(ELSEWHERE)
    for file, words, _ in ELSEWHERE.values():
        assert words in (ROOT / file).read_text(encoding="utf-8"), f"{file} does not run {words}"


def test_commands_are_read_as_a_reader_pastes_them():
    block = "make test  # all of it\n\nselectbench plan \\\n  --scale tiny\ncat >> a.yaml <<'END'\n# kept\nkey: 1\nEND\n"
    assert read_commands(block) == ["make test", "selectbench plan \\\n  --scale tiny", "cat >> a.yaml <<'END'\n# kept\nkey: 1\nEND"]
    steps, named = read_steps("Run `make test` or `make`.\n\n```sh\nmake bench\n```\n\n```python\nprint(1)\n```\n")
    assert steps == [("sh", "make bench"), ("python", "print(1)\n")]
    assert named == ["make test"]

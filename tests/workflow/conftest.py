"""Copies of the project in temporary folders, small enough to finish their last figures within a minute."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

PARTS = ("Snakefile", "config", "profiles", "src", "workflow")
BUILT = ["el2n", "moso", "ssp"]  # one per kind of signal: outputs, gradients, an encoder
DYNAMIC = ["random_dynamic", "infobatch", "data_agent"]  # a rule without memory, one of losses, an agent
TEXT_METHODS = {  # one per kind of signal, a sampler, and agents
    "main": ["length", "perplexity", "k_center_embeddings", "less", "data_agent", "climb_disc"],
    "agents": ["random_clusters", "climb_disc"],
    "enumerated": ["exhaustive_few"],
}
PLANNED = "phantom"  # a method that is announced but not implemented: its row must say so

VIT_EPOCHS, ENCODER_EPOCHS = 4, 8

KEEPS = {
    "main": [0.5, 0.9],
    "cross": [0.9],
    "ood": [0.5, 0.9],
    "corrupted": [0.9],
    "cross_families": [0.9],
    "noise": [0.5],
    "noise_kept": [0.5],
}
NARROW = {
    "cross_families": {"target": ["vit_small"]},
    "noise": {"dataset": ["cifar10_symmetric"]},
    "noise_kept": {"dataset": ["cifar10_symmetric"]},
}
FIGURES = ("accuracy_by_keep", "ood_by_keep", "corruption_by_severity", "noise_kept_by_keep", "cost", "overlap", "covered_outputs")


@dataclass(frozen=True)
class Project:
    """A copy of the project whose files a test may edit."""

    root: Path

    def path(self, name: str) -> Path:
        return self.root / name

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.path(name).read_text(encoding="utf-8")
        assert old in text, f"{name} does not hold {old!r}"
        self.path(name).write_text(text.replace(old, new), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Environment variables that make commands use this copy's code and this environment's programs."""
        bin_folder = str(Path(sys.executable).parent)
        return os.environ | {
            "PYTHONPATH": str(self.root / "src"),
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "",  # else every job compiles the copy's modules again
        }

    def run(self, *command: str) -> subprocess.CompletedProcess:
        environment = self.environment()
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=900)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.run("snakemake", "--cores", "2", *arguments)

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Return rule → number of jobs in a dry run; empty if nothing would run."""
        result = self.snakemake("-n", *arguments)
        assert result.returncode == 0, result.stderr + result.stdout
        output = result.stdout + result.stderr
        if "Job stats:" not in output:
            assert "Nothing to be done" in output
            return {}
        lines = output.rpartition("Job stats:")[2].splitlines()[3:]
        table = dict(line.split() for line in lines[: next(index for index, line in enumerate(lines) if line.startswith("total"))])
        return {rule: int(count) for rule, count in table.items()}


def strip_time_and_host(value):
    """Drop what may differ between two identical runs: times, host, process size, and digests of records with these."""
    if isinstance(value, dict):
        times = {"wall_s", "tracking_s", "score_s", "select_s", "peak_memory_mb", "started", "finished"}
        volatile = times | {"host", "commit", "dirty", "digest", "records"}
        return {name: strip_time_and_host(inner) for name, inner in value.items() if name not in volatile}
    return value


def copy_project(root: Path, target: Path, papers: str) -> Project:
    """Copy the project with some of its papers, at scale smoke, which is listed in the copy."""
    target.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = root / part
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, target / part, ignore=ignore) if source.is_dir() else shutil.copy(source, target / part)
    project = Project(target)
    project.edit("config/config.yaml", "scale: tiny", "scale: smoke")
    project.edit("config/scale/smoke.yaml", "listed: false", "listed: true")
    project.edit("config/config.yaml", "papers: [rl_selector, data_agent, cluster_mdp]", f"papers: [{papers}]")
    return project


def make_text_project(root: Path, target: Path) -> Project:
    """Copy the project and reduce its papers to a few text methods."""
    project = copy_project(root, target, "cluster_mdp, data_agent")
    paper = yaml.safe_load(project.path("config/papers/cluster_mdp.yaml").read_text(encoding="utf-8"))
    paper["tables"] = {name: {**paper["tables"][name], "partial": False} for name in TEXT_METHODS}
    for name, methods in TEXT_METHODS.items():
        paper["tables"][name]["where"] |= {"method": methods}
    del paper["figures"]["search_long"]
    paper["figures"]["search"]["methods"] = TEXT_METHODS["agents"]
    paper["figures"]["coherence"]["table"] = "agents"
    for drawn in ("proxy_validity", "size_validity"):
        paper["figures"][drawn]["table"] = "main"
    paper["claims"]["proxy_predicts"]["table"] = "main"
    paper["claims"] = {name: paper["claims"][name] for name in ("matches_full", "saves_time", "proxy_predicts", "clusters_add_up")}
    project.path("config/papers/cluster_mdp.yaml").write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")
    paper = yaml.safe_load(project.path("config/papers/data_agent.yaml").read_text(encoding="utf-8"))
    paper["tables"] = {"language": {**paper["tables"]["language"], "partial": False}}
    paper["tables"]["language"]["where"]["method"] = ["no_training", "data_agent"]
    paper["figures"], paper["claims"] = {}, {"lossless_language": paper["claims"]["lossless_language"]}
    project.path("config/papers/data_agent.yaml").write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")
    return project


def shorten(project: Project) -> None:
    """Train the models that need many epochs for good results, a patch-based target and an encoder, for a few."""
    for name, entry, epochs in (("recipes", "digits_adamw", VIT_EPOCHS), ("encoders", "digits_simclr", ENCODER_EPOCHS)):
        path = project.path(f"config/{name}.yaml")
        text = path.read_text(encoding="utf-8")
        before, heading, after = text.partition(f"{entry}:")
        assert heading
        path.write_text(before + heading + re.sub(r"epochs: \d+", f"epochs: {epochs}", after, count=1), encoding="utf-8")


def make_project(root: Path, target: Path) -> Project:
    """Copy the project and reduce its image papers to a few methods and keep fractions at scale smoke."""
    project = copy_project(root, target, "rl_selector, data_agent")
    paper = yaml.safe_load(project.path("config/papers/rl_selector.yaml").read_text(encoding="utf-8"))
    paper["tables"] = {name: {**paper["tables"][name], "partial": False} for name in KEEPS}
    paper["figures"] = {name: paper["figures"][name] for name in FIGURES}
    paper["figures"]["corruption_by_severity"]["keep"] = 0.9
    for name, keeps in KEEPS.items():
        everywhere = name in ("main", "cross", "ood")
        paper["tables"][name]["where"] |= {"method": [*BUILT, PLANNED] if everywhere else ["el2n"], "keep": keeps} | NARROW.get(name, {})
    paper["claims"] = {
        "random": {
            **paper["claims"]["el2n_beats_random"],
            "compare": {"method": BUILT, "against": ["random"], "metric": "top1"},
        },
        "planned": {**paper["claims"]["transfers"], "compare": {"method": [PLANNED], "against": ["el2n"], "metric": "top1"}},
        "measured": paper["claims"]["covered_outputs"],
        "time": {**paper["claims"]["selection_saves_time"], "compare": {"method": BUILT, "against": ["full"], "metric": "total_wall_s"}},
    }
    methods = yaml.safe_load(project.path("config/methods.yaml").read_text(encoding="utf-8"))
    kept = {name: entry for name, entry in methods.items() if name in (*BUILT, *DYNAMIC) or entry.get("control")}
    for entry in kept.values():
        entry.pop("twin", None)  # it is not kept
    kept[PLANNED] = {"title": "Phantom", "planned": True}
    shorten(project)
    lines = [f"{name}: {yaml.safe_dump(entry, default_flow_style=True, width=1000).strip()}" for name, entry in kept.items()]
    project.path("config/methods.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    project.path("config/papers/rl_selector.yaml").write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")
    paper = yaml.safe_load(project.path("config/papers/data_agent.yaml").read_text(encoding="utf-8"))
    paper["tables"] = {name: {**paper["tables"][name], "partial": False} for name in ("dynamic", "cost")}
    for table in paper["tables"].values():
        table["where"] |= {"dataset": ["cifar10"], "method": DYNAMIC, "keep": [0.5]}
    paper["figures"] = {"weight": paper["figures"]["weight"] | {"table": "dynamic"}}
    paper["claims"] = {name: paper["claims"][name] for name in ("lossless", "half_the_cost")}
    project.path("config/papers/data_agent.yaml").write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")
    return project


def cut_project(root: Path, target: Path, seeds: str) -> Project:
    """Copy the project and keep one table with one static method and its controls, for some seeds."""
    project = make_project(root, target)
    project.edit("config/scale/smoke.yaml", "seeds: [0, 1]", f"seeds: {seeds}")
    project.edit("config/config.yaml", "papers: [rl_selector, data_agent]", "papers: [rl_selector]")
    path = project.path("config/papers/rl_selector.yaml")
    paper = yaml.safe_load(path.read_text(encoding="utf-8"))
    paper["tables"] = {"main": paper["tables"]["main"]}
    paper["tables"]["main"]["where"] |= {"method": ["el2n"], "keep": [0.5]}
    paper |= {"figures": {}, "claims": {}}
    paper.pop("browse")
    path.write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")
    methods = project.path("config/methods.yaml")
    lines = methods.read_text(encoding="utf-8").splitlines(keepends=True)
    methods.write_text("".join(line for line in lines if "control" in line or line.startswith("el2n:")), encoding="utf-8")
    return project


@pytest.fixture
def project(root, tmp_path) -> Project:
    """A fresh copy."""
    return make_project(root, tmp_path)


@pytest.fixture(scope="session")
def finished_texts(root, tmp_path_factory) -> Project:
    """A finished copy with the text methods. Tests may run it again, and must leave it finished."""
    project = make_text_project(root, tmp_path_factory.mktemp("texts"))
    result = project.snakemake()
    assert result.returncode == 0, result.stderr[-4000:]
    return project


@pytest.fixture(scope="session")
def finished(root, tmp_path_factory) -> Project:
    """A finished copy. Tests may run it again, and must leave it finished."""
    project = make_project(root, tmp_path_factory.mktemp("finished"))
    result = project.snakemake()
    assert result.returncode == 0, result.stderr[-4000:]
    return project


@pytest.fixture(scope="session")
def finished_table(root, tmp_path_factory) -> Project:
    """A finished copy with one table of one method. Tests leave it as it is."""
    project = cut_project(root, tmp_path_factory.mktemp("table"), "[0, 1]")
    result = project.snakemake()
    assert result.returncode == 0, result.stderr[-4000:]
    return project


def duplicate(project: Project, target: Path) -> Project:
    """Copy a finished project, with its times, so that nothing in the copy is made again."""
    shutil.copytree(project.root, target, symlinks=True)
    return Project(target)


@pytest.fixture
def copy(finished, tmp_path) -> Project:
    """A copy of the finished project that a test may spoil."""
    return duplicate(finished, tmp_path / "copy")

"""What jobs request from a scheduler, according to rules and profile; needs no SLURM."""

import ast
import re

import pytest
import yaml

from selectbench.planning.jobs import load_stages
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import make_rules
from selectbench.stages.measure_texts import MeasureTexts

RULE = re.compile(r"^rule (\w+):\n((?:^(?: .*)?\n)+)", flags=re.MULTILINE)


@pytest.fixture(scope="module")
def stages(root) -> dict[str, str]:
    """Rules whose stage does not run where Snakemake runs → their text."""
    rules = dict(
        match for path in (root / "workflow/rules").glob("*.smk") for match in RULE.findall(path.read_text(encoding="utf-8") + "\n")
    )
    away = {name: text for name, text in rules.items() if "shell:" in text and "localrule: True" not in text}
    return {name: text for name, text in away.items() if name not in ("select_subsets", "read_subsets")}


def computes_on_gpu(root, stage: str) -> bool:
    """Tell whether a stage, or anything it calls within the stages, asks which device to compute on."""
    used: set[tuple[str, str]] = set()
    waiting = [(stage, "main")]
    while waiting:
        module, name = waiting.pop()
        tree = ast.parse((root / f"src/selectbench/stages/{module}.py").read_text(encoding="utf-8"))
        origin = {alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        bodies = [node for node in tree.body if getattr(node, "name", None) == name]
        names = {inner.id for body in bodies for inner in ast.walk(body) if isinstance(inner, ast.Name)}
        if "choose_device" in names:
            return True
        for called in names:
            package, _, file = origin.get(called, f"selectbench.stages.{module}").rpartition(".")
            if package == "selectbench.stages" and (file, called) not in used:
                used.add((file, called))
                waiting.append((file, called))
    return False


def test_stages_that_compute_on_a_gpu_ask_for_one_and_others_do_not(root, stages):
    declared = load_stages()
    asking = {name for name in stages if declared[name].computes}
    assert asking == {name for name in declared if computes_on_gpu(root, name)}
    assert asking == {name for name, rule in make_rules(load_plan(root)).items() if "gpu" in rule.resources}
    assert 0 < len(asking) < len(stages)


def test_every_job_asks_for_time_and_memory(root, stages):
    plan = load_plan(root)
    asked = {name: plan.config.scale["resources"][name] for name in ("mem_mb", "runtime")}
    rules = make_rules(plan)
    for name, text in stages.items():
        assert re.search(rf'^ {{4}}resources:\n {{8}}\*\*declared\["{name}"\]\.resources,$', text, flags=re.MULTILINE), name
        assert asked.items() <= rules[name].resources.items(), name


@pytest.mark.parametrize(
    ("scale", "dataset", "signal", "gpus"),
    [("small", "tweets", "perplexities", 1), ("small", "tweets", "statistics", 0), ("tiny", "tweets", "perplexities", 0)],
)
def test_texts_are_measured_on_a_gpu_only_by_a_language_model(root, scale, dataset, signal, gpus):
    assert MeasureTexts(dataset, signal).count_gpus(load_plan(root, {"scale": scale})) == gpus


def test_only_the_profile_names_anything_of_a_site(root):
    profile = yaml.safe_load((root / "profiles/slurm/profile.yaml").read_text(encoding="utf-8"))
    assert profile["executor"] == "slurm"
    words = ("slurm_account", "slurm_partition", "slurm_extra", "gpu_model")
    assert not [word for word in words if word in str(profile)]  # it leaves them to the user
    for folder in ("workflow", "config", "src"):
        for path in (root / folder).rglob("*"):
            if path.suffix in (".smk", ".yaml", ".py"):
                assert not [word for word in words if word in path.read_text(encoding="utf-8")], path

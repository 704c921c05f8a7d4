"""What reaches a command, the linters, and how many modules planning imports."""

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import DYNAMIC

FIELD = re.compile(r"(?<!\{)\{([a-z_]+)[^{}]*\}")


BLOCK = re.compile(r"^rule (\w+):\n((?:^(?: .*)?\n)+)", flags=re.MULTILINE)


@pytest.fixture(scope="module")
def rules(root) -> dict[str, dict[str, str]]:
    """Rule name → directive → its text, as written in the rule files."""
    text = "\n\n".join(
        path.read_text(encoding="utf-8") + "\n" for path in [root / "workflow/Snakefile", *(root / "workflow/rules").glob("*.smk")]
    )
    found = {}
    for name, body in BLOCK.findall(text):
        directives = re.findall(r"^    (\w+):(.*(?:\n(?: {8}.*)?)*)", body, flags=re.MULTILINE)
        found[name] = {directive: inner.strip() for directive, inner in directives}
    return found


def test_only_params_inputs_and_outputs_reach_a_command(rules):
    commands = {name: rule for name, rule in rules.items() if "shell" in rule}
    assert len(commands) == 27
    for name, rule in commands.items():
        command = ast.literal_eval(f"({rule['shell']})")
        assert set(FIELD.findall(command)) <= {"params", "input", "output", "log"}, name
        if rule.get("localrule"):  # artefacts: their specifications are too long for a command line
            assert command.startswith(f"python -m selectbench.stages.{name} --"), name
            assert command.endswith(" <<< {params.spec:q} 2>&1 | tee {log:q} >&2"), name
        else:
            assert command.startswith(f"python -m selectbench.stages.{name} --spec {{params.spec:q}}"), name
            assert command.endswith(" 2>&1 | tee {log:q} >&2"), name
        assert re.findall(r"^ *(\w+)=", rule["params"], flags=re.MULTILINE) == ["spec"], name
        params = re.sub(r"\s+", "", rule["params"])
        assert params.startswith(("spec=lambdaw:to_json(plan.", "spec=to_json(plan.")), name
        assert rule["log"], name


def test_rendered_commands_hold_the_whole_specification(project):
    result = project.snakemake("-n", "--printshellcmds")
    commands = re.findall(r"^Shell command: (python -m .*)$", result.stdout + result.stderr, flags=re.MULTILINE)
    assert len(commands) == sum(count for rule, count in project.jobs().items() if rule != "all")
    specs = {}
    for command in commands:
        words = shlex.split(command)
        spec = json.loads(words[words.index("--spec" if "--spec" in words else "<<<") + 1])
        assert "code" in spec, command
        specs[command] = json.dumps(spec, sort_keys=True)
    assert len(set(specs.values())) == len(commands)


def test_every_rule_has_a_stage_of_its_name_and_nothing_else_runs(rules, root):
    stages = {path.stem for path in (root / "src/selectbench/stages").glob("[a-z]*.py")}
    assert {name for name, rule in rules.items() if "shell" in rule} == stages
    assert {name for name, rule in rules.items() if "shell" not in rule} == {"all", "report"}


def test_rule_files_hold_no_logic(root):
    for path in (root / "workflow/rules").glob("*.smk"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(run|script):", text, flags=re.MULTILINE), path.name
        if path.name != "common.smk":
            assert not re.search(r"^(def|for|if|import|from) ", text, flags=re.MULTILINE), path.name


def test_no_two_jobs_share_their_specification(root):
    from selectbench.planning.plan import load_plan, to_json

    for scale in ("tiny", "full"):
        plan = load_plan(root, {"scale": scale})
        specs = [to_json(plan.train_spec(batch)) for batch in plan.batches["train"]]
        specs += [to_json(plan.evaluate_spec(batch)) for batch in plan.batches["evaluate"]]
        specs += [to_json(plan.prepare_spec(dataset)) for dataset in plan.datasets()]
        subsets = {(run.dataset, run.proxy, run.method, str(run.seed)) for run in plan.runs.values() if plan.has_subset(run)}
        searches = {subset for subset in subsets if plan.config.is_search(subset[2])}
        specs += [to_json(plan.search_spec(*search)) for search in searches]
        selections = subsets - searches
        specs += [to_json(plan.score_spec(*selection)) for selection in selections]
        specs += [to_json(plan.select_spec(*selection)) for selection in selections]
        proxies = {(run.dataset, run.proxy, str(run.seed)) for run in plan.runs.values() if run.proxy != "none"}
        specs += [to_json(plan.proxy_spec(*proxy)) for proxy in proxies]
        specs += [to_json(plan.gradients_spec(*proxy, signal)) for proxy in proxies for signal in ("gradient_norms", "alignments")]
        texts = [dataset for dataset in plan.datasets() if plan.config.is_text(dataset)]
        specs += [to_json(plan.embed_spec(dataset)) for dataset in texts]
        specs += [to_json(plan.texts_spec(dataset, signal)) for dataset in texts for signal in ("statistics", "perplexities")]
        seeds = {(run.dataset, str(run.seed)) for run in plan.runs.values() if run.dataset not in texts}
        specs += [to_json(plan.encoder_spec(*seed)) for seed in seeds]
        assert len(set(specs)) == len(specs)


def test_the_full_plan_is_a_dry_run_away(project):
    jobs = project.jobs("--config", "scale=full")
    assert jobs["prepare_data"] == 5
    rl_selector = 4 * 5 * (1 + 5 * 2) + 2 * 3 * (1 + 3) + 3 * (1 + 3)  # main, two data sets to ViT, one noisy pool
    assert jobs["train_targets"] == rl_selector + 3 * (1 + 2 + len(DYNAMIC))


def test_planning_imports_no_torch_and_no_pandas():
    program = (
        "import sys; from pathlib import Path; import selectbench.workflow;"
        "from selectbench.planning.plan import load_plan; load_plan(Path());"
        "print([name for name in ('torch', 'pandas', 'timm', 'sklearn', 'matplotlib', 'scipy', 'torchvision') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_snakemakes_linter_finds_nothing_but_the_one_environment(root):
    """All rules share the project's environment, so none names a conda environment or a container."""
    result = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], cwd=root, capture_output=True, text=True, check=False)
    lints = re.findall(r"^    \* (.*)$", result.stdout + result.stderr, flags=re.MULTILINE)
    assert set(lints) <= {"Specify a conda environment or container for each rule.:"}

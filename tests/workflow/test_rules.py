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
from selectbench.planning.jobs import list_jobs, load_stages
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import make_rules, to_json
from selectbench.signals import REPLICATES
from selectbench.stages.embed_samples import EmbedSamples
from selectbench.stages.measure_gradients import MeasureGradients
from selectbench.stages.measure_texts import MeasureTexts
from selectbench.stages.train_proxy import TrainProxy
from selectbench.stages.train_replicates import TrainReplicates

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
    assert commands.keys() == load_stages().keys()
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


def test_every_rule_takes_its_directives_from_the_declaration_of_its_name(rules, root):
    stages, declared = load_stages(), make_rules(load_plan(root))
    for name, stage in stages.items():
        rule, source = rules[name], f'declared["{name}"]'
        assert rule["log"] == f"{source}.log,", name
        assert rule["params"] == f"spec={source}.spec,", name
        assert rule.get("input") == (f"unpack({source}.input)," if stage.reads else None), name
        # workflows of several scales share the front page
        updated = "\n        ".join(f'{output}=update({source}.output["{output}"]),' for output in stage.writes)
        assert rule["output"] == (updated if name == "build_front_page" else f"**{source}.output,"), name
        assert rule.get("threads") == (f"{source}.threads" if stage.threaded else None), name
        is_local = rule.get("localrule") == "True" or name in ("select_subsets", "read_subsets")
        assert rule.get("resources") == (None if is_local else f"**{source}.resources,"), name
        assert not (is_local and (stage.computes or stage.threaded)), name
        constraints = f"**{source}.wildcard_constraints," if declared[name].wildcard_constraints else None
        assert rule.get("wildcard_constraints") == constraints, name
        command = ast.literal_eval(f"({rule['shell']})")
        assert set(re.findall(r"--(\w+) \{output", command)) == set(stage.writes), name
        assert set(re.findall(r"--(\w+) \{input", command)) == set(stage.reads), name


def test_no_rule_spells_a_path(rules):
    for name, rule in rules.items():
        for directive, text in rule.items():
            assert directive == "message" or not re.search(r"\{wildcards\.|/", text.replace("2>&1", "")), (name, directive)


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
    for scale in ("tiny", "full"):
        plan = load_plan(root, {"scale": scale})
        jobs = [job.stage for job in list_jobs(plan).values()]
        texts = [dataset for dataset in plan.datasets() if plan.config.is_text(dataset)]
        proxies = {
            (run.dataset, run.proxy, str(run.seed)) for run in plan.runs.values() if run.proxy != "none" and run.dataset not in texts
        }
        jobs += [TrainProxy(*proxy) for proxy in proxies]
        jobs += [
            MeasureGradients(dataset, proxy, name, seed) for dataset, proxy, seed in proxies for name in ("gradient_norms", "alignments")
        ]
        jobs += [TrainReplicates(dataset, proxy, source, seed) for dataset, proxy, seed in proxies for source in REPLICATES]
        jobs += [MeasureTexts(dataset, measure) for dataset in texts for measure in ("statistics", "perplexities")]
        jobs += [EmbedSamples(run.dataset, str(run.seed)) for run in plan.runs.values() if run.dataset not in texts]
        specs = [to_json(job.specify(plan)) for job in set(jobs)]
        assert len(set(specs)) == len(specs)


def test_the_full_plan_is_a_dry_run_away(project):
    jobs = project.jobs("--config", "scale=full")
    assert jobs["prepare_data"] == 5
    rl_selector = 4 * 5 * (1 + 5 * 2) + 2 * 3 * (1 + 3) + 3 * (1 + 3)  # main, two data sets to ViT, one noisy pool
    assert jobs["train_targets"] == rl_selector + 3 * (1 + 2 + len(DYNAMIC))


def test_planning_and_costing_import_no_torch_and_no_pandas():
    program = (
        "import sys; from pathlib import Path; import selectbench.workflow;"
        "from selectbench.planning.plan import load_plan; from selectbench.costs.costing import Costing;"
        "from selectbench.costs.estimates import sum_costs; sum_costs(Costing(load_plan(Path(), {'scale': 'small'})), 1, 8);"
        "print([name for name in ('torch', 'pandas', 'timm', 'sklearn', 'matplotlib', 'scipy', 'torchvision') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_snakemakes_linter_finds_nothing_but_the_one_environment(root):
    """All rules share the project's environment, so none names a conda environment or a container."""
    result = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], cwd=root, capture_output=True, text=True, check=False)
    lints = re.findall(r"^    \* (.*)$", result.stdout + result.stderr, flags=re.MULTILINE)
    assert set(lints) <= {"Specify a conda environment or container for each rule.:"}

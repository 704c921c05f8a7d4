"""A stage is declared once: its rule, the plan, costs, schedules and `why` all read the declaration."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from selectbench.planning.jobs import find_needs, list_jobs, load_stages
from selectbench.planning.plan import load_plan
from selectbench.records.records import EVALUATE, TRAIN

HEAVY = ("torch", "sklearn", "scipy", "matplotlib", "pandas", "jinja2", "PIL")
FOLDERS = {"root", "results", "resources"}  # of a layout; every other field of a template is a wildcard
MOST_METHODS = 20
SCALES = sorted(path.stem for path in (Path(__file__).parents[2] / "config/scale").glob("*.yaml"))
MODULE = '''
"""Count the samples of every class of a prepared data set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from selectbench.planning.stage import Inputs, Network, Output, Stage, Visits, fingerprint_stage
from selectbench.records.files import write_sealed
from selectbench.stages._command import parse_arguments, run_stage
from selectbench.stages.prepare_data import PrepareData


@dataclass(frozen=True)
class CountLabels(Stage):
    """The class counts of a data set."""

    dataset: str

    name = "count_labels"
    reads = ("data",)
    writes = {"counts": "{results}/counts/{dataset}.json"}
    record = "counts"
    log = "{results}/logs/counts/{dataset}.log"
    threaded = True

    @classmethod
    def list_wanted(cls, plan) -> Iterator["CountLabels"]:
        """Yield one job per data set."""
        yield from map(cls, plan.datasets())

    def list_inputs(self, plan) -> Inputs:
        """Return the prepared data set."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")]}

    def specify(self, plan) -> Mapping[str, object]:
        """Return the data set."""
        return {"dataset": self.dataset, "code": fingerprint_stage(self.name)}

    def count_visits(self, plan) -> Visits:
        """Pretend to train a network whose pace was recorded."""
        return Visits(Network("convnet", "small", "digits"), 1e6)

    def estimate_bytes(self, plan, size_network) -> int:
        """Pretend to write files of a terabyte."""
        return 10**12


def main() -> None:
    """Write the counts."""
    arguments = parse_arguments(__doc__, CountLabels.reads, CountLabels.writes)
    (data,) = arguments.data
    labels = np.load(data.parent / "pool" / "labels.npy")
    write_sealed(arguments.counts, {"counts": np.bincount(labels).tolist()})


if __name__ == "__main__":
    run_stage(main)
'''
RULE = """

rule count_labels:
    input:
        unpack(declared["count_labels"].input),
    output:
        **declared["count_labels"].output,
    log:
        declared["count_labels"].log,
    threads: declared["count_labels"].threads
    resources:
        **declared["count_labels"].resources,
    params:
        spec=declared["count_labels"].spec,
    shell:
        "python -m selectbench.stages.count_labels --spec {params.spec:q} --data {input.data:q}"
        " --counts {output.counts:q} 2>&1 | tee {log:q} >&2"
"""
ASK_COSTS = """
import json
from pathlib import Path
from selectbench.costs.costing import Costing
from selectbench.costs.estimates import size_jobs
from selectbench.planning.plan import load_plan
from selectbench.records.records import EVALUATE, TRAIN
costing = Costing(load_plan(Path()))
sizes = size_jobs(costing)
jobs = {name: job for name, job in costing.jobs.items() if job.rule == "count_labels"}
found = {name: [job.threads, job.gpus, *job.inputs, *costing.costs[name], sizes[name]] for name, job in jobs.items()}
print(json.dumps([found, costing.observed.pace.seconds_per_visit]))
"""


@pytest.fixture
def copy(root, committed, tmp_path):
    """A copy of the project at scale smoke with two processors a job, one small paper, and a stage of its own: one module and one rule."""
    for part in ("Snakefile", "config", "profiles", "src", "workflow"):
        source, ignored = root / part, shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, tmp_path / part, ignore=ignored) if source.is_dir() else shutil.copy(source, tmp_path / part)
    for name, old, new in (
        ("config/config.yaml", "scale: tiny", "scale: smoke"),
        ("config/config.yaml", "papers: [rl_selector, data_agent, cluster_mdp]", "papers: [data_agent]"),
        ("config/scale/smoke.yaml", "threads: 1", "threads: 2"),
    ):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert old in text, name
        (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    records = Path("results/tiny/data_agent/records.jsonl.gz")  # tell how fast this kind of processor trains
    (tmp_path / records).parent.mkdir(parents=True)
    shutil.copy(committed / records, tmp_path / records)
    before = list_jobs(load_plan(tmp_path))
    (tmp_path / "src/selectbench/stages/count_labels.py").write_text(MODULE.lstrip(), encoding="utf-8")
    with open(tmp_path / "workflow/rules/prepare.smk", "a", encoding="utf-8") as stream:
        stream.write(RULE)
    return tmp_path, before


def run_python(folder, *arguments) -> str:
    """Run a copy's code in its folder and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_one_module_and_one_rule_are_a_stage_that_everything_knows(copy):
    folder, before = copy
    datasets = load_plan(folder).datasets()
    files = [f"results/smoke/counts/{dataset}.json" for dataset in datasets]
    total, added = f"{len(before) + len(datasets):,}", len(datasets)
    assert added > 1

    jobs, paces = json.loads(run_python(folder, "-c", ASK_COSTS))
    (pace,) = (pace for network, pace in paces.items() if '"convnet"' in network)
    basis = "visits at the recorded pace of the same model"
    for name, dataset in zip(files, datasets, strict=True):
        threads, gpus, data, seconds, known_by, size = jobs.pop(name)
        assert (threads, gpus, data) == (2, 0, f"resources/{dataset}/prepared/manifest.json")
        assert (seconds, known_by, size) == (pytest.approx(1e6 * pace), basis, 10**12)
    assert jobs == {}

    planned = run_python(folder, "-m", "selectbench.cli", "plan", "--cores", "2")
    assert re.search(rf"^all papers +\d+ +{total} +≥? ?[\d,.]+ +{added}\.0 TB ", planned, flags=re.MULTILINE), planned
    assert re.search(rf"^  count_labels +{added} jobs$", planned, flags=re.MULTILINE)
    unknown = re.search(r"^No recorded costs, counted as zero: (.*)$", planned, flags=re.MULTILINE)[1]
    assert "prepare_data" in unknown and "count_labels" not in unknown
    simulated = run_python(folder, "-m", "selectbench.cli", "simulate", "--cores", "2")
    assert f" runs, {total} jobs\n" in simulated
    assert f"count_labels: not made yet: {added} jobs\n" in run_python(folder, "-m", "selectbench.cli", "why")
    dry = run_python(folder, "-m", "snakemake", "-n", "--cores", "2", "--printshellcmds")
    stats = dict(line.split() for line in dry.rpartition("Job stats:")[2].splitlines() if len(line.split()) == 2 and line[-1].isdigit())
    assert (stats["count_labels"], stats["total"]) == (str(added), str(len(before) + added + 1))  # and rule all
    for name in files:
        assert f"--counts {name} " in dry
    run_python(folder, "-m", "snakemake", "--quiet", "all", "--cores", "2", "--", files[0])
    assert sum(json.loads((folder / files[0]).read_text(encoding="utf-8"))["counts"]) == 896


def test_planning_stages_imports_no_heavy_library(root):
    program = (
        "import sys; from selectbench.planning.jobs import load_stages; print(len(load_stages()));"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [str(len(load_stages())), "[]"]


def list_wildcards(template: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", template)) - FOLDERS


@pytest.mark.parametrize("name", load_stages())
def test_fields_are_the_wildcards_of_every_template(name):
    stage = load_stages()[name]
    names = {field.name for field in fields(stage)}
    assert stage.name == name and stage.writes
    for template in (*stage.writes.values(), stage.log):
        assert list_wildcards(template) == names, template
        assert template.startswith(tuple(f"{{{folder}}}/" for folder in FOLDERS)), template
    assert len(set(stage.writes.values())) == len(stage.writes)
    assert stage.writes[stage.record].endswith(".json")  # what the job was made from, and the digests of its other outputs


@pytest.fixture(scope="module")
def tiny(root):
    plan = load_plan(root, {"scale": "tiny"})
    return plan, list_jobs(plan)


@pytest.mark.parametrize("scale", SCALES)
def test_the_jobs_of_every_scale_can_be_listed(root, scale):
    plan = load_plan(root, {"scale": scale})
    trained, evaluated = (
        [run.id for job in list_jobs(plan).values() if job.stage.run_record == stage for run in job.runs] for stage in (TRAIN, EVALUATE)
    )
    assert sorted(trained) == sorted(evaluated) == sorted(plan.runs)


def test_stages_name_what_they_read_and_each_has_a_job(tiny):
    plan, jobs = tiny
    assert {job.rule for job in jobs.values()} == set(load_stages()) - {
        "measure_validity",
        "read_subsets",
    }  # no table or method here asks for them
    for job in jobs.values():
        inputs = job.stage.list_inputs(plan)
        assert set(inputs) <= set(job.stage.reads), job.rule
        assert all(output.name in output.job.writes for outputs in inputs.values() for output in outputs), job.rule
        assert list(job.stage.list_input_paths(plan)) == list(job.stage.reads), job.rule
        assert all(isinstance(value, str) for value in job.stage.wildcards.values()), job.rule


def test_jobs_are_specified_and_read_only_what_others_make(tiny):
    plan, jobs = tiny
    makers = {}
    for name, job in jobs.items():
        assert job.outputs[0] == name
        for output in job.outputs:
            assert makers.setdefault(output, name) == name and "{" not in output
        spec = job.stage.specify(plan)
        assert re.fullmatch("[0-9a-f]+", spec["code"]), name
        assert spec.get("gpu", 0) == job.gpus, name
    assert len({job.stage.find_log(plan) for job in jobs.values()}) == len(jobs)
    order = {name: place for place, name in enumerate(jobs)}
    for name, needs in find_needs(jobs).items():  # fails for a file that no job makes
        assert all(order[need] < order[name] for need in needs), name
    assert {makers[file] for job in jobs.values() for file in job.inputs} <= set(jobs)


def test_no_class_has_too_many_public_methods(root):
    for path in sorted((root / "src/selectbench").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                public = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_")}
                assert len(public) <= MOST_METHODS, f"{path.name}: {node.name} has {len(public)} public methods"

"""The DAG on a real SLURM: what its jobs request, and what happens after a cancelled job and a dead node."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import torch
import yaml
from cluster import Cluster, install_slurm, start_cluster, wait_for

from selectbench.records.leases import ALLOWED
from selectbench.records.records import read_records

OUT = "results/smoke"
ASK = {"threads": 1, "gpu": 1, "mem_mb": 900, "runtime": 7}
METHODS = ["el2n", "moso", "ssp", "rl_selector"]  # one per kind of signal: outputs, gradients, an encoder; and an agent
FIGURES = ("overlap", "covered_outputs")
EPOCHS = 16
ON_GPUS = {
    "train_proxy",
    "train_replicates",
    "measure_gradients",
    "embed_samples",
    "measure_theory",
    "train_selectors",
    "train_targets",
    "evaluate_targets",
}
ON_CPUS = {"prepare_data", "score_samples"}
SCORES = 6  # of the methods with scores: three controls and three others
WIDTH = 4  # CPUs of a job that packs scores
SITE = """\
default-resources:
  slurm_partition: main
slurm-status-command: squeue
"""
SNAKEMAKE = """\
import asyncio, sys
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
RemoteExecutor.sleep = lambda self: asyncio.sleep(1)
main(sys.argv[1:])
"""  # polls the state of jobs every second, where the plugin waits ten seconds longer each time


@pytest.fixture(scope="module", autouse=True)
def _without_gpus():
    """The GPUs of this cluster are files: jobs lease them, and compute on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ALLOWED, "1")
        yield


@dataclass(frozen=True)
class Outcome:
    """A workflow that finished on SLURM although a job was cancelled and a node died.

    Parameters
    ----------
    project : the copy that ran
    jobs : every SLURM job as the controller describes it
    log : output of Snakemake
    cancelled, interrupted : ids of the cancelled job, and of the one on the node that died
    node : the node that died
    before, after : epochs of the last checkpoint before the node died, and of the first one after
    finished : records of runs that were finished when the node died, with their content
    """

    project: object
    jobs: list[dict[str, str]]
    log: str
    cancelled: str
    interrupted: str
    node: str
    before: int
    after: int
    finished: dict[Path, bytes]


def load_projects(root):
    """Return the module that copies projects for the workflow tests."""
    spec = importlib.util.spec_from_file_location("workflow_projects", root / "tests/workflow/conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def edit_yaml(path: Path, change) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def make_project(root, target: Path):
    """Copy the project with one table of one seed that uses every image stage, and with jobs that request a GPU."""
    project = load_projects(root).copy_project(root, target, "rl_selector")

    def cut_paper(paper):
        table = {**paper["tables"]["main"], "partial": False}
        table["where"] = table["where"] | {"dataset": ["cifar10"], "method": METHODS, "keep": [0.5]}
        paper["tables"] = {"main": table}
        paper["figures"] = {name: paper["figures"][name] for name in FIGURES}
        paper["claims"] = {name: paper["claims"][name] for name in ("el2n_beats_random", "covered_outputs")}

    def cut_scale(scale):
        scale["axes"]["model"]["resnet50"] = "convnet"
        scale["recipes"]["digits"]["target"] = "digits_long"
        scale |= {"seeds": [0], "resources": ASK}

    def lengthen_recipe(recipes):
        recipes["digits_long"] = recipes["digits_smoke"] | {"epochs": EPOCHS}

    def shorten_encoder(encoders):
        encoders["digits_simclr"]["epochs"] = 2

    def cut_methods(methods):
        kept = {name: entry for name, entry in methods.items() if name in METHODS or entry.get("control")}
        methods.clear()
        methods.update(kept)
        methods["rl_selector"].pop("twin")  # it is not kept

    for name, change in (
        ("papers/rl_selector", cut_paper),
        ("scale/smoke", cut_scale),
        ("recipes", lengthen_recipe),
        ("encoders", shorten_encoder),
        ("methods", cut_methods),
    ):
        edit_yaml(project.path(f"config/{name}.yaml"), change)
    project.edit("src/selectbench/stages/measure_theory.py", "PAIRS = 2000", "PAIRS = 50")
    project.edit("src/selectbench/training/engine.py", "every_s: float = 300.0", "every_s: float = 0.0")  # a checkpoint after every epoch
    return project


def read_epoch(path: Path) -> int | None:
    """Return the epoch of a checkpoint, or None if it does not exist."""
    try:
        return torch.load(path, weights_only=True)["progress"]["epoch"]
    except FileNotFoundError:
        return None


def disturb(cluster: Cluster, project, running: subprocess.Popen) -> dict:
    """Cancel the proxy's job while it runs, kill the node that trains targets during one of them, and return what happened."""

    def wait(condition, what: str, pause: float = 0.1):
        def check():
            assert running.poll() is None, f"Snakemake ended before there was {what}"
            return condition()

        return wait_for(check, 400, what, pause)

    def list_finished() -> list[Path]:
        return list(project.path(f"{OUT}/runs").rglob("train.json"))

    def find_checkpoint() -> Path | None:
        paths = project.path(f"{OUT}/state/runs").rglob("*.pt") if list_finished() else ()
        return next((path for path in paths if 3 <= (read_epoch(path) or 0) <= EPOCHS // 2), None)

    cancelled = wait(lambda: cluster.find_jobs("train_proxy", "RUNNING"), "a running proxy")[0]["JobId"]
    cluster.ask("scancel", cancelled)
    checkpoint = wait(find_checkpoint, "a checkpoint of a target", pause=0.02)
    (job,) = cluster.find_jobs("train_targets", "RUNNING")
    cluster.kill_node(job["NodeList"])
    before = read_epoch(checkpoint)
    finished = {path: path.read_bytes() for path in list_finished()}
    after = wait(lambda: (epoch := read_epoch(checkpoint)) != before and epoch, "the next checkpoint", pause=0.01)
    facts = {"interrupted": job["JobId"], "node": job["NodeList"], "before": before, "after": after, "finished": finished}
    return {"cancelled": cancelled, **facts}


@pytest.fixture(scope="module")
def cluster():
    """A running SLURM; skips with a reason if there is none."""
    obstacle = install_slurm()
    if obstacle:
        pytest.skip(obstacle)
    with start_cluster() as started:
        yield started


@pytest.fixture(scope="module")
def copies(root, tmp_path_factory) -> dict:
    """Two equal copies of the project."""
    return {name: make_project(root, tmp_path_factory.mktemp(name)) for name in ("slurm", "local")}


@pytest.fixture(scope="module")
def outcome(cluster, copies) -> Outcome:
    """The workflow on SLURM, disturbed and finished."""
    project = copies["slurm"]
    profile, log = project.path("profiles/slurm/profile.yaml"), project.path("slurm.log")
    profile.write_text(profile.read_text(encoding="utf-8") + SITE, encoding="utf-8")
    packing = ["--cores", str(WIDTH), "--groups", "score_samples=scores", "--group-components", f"scores={SCORES}"]
    with open(log, "wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-c", SNAKEMAKE, "--profile", "profiles/slurm", *packing],
            cwd=project.root,
            env=project.environment(),
            stdout=output,
            stderr=output,
        )
    try:
        facts = disturb(cluster, project, running)
        running.wait(timeout=400)
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGINT)
            running.wait(timeout=60)
        text = log.read_text(encoding="utf-8")
        print(text[-6000:])
    assert running.returncode == 0
    return Outcome(project=project, jobs=cluster.list_jobs(), log=text, **facts)


@pytest.fixture(scope="module")
def local(copies):
    """The same without SLURM and undisturbed."""
    project = copies["local"]
    result = project.snakemake("--resources", "gpu=2")
    assert result.returncode == 0, result.stderr[-4000:]
    return project


def read_rows(project) -> dict[str, dict]:
    rows = read_records(project.path(f"{OUT}/rl_selector/records.jsonl.gz"))
    strip = load_projects(Path(__file__).parents[2]).strip_time_and_host
    return {run: strip(row) for run, row in rows.items()}


def read_arrays(project, kind: str) -> dict[str, bytes]:
    """Return file → content of all arrays of a kind."""
    folder = project.path(f"{OUT}/{kind}")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.npz")}


def find_rule(job: dict[str, str]) -> str:
    """Return the rule that a job was submitted for."""
    (rule,) = {name for name in ON_GPUS | ON_CPUS if name in job["Comment"]}
    return rule


def count_gpus(job: dict[str, str]) -> int:
    asked = re.search(r"gpu[:=](\d+)", f"{job.get('TresPerJob', '')} {job.get('TresPerNode', '')}")
    return int(asked[1]) if asked else 0


def test_records_equal_those_of_a_local_run(outcome, local):
    one, two = read_rows(outcome.project), read_rows(local)
    assert len(one) == 1 + 2 + len(METHODS)
    assert one == two
    for kind, number in (("proxies", 1), ("encoders", 1), ("subsets", 3 + len(METHODS))):
        here, there = read_arrays(outcome.project, kind), read_arrays(local, kind)
        assert len(here) == number
        assert here == there


def test_it_runs_to_the_last_figure_and_has_nothing_left_to_do(outcome):
    for name in FIGURES:
        assert outcome.project.path(f"{OUT}/rl_selector/figures/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in outcome.project.path(f"{OUT}/index.html").read_text(encoding="utf-8")
    assert outcome.project.jobs() == {}


def test_gpu_stages_ask_for_gpus_and_others_do_not(outcome):
    asked = {(find_rule(job), count_gpus(job)) for job in outcome.jobs}
    assert asked == {(rule, 1) for rule in ON_GPUS} | {(rule, 0) for rule in ON_CPUS}


def test_gpu_jobs_run_on_both_nodes_at_once(outcome):
    spans = [
        (datetime.fromisoformat(job["StartTime"]), datetime.fromisoformat(job["EndTime"]), job["NodeList"])
        for job in outcome.jobs
        if count_gpus(job)
    ]
    together = [(one, two) for one in spans for two in spans if one[2] != two[2] and one[0] < two[1] and two[0] < one[1]]
    assert together


def test_time_memory_and_cpus_follow_the_plan(outcome):
    single = [job for job in outcome.jobs if find_rule(job) != "score_samples"]
    assert {(job["TimeLimit"], job["MinMemoryNode"], job["NumCPUs"]) for job in single} == {("00:07:00", "900M", "1")}


def test_short_runs_are_packed_into_one_job(outcome):
    manifest = json.loads(outcome.project.path(f"{OUT}/batches/train/digits/convnet/equal_epochs/0.json").read_text(encoding="utf-8"))
    assert set(manifest["runs"]) == set(read_rows(outcome.project))
    assert [job["JobId"] for job in outcome.jobs if find_rule(job) == "train_targets"] == [outcome.interrupted]
    (packed,) = [job for job in outcome.jobs if find_rule(job) == "score_samples"]
    assert len(list(outcome.project.path(f"{OUT}/scores/digits").rglob("*.npz"))) == SCORES
    assert (packed["NumCPUs"], packed["MinMemoryNode"], packed["TimeLimit"]) == (str(WIDTH), f"{WIDTH * ASK['mem_mb']}M", "00:14:00")


def test_a_cancelled_job_is_submitted_again(outcome):
    states = {job["JobId"]: job["JobState"] for job in outcome.jobs if find_rule(job) == "train_proxy"}
    assert states.pop(outcome.cancelled) == "CANCELLED"
    assert list(states.values()) == ["COMPLETED"]


def test_a_job_of_a_dead_node_continues_elsewhere_from_its_checkpoint(outcome):
    (job,) = [job for job in outcome.jobs if job["JobId"] == outcome.interrupted]
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert job["NodeList"] != outcome.node
    assert 3 <= outcome.before < outcome.after <= EPOCHS
    assert all(path.read_bytes() == content for path, content in outcome.finished.items())


def test_slurm_answers_what_the_page_on_clusters_asks(cluster):
    assert cluster.ask("squeue", "--me").split()[0] == "JOBID"
    assert cluster.ask("squeue", "--me", "--format", "%i %T %M %N %k").split()[:2] == ["JOBID", "STATE"]

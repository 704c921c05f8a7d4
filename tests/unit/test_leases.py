"""One job per GPU, whatever happens to the jobs: simulated devices, real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selectbench.errors import ConfigError, SelectbenchError
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import make_rules
from selectbench.records.leases import DEVICES, LEASED, LEASES, VISIBLE, find_leases, free_lock, lease_devices, list_devices
from selectbench.stages.cluster_texts import ClusterTexts
from selectbench.stages.embed_samples import EmbedSamples
from selectbench.stages.embed_texts import EmbedTexts
from selectbench.stages.evaluate_targets import EvaluateTargets
from selectbench.stages.evaluate_texts import EvaluateTexts
from selectbench.stages.finetune_targets import FinetuneTargets
from selectbench.stages.measure_gradients import MeasureGradients
from selectbench.stages.measure_searches import MeasureSearches
from selectbench.stages.measure_texts import MeasureTexts
from selectbench.stages.measure_theory import MeasureTheory
from selectbench.stages.measure_validity import MeasureValidity
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.search_clusters import SearchClusters
from selectbench.stages.time_trainings import TimeTrainings
from selectbench.stages.train_proxy import TrainProxy
from selectbench.stages.train_replicates import TrainReplicates
from selectbench.stages.train_selectors import TrainSelectors
from selectbench.stages.train_targets import TrainTargets
from selectbench.workflow import claim_results

USE = """
import os, sys, time
from selectbench.records.leases import lease_devices
leased = ",".join(lease_devices(int(sys.argv[2]), every_s=0.02))
assert os.environ["CUDA_VISIBLE_DEVICES"] == leased
for device in leased.split(","):
    os.close(os.open(f"{sys.argv[1]}/{device}", os.O_CREAT | os.O_EXCL))  # fails while another job uses it
time.sleep(0.15)
for device in leased.split(","):
    os.unlink(f"{sys.argv[1]}/{device}")
print(leased)
"""
HOLD = """
import os, subprocess, sys, time
from selectbench.records.leases import lease_devices
leased = lease_devices(1, every_s=0.02)
child = os.getpid()
if sys.argv[1] == "fork" and not (child := os.fork()):
    time.sleep(60)
if sys.argv[1] == "command":
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid
print(*leased, child, flush=True)
time.sleep(60)
"""
STAGE = """
import os
from selectbench.stages._command import parse_arguments, run_stage
run_stage(lambda: print([parse_arguments("", (), ()), os.environ.get("CUDA_VISIBLE_DEVICES")][1]))
"""


def start(program: str, *arguments: object, **variables: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name not in (VISIBLE, LEASED, "SLURM_JOB_ID")} | variables
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output.strip()


def test_six_jobs_share_two_devices_and_none_has_one_beside_another(tmp_path):
    machine = {DEVICES: "0,1", LEASES: str(tmp_path / "leases")}
    jobs = [start(USE, tmp_path, 1, **machine) for _ in range(6)]
    used = [finish(job) for job in jobs]
    assert len(used) == 6 and set(used) == {"0", "1"}


@pytest.mark.parametrize("child", ["none", "fork", "command"])
def test_the_device_of_a_killed_job_goes_to_the_one_that_waits_and_no_child_keeps_it(tmp_path, child):
    machine = {DEVICES: "0", LEASES: str(tmp_path / "leases")}
    holder = start(HOLD, child, **machine)
    device, survivor = holder.stdout.readline().split()
    waiter = start(USE, tmp_path, 1, **machine)
    try:
        assert waiter.stderr.readline().startswith("waiting for a GPU: other jobs hold 0 (")
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(timeout=0.3)
        holder.send_signal(signal.SIGKILL)
        assert holder.wait() == -signal.SIGKILL
        assert finish(waiter) == device == "0"
        if child != "none":
            os.kill(int(survivor), 0)
    finally:
        for process in (holder, waiter):
            process.kill()
            process.communicate() if child == "none" else process.wait()
        if child != "none":
            os.kill(int(survivor), signal.SIGKILL)


def test_a_job_takes_all_its_devices_at_once_and_holds_none_while_it_waits(tmp_path):
    machine = {DEVICES: "0,1", LEASES: str(tmp_path / "leases")}
    holder = start(HOLD, "none", **machine)
    assert holder.stdout.readline().startswith("0 ")
    pair = start(USE, tmp_path, 2, **machine)
    try:
        assert pair.stderr.readline().startswith("waiting")
        assert finish(start(USE, tmp_path, 1, **machine)) == "1"
    finally:
        holder.kill()
        holder.communicate()
    assert finish(pair) == "0,1"


@pytest.mark.parametrize(
    ("there", "visible", "expected"),
    [
        ("0,1,2", None, ["0", "1", "2"]),
        ("0,1,2", "2,0", ["2", "0"]),
        ("0,1", "0,1,2,3", ["0", "1"]),  # no more than exist
        ("0,1", "1,1", ["1"]),
        ("0,1", "1,-1,0", ["1"]),
        ("0,1", "", []),
        ("0,1", "GPU-8f2e,MIG-3c", ["GPU-8f2e", "MIG-3c"]),
        ("", "0,GPU-8f2e", []),
    ],
)
def test_devices_are_those_that_are_there_and_visible(there, visible, expected):
    assert list_devices({DEVICES: there} | ({} if visible is None else {VISIBLE: visible})) == expected


def test_without_a_driver_there_are_no_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_devices({}) == []
    environment = {}
    assert lease_devices(1, environment) == [] and environment == {}
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 0\necho 1\n", encoding="utf-8")
    command.chmod(0o755)
    assert list_devices({}) == ["0", "1"]


def test_what_is_assigned_already_is_not_leased(tmp_path):
    machine = {DEVICES: "0,1,2,3", LEASES: str(tmp_path / "leases")}
    for assigned in ({VISIBLE: "3", "SLURM_JOB_ID": "17"}, {VISIBLE: "2", LEASED: "2"}):
        environment = machine | assigned
        assert lease_devices(1, environment) == [assigned[VISIBLE]]
        assert environment == machine | assigned
        assert not (tmp_path / "leases").exists()
    environment = machine | {VISIBLE: "2,3", "SLURM_JOB_ID": "17"}  # an allocation of two, inside of which jobs of one are started
    assert lease_devices(1, environment) == ["2"] and environment[VISIBLE] == environment[LEASED] == "2"
    free_lock(tmp_path / "leases" / "gpu-2.lock")


def test_more_devices_than_there_are_is_one_line_and_no_device_is_the_default(tmp_path):
    with pytest.raises(ConfigError, match=r"^resources.gpu: a job asks for 3 GPUs, but this machine has 2: 0, 1$"):
        lease_devices(3, {DEVICES: "0,1", LEASES: str(tmp_path)})
    machine = {DEVICES: "0,1", LEASES: str(tmp_path / "leases")}
    assert finish(start(STAGE, "--spec", json.dumps({"gpu": 1}), **machine)) == "0"
    assert finish(start(STAGE, "--spec", json.dumps({"gpu": 0}), **machine)) == ""
    assert finish(start(STAGE, "--spec", json.dumps({}), **machine, CUDA_VISIBLE_DEVICES="1")) == ""
    refused = start(STAGE, "--spec", json.dumps({"gpu": 3}), **machine)
    output, errors = refused.communicate()
    assert (refused.returncode, output, errors.count("\n")) == (2, "", 1) and errors.startswith("error: resources.gpu: ")


def test_users_and_jobs_of_a_scheduler_have_locks_of_their_own():
    assert find_leases({LEASES: "/shared/leases"}, "17") == Path("/shared/leases")
    assert find_leases({}, None).name == f"selectbench-leases-{os.getuid()}"
    assert find_leases({}, "17").name == f"selectbench-leases-{os.getuid()}-17"


def test_every_job_that_asks_snakemake_for_a_gpu_leases_one(root):
    plan = load_plan(root, {"scale": "small"})
    image, text = next(run for run in plan.runs.values() if run.dataset == "cifar10"), "tweets"
    search = next(run for run in plan.runs.values() if plan.config.is_search(run.method))
    plan.config.scale["repeats"] = 2
    jobs = [
        TrainProxy(image.dataset, "resnet18", "0"),
        TrainReplicates(image.dataset, "resnet18", "early_replicates", "0"),
        MeasureGradients(image.dataset, "resnet18", "alignments", "0"),
        MeasureTheory(image.dataset, "resnet18", "0"),
        EmbedSamples(image.dataset, "0"),
        TrainSelectors(image.dataset, "resnet18", "rl_selector", "0"),
        *(next(stage.list_wanted(plan)) for stage in (TrainTargets, FinetuneTargets, EvaluateTargets, EvaluateTexts)),
        EmbedTexts(text),
        MeasureTexts(text, "perplexities"),
        SearchClusters(search.dataset, search.proxy, search.method, "0"),
        MeasureSearches(search.dataset, search.proxy, "0"),
        MeasureValidity(search.dataset, search.proxy, search.target, "0"),
        next(TimeTrainings.list_of(plan, "data_agent", "cost")),
    ]
    specs = {job.name: job.specify(plan) for job in jobs}
    assert {spec["gpu"] for spec in specs.values()} == {1}
    assert "gpu" not in ClusterTexts(text, "kmeans", "20", "0").specify(plan) | PrepareData(text).specify(plan)
    asking = {name for name, rule in make_rules(plan).items() if "gpu" in rule.resources}
    assert len(asking) > 8 and asking == set(specs)


def test_one_workflow_at_a_time_holds_a_results_folder(tmp_path):
    program = "import sys, time; from pathlib import Path; from selectbench.workflow import claim_results; claim_results(Path(sys.argv[1]))"
    other = start(f"{program}; print(flush=True); time.sleep(60)", tmp_path)
    assert other.stdout.readline()
    with pytest.raises(SelectbenchError, match=rf"^{tmp_path}: another workflow is running here; wait until it ends"):
        claim_results(tmp_path)
    other.kill()
    other.communicate()
    claim_results(tmp_path)
    claim_results(tmp_path)
    free_lock(tmp_path / "state" / "workflow.lock")

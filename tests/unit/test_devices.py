"""Where a job asks for a GPU that is not there, it says so instead of computing on the CPU."""

import json
import subprocess
import sys

import pytest
import torch

from selectbench.errors import ConfigError
from selectbench.planning.plan import load_plan
from selectbench.records.arithmetic import has_avx2
from selectbench.records.leases import ALLOWED, DEVICES
from selectbench.records.provenance import CPU
from selectbench.training.devices import choose_device, describe_device, name_runtime, spare_bytes
from selectbench.training.recipes import uses_bfloat16
from selectbench.workflow import check_devices

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(autouse=True)
def nobody_has_allowed_the_cpu(monkeypatch):
    monkeypatch.delenv(ALLOWED, raising=False)


def test_a_gpu_that_torch_cannot_use_is_named_with_what_torch_is_built_for(tmp_path, monkeypatch):
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 470.57.02\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        choose_device(1)
    said = str(caught.value)
    assert said.startswith(f"resources.gpu: the job asks for 1, but torch {torch.__version__}, built for {name_runtime()}, can use none")
    assert "(driver 470.57.02)" in said and said.endswith(
        f"write gpu: 0 in the scale's resources, or set {ALLOWED}=1, to compute on the CPU"
    )
    command.unlink()
    with pytest.raises(ConfigError, match=r"\(no driver\)"):
        choose_device(1)


@pytest.mark.parametrize(("value", "allowed"), [("1", True), ("0", False), ("", False)])
def test_whoever_allows_it_gets_the_cpu(monkeypatch, value, allowed):
    monkeypatch.setenv(ALLOWED, value)
    if allowed:
        assert choose_device(1) == torch.device("cpu")
    else:
        with pytest.raises(ConfigError):
            choose_device(1)


def test_a_job_that_asks_for_none_computes_on_the_cpu():
    assert choose_device() == choose_device(0) == torch.device("cpu")
    assert describe_device(torch.device("cpu")) == CPU


def test_a_stage_that_asks_for_a_gpu_fails_in_one_line(tmp_path):
    program = "from selectbench.stages._command import run_stage; from selectbench.training.devices import choose_device; "
    done = subprocess.run(
        [sys.executable, "-c", f"{program}run_stage(lambda: choose_device(2))"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: resources.gpu: the job asks for 2, but torch ") and done.stderr.count("\n") == 1


def test_a_workflow_without_the_gpus_that_its_jobs_ask_for_does_not_start(root):
    plan = load_plan(root, {"scale": "small"})
    environment = {"PATH": ""}
    with pytest.raises(ConfigError) as caught:
        check_devices(plan, environment | {DEVICES: ""})
    said = str(caught.value)
    assert said.startswith("config/scale/small.yaml: resources.gpu: jobs ask for 1, but this machine has none; write 0, or set ")
    check_devices(plan, environment | {DEVICES: "", ALLOWED: "1"})
    check_devices(plan, environment | {DEVICES: "0"})
    check_devices(load_plan(root, {"scale": "tiny"}), environment | {DEVICES: ""})


@pytest.mark.parametrize(("free", "spare"), [(8 << 30, 2 << 30), (1 << 20, 1 << 26)])
def test_pieces_of_work_follow_the_free_memory_of_a_gpu(monkeypatch, free, spare):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 << 30))
    assert spare_bytes(torch.device("cuda")) == spare
    assert spare_bytes(torch.device("cpu")) == 1 << 26


def test_bfloat16_is_not_emulated(monkeypatch):
    class Recipe:
        precision = "bf16"

    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: asked.append(including_emulation))
    assert not uses_bfloat16(Recipe(), torch.device("cuda"))
    assert asked == [False]


DETERMINED = """
import json, torch
from selectbench.records.arithmetic import pin_arithmetic
from selectbench.training import devices
pin_arithmetic({arithmetic!r})
torch.cuda.is_available, torch.cuda.get_device_name = lambda: True, lambda device: "Some GPU"
torch.backends.cudnn.version = lambda: 91002
device = devices.choose_device(1)
before = devices.describe_device(device).gpu
values = torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))  # no kernel of CPUs but this one has two versions
flags = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory
print(json.dumps([before, devices.describe_device(device).gpu, flags]))
"""


@pytest.mark.skipif(not has_avx2(), reason="deterministic arithmetic holds CPUs to AVX2")
def test_deterministic_arithmetic_asks_for_deterministic_kernels_and_names_the_others(tmp_path):
    found = {}
    for arithmetic in ("deterministic", "avx2"):
        program = DETERMINED.format(arithmetic=arithmetic)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stderr == ""
        found[arithmetic] = json.loads(done.stdout)
    before, after, flags = found["deterministic"]
    assert (before["deterministic"], before["benchmark"], before["varying"], after["varying"]) == (True, False, [], ["put_"])
    assert flags == [True, False, False]
    before, after, flags = found["avx2"]
    assert before == after and (before["deterministic"], before["benchmark"]) == (False, True) and "varying" not in before
    assert flags == [False, True, True]

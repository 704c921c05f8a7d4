"""The bits of a stage do not depend on the widest instructions that the processor offers, unless its arithmetic is native."""

import json
import os
import subprocess
import sys

import pytest

from selectbench.cli import hold_arithmetic
from selectbench.planning.config import load_config
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import to_json
from selectbench.records import arithmetic
from selectbench.records.arithmetic import AVX2, NATIVE, SETTINGS, describe_arithmetic, has_avx2, pin_arithmetic
from selectbench.records.files import read_json
from selectbench.stages import _command
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.train_proxy import TrainProxy

WIDE = {
    "ATEN_CPU_CAPABILITY": "avx512",
    "ONEDNN_MAX_CPU_ISA": "ALL",
    "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    "OPENBLAS_CORETYPE": "SkylakeX",
    "NPY_DISABLE_CPU_FEATURES": "",
}
NARROW = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
}


def run_stage(name, spec, environment, **files):
    arguments = [part for option, path in files.items() for part in (f"--{option}", str(path))]
    command = [sys.executable, "-m", f"selectbench.stages.{name}", "--spec", to_json(spec), *arguments]
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.skipif(not has_avx2(), reason="the processor has no AVX2")
def test_a_proxy_is_the_same_whatever_the_processor_offers(root, tmp_path):
    where = {"scale": "smoke", "resources": str(tmp_path / "resources"), "results": str(tmp_path / "results")}
    found = {}
    for name, environment, chosen in (("wide", WIDE, "avx2"), ("narrow", NARROW, "avx2"), ("native", NARROW, "native")):
        plan = load_plan(root, where | {"arithmetic": chosen})
        data = tmp_path / "resources/digits/prepared/manifest.json"
        if not data.exists():
            run_stage("prepare_data", PrepareData("digits").specify(plan), environment, manifest=data)
        spec = TrainProxy("digits", "convnet", "0").specify(plan)
        spec["recipe"] = spec["recipe"] | {"epochs": 3}
        files = {output: tmp_path / f"{name}.{ending}" for output, ending in (("signals", "npz"), ("weights", "pt"), ("record", "json"))}
        run_stage("train_proxy", spec, environment, data=data, **files)
        found[name] = read_json(files["record"])
    assert [found[name]["provenance"]["arithmetic"] for name in ("wide", "narrow", "native")] == ["avx2", "avx2", "native"]
    signals = {name: record["sha256"][f"{name}.npz"] for name, record in found.items()}
    assert signals["wide"] == signals["narrow"]
    assert signals["native"] != signals["narrow"]  # the settings matter: kernels of another width add up otherwise


def test_settings_override_those_of_the_user_and_reach_processes_that_are_started(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx512")
    monkeypatch.setattr(arithmetic, "has_avx2", lambda: True)
    assert describe_arithmetic() == "native"
    pin_arithmetic()
    assert describe_arithmetic() == "avx2"
    program = "import os; print(os.environ['ATEN_CPU_CAPABILITY'])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "avx2\n"


def test_processors_without_avx2_are_left_alone(monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(arithmetic.platform, "machine", lambda: "aarch64")
    pin_arithmetic()
    assert not SETTINGS.keys() & os.environ.keys() and describe_arithmetic() == "native"


def test_a_stage_says_when_it_cannot_compute_as_asked(monkeypatch, capsys):
    for offered, said in ((NATIVE, "arithmetic: native, not avx2 as specified"), (AVX2, "")):
        monkeypatch.setattr(_command, "describe_arithmetic", lambda offered=offered: offered)
        monkeypatch.setattr(sys, "argv", ["stage", "--spec", '{"arithmetic": "avx2"}'])
        _command.parse_arguments("A stage.", (), ())
        assert capsys.readouterr().err.startswith(said)


def test_commands_compute_as_stages_do(monkeypatch, root):
    monkeypatch.chdir(root)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setattr(arithmetic, "has_avx2", lambda: True)
    hold_arithmetic()
    assert describe_arithmetic() == AVX2


def test_the_configuration_says_which_arithmetic_every_computing_job_uses(root):
    assert load_config(root).main["arithmetic"] == "avx2"
    plan = load_plan(root, {"arithmetic": "native"})
    assert json.loads(to_json(TrainProxy("digits", "convnet", "0").specify(plan)))["arithmetic"] == "native"

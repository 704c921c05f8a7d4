"""The bits of a stage do not depend on the widest instructions that the processor offers, unless its arithmetic is native."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from unittest import mock

import pytest
from benchmarks.arithmetic import find_batch

from selectbench.cli import hold_arithmetic
from selectbench.planning.config import load_config
from selectbench.planning.plan import load_plan
from selectbench.planning.rules import to_json
from selectbench.records import arithmetic
from selectbench.records.arithmetic import AVX2, DETERMINISTIC, NATIVE, SETTINGS, SSE4, describe_arithmetic, has_avx2, pin_arithmetic
from selectbench.records.files import read_json
from selectbench.stages import _command
from selectbench.stages.cluster_texts import ClusterTexts
from selectbench.stages.embed_samples import EmbedSamples
from selectbench.stages.embed_texts import EmbedTexts
from selectbench.stages.finetune_targets import FinetuneTargets
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.search_clusters import SearchClusters
from selectbench.stages.train_proxy import TrainProxy
from selectbench.stages.train_selectors import TrainSelectors
from selectbench.stages.train_targets import TrainTargets

WIDE = {  # as on a processor with AVX-512; a library whose processor lacks it uses what there is
    "ATEN_CPU_CAPABILITY": "avx512",
    "ONEDNN_MAX_CPU_ISA": "ALL",
    "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    "MKL_CBWR": "AUTO",
    "OPENBLAS_CORETYPE": "SkylakeX",
    "NPY_DISABLE_CPU_FEATURES": "",
    "NUMBA_CPU_NAME": "skylake-avx512",
}
NARROW = SETTINGS[SSE4]

SHARED = (  # made once: what the stages under test read
    PrepareData("digits"),
    PrepareData("tweets_few"),
    EmbedTexts("tweets_few"),
    ClusterTexts("tweets_few", "kmeans", "12", "0"),
)


def list_compared(plan):
    """Return the jobs under test by what they make."""
    return {
        "proxy": TrainProxy("digits", "convnet", "0"),
        "target": TrainTargets.for_batch(find_batch(plan, "train", "digits/none-to-convnet/equal_epochs/infobatch")),
        "agent": TrainSelectors("digits", "convnet", "rl_selector_tuned", "0"),
        "encoder": EmbedSamples("digits", "0"),
        "language head": FinetuneTargets.for_batch(find_batch(plan, "train", "tweets_few/none-to-minilm_head/equal_epochs/data_agent")),
        "search": SearchClusters("tweets_few", "minilm_head", "climb_disc_few", "0"),
    }


@pytest.fixture(autouse=True)
def _own_environment():
    """Settings that a test makes end with it."""
    with mock.patch.dict(os.environ):
        yield


def load_small_plan(root, chosen):
    """Load scale smoke with fewer epochs and trainings, and paths that are the same wherever its stages run."""
    plan = load_plan(root, {"scale": "smoke", "resources": "resources", "results": "results", "arithmetic": chosen})
    for recipe in ("digits_smoke", "head", "head_proxy"):
        plan.config.recipes[recipe]["epochs"] = 3
    plan.config.encoders["digits_simclr"]["epochs"] = 2
    plan.config.methods["climb_disc_few"]["parameters"] |= {"trainings": 24}
    return plan


RUNNER = """
import json, os, runpy, sys

commands = json.loads(sys.argv[1])
sys.argv[:] = ["-m", *commands[0][1]]  # as a command sees it while its packages are imported
import selectbench.stages
import torch

for name, arguments in commands:
    process = os.fork()
    if process == 0:
        sys.argv[:] = [name, *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status:
        sys.exit(f"{name} ended with status {status}")
"""


def run_stages(plan, jobs, folder, environment):
    """Run the commands of jobs in a folder, with variables set from outside, each in its own process; they share the import of torch."""
    commands = json.dumps([make_command(plan, job) for job in jobs])
    command = [sys.executable, "-c", RUNNER, commands]
    result = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]


def make_command(plan, job):
    """Return the module and the arguments of a job's command, with one keep fraction, one run of a sampler, and no unneeded test set."""
    spec, inputs = job.specify(plan), job.list_input_paths(plan)
    if "test_sets" in spec:
        spec = {**spec, "test_sets": ["test"]}
    if "splits" in spec:
        spec = {**spec, "splits": ["pool", "validation"]}
    if "runs" in spec:
        spec, inputs = {**spec, "runs": [run for run in spec["runs"] if run["sampler"]][:1]}, {**inputs, "subsets": []}
    if "keeps" in spec:
        spec = {**spec, "keeps": spec["keeps"][:1]}
    files = inputs | {name: [path] for name, path in job.list_outputs(plan).items()}
    arguments = [part for option, paths in files.items() for part in (f"--{option}", *paths)]
    return f"selectbench.stages.{job.name}", ["--spec", to_json(spec), *arguments]


def read_results(folder, plan):
    """Return what is compared → path → content: the bytes of arrays and weights, and what records say of results."""
    with contextlib.chdir(folder):
        paths = {name: set(job.list_files(plan)) for name, job in list_compared(plan).items()}
        return {
            name: {path: drop_origin(read_json(path)) if path.suffix == ".json" else path.read_bytes() for path in files}
            for name, files in paths.items()
        }


def drop_origin(value):
    """Drop times, memory, provenance, and digests of specifications and of records that hold times."""
    if isinstance(value, dict):
        return {
            name: drop_origin(part)
            for name, part in value.items()
            if not name.endswith("_s") and name not in ("provenance", "peak_memory_mb", "key", "digest", "made_from")
        }
    return [drop_origin(part) for part in value] if isinstance(value, list) else value


def find_arithmetics(folder):
    records = [read_json(path) for path in (folder / "results").rglob("*.json")]
    return {record["provenance"]["arithmetic"] for record in records if "provenance" in record}


@pytest.mark.skipif(not has_avx2(), reason="the processor has no AVX2")
def test_stages_give_the_same_bytes_whatever_the_processor_offers(root, tmp_path):
    """Also that each stage gives other bytes in a narrow environment with native arithmetic: otherwise, equality would say nothing."""
    plan = load_small_plan(root, AVX2)
    compared = list_compared(plan)
    wide, narrow, native = (tmp_path / name for name in ("wide", "narrow", "native"))
    wide.mkdir()
    run_stages(plan, SHARED, wide, WIDE)
    for folder in (narrow, native):
        shutil.copytree(wide, folder)
    run_stages(plan, compared.values(), wide, WIDE)
    run_stages(plan, compared.values(), narrow, NARROW)
    run_stages(load_small_plan(root, NATIVE), compared.values(), native, NARROW)
    pinned, emulated, other = (read_results(folder, plan) for folder in (wide, narrow, native))
    for name in compared:
        assert pinned[name] and pinned[name] == emulated[name], name
        assert pinned[name] != other[name], f"{name}: the same bytes with another arithmetic"
    assert find_arithmetics(wide) == find_arithmetics(narrow) == {AVX2}


def test_settings_override_those_of_the_user_and_reach_processes_that_are_started(monkeypatch):
    monkeypatch.setattr(arithmetic, "has_flag", lambda flag: True)
    for name in (SSE4, AVX2, SSE4):
        pin_arithmetic(NATIVE)
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx512")
        assert describe_arithmetic() == NATIVE
        pin_arithmetic(name)
        assert describe_arithmetic() == name
        program = "import os; print(os.environ['ATEN_CPU_CAPABILITY'])"
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert said.strip() == SETTINGS[name]["ATEN_CPU_CAPABILITY"]
    assert SETTINGS[AVX2].keys() == SETTINGS[SSE4].keys()  # no setting of one is left when the other is chosen


def test_processors_without_the_instructions_are_left_alone(monkeypatch):
    for name in SETTINGS[AVX2]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(arithmetic.platform, "machine", lambda: "aarch64")
    for name in SETTINGS:
        pin_arithmetic(name)
    assert not SETTINGS[AVX2].keys() & os.environ.keys() and describe_arithmetic() == NATIVE


def test_a_stage_says_when_it_cannot_compute_as_asked(monkeypatch, capsys):
    for asked, offered, said in (
        (AVX2, NATIVE, "arithmetic: native, not avx2 as specified"),
        (SSE4, AVX2, "arithmetic: avx2, not sse4 as specified"),
        (AVX2, AVX2, ""),
        (NATIVE, AVX2, ""),
    ):
        monkeypatch.setattr(_command, "describe_arithmetic", lambda offered=offered: offered)
        monkeypatch.setattr(sys, "argv", ["stage", "--spec", to_json({"arithmetic": asked})])
        _command.parse_arguments("A stage.", (), ())
        message = capsys.readouterr().err
        assert message.startswith(said) and bool(message) == bool(said)


@pytest.mark.parametrize("name", [AVX2, SSE4, NATIVE, DETERMINISTIC])
def test_a_stage_computes_as_its_specification_says(name):
    program = "import sys; sys.argv[0] = '-m'; import selectbench.stages, os; print(os.environ.get('OPENBLAS_CORETYPE'))"
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS[DETERMINISTIC]}
    command = [sys.executable, "-c", program, "--spec", to_json({"arithmetic": name})]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    offered = name != NATIVE and arithmetic.has_flag({AVX2: "avx2", SSE4: "sse4_2", DETERMINISTIC: "avx2"}[name])
    assert said == (SETTINGS[name]["OPENBLAS_CORETYPE"] if offered else "None")


@pytest.mark.parametrize("written", [AVX2, SSE4, NATIVE, DETERMINISTIC, "avx3", "[avx2]"])
def test_commands_compute_as_stages_do(monkeypatch, tmp_path, written):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(f"arithmetic: {written}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx512")
    for name in SETTINGS[DETERMINISTIC]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(arithmetic, "has_flag", lambda flag: True)
    hold_arithmetic()
    assert describe_arithmetic() == (written if written in SETTINGS else NATIVE)


def test_the_configuration_says_which_arithmetic_every_computing_job_uses(root):
    assert load_config(root).main["arithmetic"] == "avx2"
    for name in (SSE4, NATIVE, DETERMINISTIC):
        plan = load_plan(root, {"arithmetic": name})
        assert json.loads(to_json(TrainProxy("digits", "convnet", "0").specify(plan)))["arithmetic"] == name

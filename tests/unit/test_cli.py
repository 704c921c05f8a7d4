"""The commands that need no workflow."""

import os
import subprocess
import sys

import numpy as np
import pytest

import selectbench as sb


def run(*arguments: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "selectbench.cli", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def npz(tmp_path, signals):
    signals.save(tmp_path / "mine.npz")
    return tmp_path


def test_select_works_on_ones_own_signals_anywhere(npz, signals):
    result = run("select", "moderate", "--signals", "mine.npz", "--keep", "0.3", "--seed", "4", "--set", "prototype=median", cwd=npz)
    assert result.returncode == 0, result.stderr
    expected = sb.select("moderate", signals, 0.3, seed=4, prototype="median").ids
    assert [int(line) for line in result.stdout.split()] == expected.tolist()
    result = run("select", "el2n", "--signals", "mine.npz", "--keep", "1/4", "--output", "kept.npz", cwd=npz)
    assert result.stdout == "kept.npz: 51 of 203 ids\n"
    with np.load(npz / "kept.npz") as kept:
        assert kept["ids"].shape == (51,)
        assert kept["scores"].shape == (203,)


@pytest.mark.parametrize("name", ["kept.npz", "kept.NPZ", "kept.npy", "kept.txt", "kept.csv", "kept"])
def test_ids_are_written_as_the_name_of_the_file_says(npz, signals, name):
    result = run("select", "moderate", "--signals", "mine.npz", "--keep", "1/4", "--output", name, cwd=npz)
    assert result.stdout == f"{name}: 51 of 203 ids\n", result.stderr
    if name.lower().endswith(".npz"):
        with np.load(npz / name) as kept:
            ids = kept["ids"]
    else:
        ids = np.load(npz / name) if name.endswith(".npy") else np.loadtxt(npz / name, dtype=np.int64)
    assert ids.tolist() == sb.select("moderate", signals, 0.25).ids.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["el2n", "--keep", "0.3", "--output", "kept.json"],
            "error: --output kept.json: ids are not written as .json; valid endings: .npz, .npy, .txt, .csv",
        ),
        (["el2", "--keep", "0.3"], "error: unknown method 'el2'; did you mean 'el2n'?"),
        (["el2n", "--keep", "0"], "error: keep: '0' is outside (0, 1]"),
        (["el2n", "--keep", "1.2"], "error: keep: '1.2' is outside (0, 1]"),
        (["el2n", "--keep", "half"], "error: keep: 'half' is not a number"),
        (["el2n", "--keep", "0.3", "--set", "untill=1"], "error: method 'el2n' has no parameter 'untill'; did you mean 'until'?"),
        (["el2n", "--keep", "0.3", "--set", "until"], "error: --set until: should be NAME=VALUE"),
        (["el2n", "--keep", "0.3", "--set", "until=soon"], "error: until: 'soon' is not a number"),
        (["full", "--keep", "0.3"], "error: method 'full' keeps all 203 samples, not 61; use keep 1"),
        (["el2n", "--keep", "0.3", "--output", "mine.npz/kept.txt"], "error: mine.npz/kept.txt: cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_status_2(npz, arguments, message):
    result = run("select", *arguments, "--signals", "mine.npz", cwd=npz)
    assert result.returncode == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("output", ["mine.npz", "./mine.npz", "linked.npz", "hard.npz"])
def test_the_signals_are_never_overwritten(npz, output):
    (npz / "linked.npz").symlink_to("mine.npz")
    (npz / "hard.npz").hardlink_to(npz / "mine.npz")
    before = (npz / "mine.npz").read_bytes()
    result = run("select", "moderate", "--signals", "mine.npz", "--keep", "0.5", "--output", output, cwd=npz)
    assert result.returncode == 2
    expected = f"--output: {output.removeprefix('./')} is the file of --signals, and would replace it; name another, e.g. mine-kept.npz"
    assert result.stderr == f"error: {expected}\n"
    assert (npz / "mine.npz").read_bytes() == before


def test_bad_signals_are_one_line(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    result = run("select", "el2n", "--signals", "bad.npz", "--keep", "0.3", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: bad.npz: not a readable .npz")
    np.savez(tmp_path / "bad.npz", labels=[0, 1], ids=[3, 3])
    result = run("select", "random", "--signals", "bad.npz", "--keep", "0.5", cwd=tmp_path)
    assert result.stderr == "error: bad.npz: ids: 3 occurs 2 times; sample ids must be unique\n"


def test_commands_outside_a_project_say_so(tmp_path):
    for command in (["plan"], ["status"], ["why"], ["data", "list"], ["report"]):
        result = run(*command, cwd=tmp_path)
        assert result.returncode == 2
        assert result.stderr.startswith("error: config/config.yaml: no such file")


def test_plan_takes_the_configuration_as_snakemake_does(root):
    named = run("plan", "--config", "scale=smoke", "papers=[data_agent]", "--cores", "2", cwd=root)
    assert named.returncode == 0, named.stderr
    assert named.stdout.startswith("smoke ") and "Data Agent: " in named.stdout and "RL-Selector: " not in named.stdout
    assert run("plan", "--config", "scale=tiny", "--scale", "smoke", "--cores", "2", cwd=root).stdout.startswith("smoke ")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scale", "error: --config scale: should be KEY=VALUE"),
        ("=tiny", "error: --config =tiny: should be KEY=VALUE"),
        ("scale=tinny", "error: config/config.yaml: scale: unknown 'tinny'; did you mean 'tiny'?"),
        ("scales=tiny", "error: config/config.yaml: scales: unknown key; did you mean 'scale'?"),
        ("papers={", "error: --config papers: not valid YAML in line 2: did not find expected node content"),
    ],
)
def test_plan_names_a_wrong_setting(root, setting, message):
    result = run("plan", "--config", setting, cwd=root)
    assert (result.returncode, result.stderr.strip()) == (2, message)


def test_data_names_the_closest_data_set(root):
    result = run("data", "check", "cifar01", cwd=root)
    assert result.stderr == "error: config/datasets.yaml: unknown data set 'cifar01'; did you mean 'cifar10'?\n"
    assert run("data", "check", "digits", cwd=root).returncode == 0
    assert "digits: Handwritten digits" in run("data", "list", cwd=root).stdout


@pytest.mark.parametrize("keep", ["0.1", "1"])
def test_output_that_cannot_be_written_is_one_line(npz, keep):
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "selectbench.cli", "select", "el2n", "--signals", "mine.npz", "--keep", keep]
        result = subprocess.run(command, cwd=npz, stdout=full, stderr=subprocess.PIPE, encoding="utf-8", check=False)
    assert (result.returncode, result.stderr) == (2, "error: select: No space left on device\n")


def test_output_that_nobody_reads_any_more_ends_a_command_quietly(npz):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:
        command = [sys.executable, "-m", "selectbench.cli", "select", "el2n", "--signals", "mine.npz", "--keep", "1"]
        result = subprocess.run(command, cwd=npz, stdout=closed, stderr=subprocess.PIPE, encoding="utf-8", check=False)
    assert (result.returncode, result.stderr) == (1, "")

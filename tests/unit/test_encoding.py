"""Texts and names of files are UTF-8 in any locale."""

import os
import subprocess
import sys

import numpy as np
import pytest

LOCALES = {  # each without what Python does to mend it
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ASCII streams": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
    "Latin-1 streams": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"},
}
STAGE = "import sys; from selectbench.stages._command import run_stage; run_stage(lambda: print(sys.stdin.read(), end=''))"


def run(locale, *command, cwd=None, given=b""):
    command = [sys.executable, *command]
    return subprocess.run(command, env=os.environ | LOCALES[locale], cwd=cwd, input=given, capture_output=True, check=False)


@pytest.mark.parametrize("locale", LOCALES)
def test_commands_read_and_write_utf8(tmp_path, locale):
    name = "mein ü→.npz"
    np.savez(tmp_path / name, labels=np.arange(20) % 2)
    output = "behalten ü.txt"
    command = ("-m", "selectbench.cli", "select", "random", "--signals", name, "--keep", "0.5")
    result = run(locale, *command, "--output", output, cwd=tmp_path)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, f"{output}: 10 of 20 ids\n", b"")
    assert (tmp_path / output).exists()
    result = run(locale, *command, "--set", "größe=1", cwd=tmp_path)
    assert (result.returncode, result.stderr.decode()) == (2, "error: method 'random' has no parameter 'größe'; valid: quota, tail\n")


@pytest.mark.parametrize("locale", LOCALES)
def test_stages_read_and_write_utf8(locale):
    text = "Größe → ü, ≥ 30 %, 数\n".encode() + b"caf\xe9\n"
    result = run(locale, "-c", STAGE, given=text)
    assert (result.returncode, result.stdout, result.stderr) == (0, text, b"")


def test_another_program_is_told_what_to_set():
    result = run("ASCII", "-c", "from selectbench.records.encoding import hold_utf8; hold_utf8()")
    assert result.stderr.decode().endswith("the locale has the encoding ascii, not UTF-8; set PYTHONUTF8=1 and start again\n")
    command = [sys.executable, "-c", "from selectbench.records.encoding import hold_utf8; hold_utf8(); print('ü')"]
    done = subprocess.run(command, env=os.environ | LOCALES["ASCII"] | {"PYTHONUTF8": "1"}, capture_output=True, check=True)
    assert done.stdout.decode() == "ü\n"


def test_a_program_that_ignores_the_variables_is_not_started_for_ever(tmp_path):
    (tmp_path / "selectbench").write_text("from selectbench.records.encoding import hold_utf8\nhold_utf8()\n", encoding="utf-8")
    source = os.environ.get("PYTHONPATH", "")
    program = f"import sys; sys.path[:0] = {source.split(os.pathsep)!r}; sys.argv = ['selectbench']; exec(open('selectbench').read())"
    result = run("ASCII", "-E", "-X", "utf8=0", "-c", program, cwd=tmp_path)
    assert b"set PYTHONUTF8=1 and start again" in result.stderr

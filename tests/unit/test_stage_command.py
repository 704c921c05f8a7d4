"""How the process of a stage starts and ends."""

import gc
import subprocess
import sys

import pytest

ENDING = """
import atexit, gc
from selectbench.errors import DataError
from selectbench.stages._command import resume_collection, run_stage

atexit.register(print, "taken down")
gc.disable()

def stage():
    resume_collection()
    print("collecting", gc.isenabled())
    {what}

run_stage(stage)
"""


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise DataError('a.npy: is empty')", 2, "error: a.npy: is empty\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_a_stage_says_everything_and_a_finished_one_ends_at_once(what, status, said):
    result = subprocess.run([sys.executable, "-c", ENDING.format(what=what)], capture_output=True, text=True, check=False)
    assert result.returncode == status
    assert result.stderr.endswith(said) and ("Traceback" in result.stderr) == (status == 1)
    assert result.stdout == "collecting True\n" + ("taken down\n" if status == 1 else "")


@pytest.mark.parametrize(("started", "collecting"), [("-m", False), ("a.py", True)])
def test_imports_go_without_collecting_only_in_a_stage_that_is_run(started, collecting):
    code = f"import gc, sys; sys.argv = [{started!r}]; import selectbench.stages; print(gc.isenabled())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == f"{collecting}\n"
    assert gc.isenabled()


def test_python_names_a_module_that_it_looks_up_to_run_by_dash_m(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("import sys\nprint(sys.argv[0])\n", encoding="utf-8")
    (tmp_path / "package/stage.py").write_text("", encoding="utf-8")
    result = subprocess.run([sys.executable, "-m", "package.stage", "--spec"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout == "-m\n"

"""A stage that is forked from a warm process behaves as one that Python starts, and no command fails because of warm processes."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from selectbench.planning.plan import load_plan
from selectbench.stages._warm_start import FOLDER, FORWARDED
from selectbench.workflow import SINGLE, TEMPORARY, end_warm_processes, offer_warm_start, start_warm_process

PREFIX = f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
PROBE = '''"""Runs what it is told to."""

import os, sys

if __name__ == "__main__":
    exec(sys.argv[1])
'''
PARENT = "print(open(f'/proc/{os.getppid()}/cmdline').read())"
DESCRIBE = """
import sklearn.cluster  # sets variables
import gc, json, locale, logging, signal, threading
streams = [[s.fileno(), s.encoding, s.errors, s.line_buffering, s.mode, s.isatty()] for s in (sys.stdin, sys.stdout, sys.stderr)]
main = sys.modules["__main__"]
status = [line for line in open("/proc/self/status") if line.startswith(("SigB", "SigI", "Umask", "Uid", "Cap", "Cpus"))]
print(json.dumps({
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "cwd": os.getcwd(), "flags": str(sys.flags),
    "environment": {name: value for name, value in os.environ.items()},
    "streams": streams, "said": sys.stdin.read(), "locale": locale.getlocale(), "filesystem": sys.getfilesystemencoding(),
    "main": [main.__name__, main.__spec__.name, main.__file__, main.__package__, main.__cached__, vars(main) is globals()],
    "collecting": [gc.isenabled(), gc.get_threshold()],
    "signals": {int(number): str(signal.getsignal(number)) for number in signal.valid_signals()},
    "process": [os.getsid(0), os.nice(0), open("/proc/self/limits").read(), open("/proc/self/oom_score_adj").read(), status],
    "files": sorted(name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")),
    "threads": [thread.name for thread in threading.enumerate()],
    "logging": [logging.getLogger().level, str(logging.getLogger().handlers)],
    "modules": ["selectbench.stages._probe" in sys.modules, sys.modules["selectbench.stages"].__name__],
}))
"""
COMPUTE = """
import hashlib, json, torch
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(0)
x, w, k = (torch.randn(*shape, generator=draw) for shape in ((64, 3, 16, 16), (768, 33), (8, 3, 3, 3)))
made = [torch.softmax(x.flatten(1) @ w, 1), torch.nn.functional.conv2d(x, k), torch.exp(x), torch.linalg.svd(w)[1]]
print(json.dumps({
    "bytes": [hashlib.sha256(array.numpy().tobytes()).hexdigest() for array in made],
    "seed": torch.initial_seed(), "state": [str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.cuda.is_initialized()],
    "threads": [torch.get_num_threads(), torch.get_num_interop_threads(), len(os.listdir("/proc/self/task"))],
    "parallel": torch.__config__.parallel_info(), "capability": torch.backends.cpu.get_cpu_capability(),
}))
"""
WAIT = "import time; print(os.getpid(), flush=True); time.sleep(600)"


@dataclass(frozen=True)
class Warm:
    """A copy of the package with a stage that runs what it is told to, and a warm process that serves it."""

    root: Path
    folder: Path
    process: subprocess.Popen

    def environment(self, warm: bool = True) -> dict[str, str]:
        given = os.environ | dict.fromkeys(SINGLE, "1") | {"PYTHONPATH": str(self.root / "src"), FOLDER: str(self.folder)}
        given.pop("PYTEST_CURRENT_TEST", None)
        return given | dict.fromkeys(TEMPORARY, "/tmp") | ({} if warm else {FOLDER: ""})

    def start(self, code: str, *arguments: str, before: str = "", warm: bool = True, **options) -> subprocess.Popen:
        """Start the stage as Snakemake starts a job, perhaps after other commands of the shell."""
        command = f"{PREFIX}{before}exec python -m selectbench.stages._probe {shlex.join([code, *arguments])}"
        options = {"env": self.environment(warm), "cwd": self.root, "stdin": subprocess.DEVNULL, **options}
        return subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    def run(self, code: str, *arguments: str, said: str | None = None, **options) -> tuple[int, str, str]:
        """Return exit status, output and errors."""
        process = self.start(code, *arguments, **({"stdin": subprocess.PIPE} if said else {}), **options)
        output, errors = process.communicate(said, timeout=120)
        return process.returncode, output, errors

    def serves(self, *arguments: str, **options) -> bool:
        """Tell whether the warm process serves a command, which succeeds in any case."""
        status, output, errors = self.run(PARENT, *arguments, **options)
        assert (status, errors) == (0, "")
        return "_warm_process" in output


def start(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, libraries: str = "numpy") -> Warm:
    folder.mkdir(mode=0o700)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", "/tmp")
        patch.setenv("PYTHONPATH", str(root / "src"))
        patch.setenv(FOLDER, str(folder))
        patch.delenv("PYTEST_CURRENT_TEST", raising=False)
        patch.chdir(root)
        return Warm(root, folder, start_warm_process(folder, libraries, ["_probe"], "avx2", PREFIX))


@pytest.fixture(scope="module", autouse=True)
def heard():
    """No signal is ignored here, as some are in what a shell starts in the background: processes inherit that."""
    ignored = [number for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="module")
def copied(root, tmp_path_factory) -> Path:
    copy = tmp_path_factory.mktemp("copied")
    shutil.copytree(root / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "src/selectbench/stages/_probe.py").write_text(PROBE, encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def warm(copied, tmp_path_factory) -> Iterator[Warm]:
    """A warm process that no test ends."""
    folder = tmp_path_factory.mktemp("warm") / "sockets"
    with pytest.MonkeyPatch.context() as patch:
        warm = start(copied, folder, patch)
    yield warm
    assert warm.process.poll() is None
    end_warm_processes([warm.process], str(folder))
    assert not folder.exists()


@pytest.fixture
def own(copied, tmp_path, monkeypatch) -> Iterator[Warm]:
    """A warm process that the test may end."""
    warm = start(copied, tmp_path / "sockets", monkeypatch)
    yield warm
    end_warm_processes([warm.process], str(tmp_path / "sockets"))


def is_running(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return False


def await_end(process: int) -> None:
    while is_running(process):
        time.sleep(0.01)


def find_parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def test_a_stage_finds_itself_as_in_a_fresh_process(warm):
    assert warm.serves()
    arguments = ("--spec", '{"a": "ü"}', "", "two words")
    found, fresh = (json.loads(warm.run(DESCRIBE, *arguments, said="a\nb", warm=way)[1]) for way in (True, False))
    assert (found["environment"].pop(FOLDER), fresh["environment"].pop(FOLDER)) == (str(warm.folder), "")
    assert found.keys() == fresh.keys() and fresh["said"] == "a\nb" and fresh["main"][0] == "__main__" and not fresh["collecting"][0]
    for name, value in fresh.items():
        assert found[name] == value, name


def test_torch_computes_as_in_a_fresh_process(copied, tmp_path, monkeypatch):
    warm = start(copied, tmp_path / "sockets", monkeypatch, "torch")
    assert warm.serves()
    found, again, fresh = (json.loads(warm.run(COMPUTE, warm=way)[1]) for way in (True, True, False))
    assert len({made.pop("seed") for made in (found, again, fresh)}) == 3
    assert found == again == fresh and fresh["threads"][2] == 1
    end_warm_processes([warm.process], str(warm.folder))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("print('a'); sys.exit(3)", 3),
        ("sys.exit('no')", 1),
        ("from selectbench.errors import DataError\nfrom selectbench.stages._command import run_stage\n"
         "def work(): raise DataError('a.npy: is empty')\nrun_stage(work)", 2),
        ("import atexit; atexit.register(print, 'end'); 1 / 0", 1),
        ("os.kill(os.getpid(), 15)", -signal.SIGTERM),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("os.kill(os.getpid(), 2)", -signal.SIGINT),
    ],
)  # fmt: skip
def test_a_command_says_and_ends_as_a_fresh_one(warm, code, status):
    found, fresh = warm.run(code), warm.run(code, warm=False)
    assert found[:2] == fresh[:2] and found[0] == status
    assert found[2].splitlines()[-1:] == fresh[2].splitlines()[-1:]
    if status == 2:
        assert found[2] == "error: a.npy: is empty\n"


def test_random_numbers_differ_between_stages(warm):
    code = "import random; import numpy as np; print(random.random(), np.random.random(), os.urandom(4).hex())"
    drawn = [warm.run(code)[1].split() for _ in range(2)]
    assert all(first != second for first, second in zip(*drawn, strict=True))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_the_stage(warm, number):
    stage = warm.start(WAIT)
    process = int(stage.stdout.readline())
    stage.send_signal(number)
    stage.communicate()
    assert stage.returncode == -number and not is_running(process)


def test_a_stage_may_answer_a_signal(warm):
    stage = warm.start(f"import signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(7)); {WAIT}")
    stage.stdout.readline()
    stage.terminate()
    stage.communicate()
    assert stage.returncode == 7


def test_a_killed_command_takes_its_stage_along(warm):
    stage = warm.start(WAIT)
    process = int(stage.stdout.readline())
    keeper = find_parent(process)
    stage.kill()
    assert stage.communicate()[1] == "" and stage.returncode == -signal.SIGKILL
    await_end(process)
    await_end(keeper)


def test_a_killed_keeper_takes_its_stage_along_and_the_command_ends_as_killed(warm):
    stage = warm.start(WAIT)
    process = int(stage.stdout.readline())
    os.kill(find_parent(process), signal.SIGKILL)
    stage.communicate()
    assert stage.returncode == -signal.SIGKILL
    await_end(process)


def test_a_stage_is_in_the_process_group_of_its_command(own):
    """The test has the warm process's session, as jobs of a workflow have."""
    code = "import signal; print(os.getpgrp(), flush=True); " + WAIT
    stage = own.start(code, process_group=0)
    group, process = int(stage.stdout.readline()), int(stage.stdout.readline())
    assert group == stage.pid != os.getpgrp()
    keeper = find_parent(process)
    assert os.getpgid(keeper) == group
    os.killpg(group, signal.SIGKILL)
    stage.communicate()
    for left in (process, keeper):
        await_end(left)
    assert own.serves()


def test_a_running_stage_outlives_the_warm_process_and_the_next_one_starts_itself(own):
    assert own.serves()
    stage = own.start("print(os.getpid(), flush=True); sys.exit(int(sys.stdin.readline()))", stdin=subprocess.PIPE)
    process = int(stage.stdout.readline())
    own.process.kill()
    own.process.wait()
    assert is_running(process)
    assert not own.serves()
    assert stage.communicate("5\n") == ("", "") and stage.returncode == 5


def test_a_warm_process_ends_with_its_workflow(own):
    assert own.serves()
    stage = own.start("print(os.getpid(), flush=True); sys.exit(int(sys.stdin.readline()))", stdin=subprocess.PIPE)
    stage.stdout.readline()
    own.process.stdin.close()
    assert own.process.wait() == 0
    assert stage.communicate("5\n") == ("", "") and stage.returncode == 5


@pytest.mark.parametrize(
    "before",
    [
        *("export OMP_NUM_THREADS=2; ", "export MKL_CBWR=COMPATIBLE; ", "export CUDA_VISIBLE_DEVICES=0; ", "unset PYTHONPATH; "),
        *("export PYTHONHASHSEED=7; ", "export LC_ALL=C; ", "umask 0777; ", "ulimit -S -n 100; ", "ulimit -S -c 1; ", "nice -n 1 "),
        *("cd src; ", "trap '' USR2; ", "setsid -w "),
    ],
)
def test_a_command_starts_itself_if_it_inherits_something_else(warm, before):
    if before.startswith("unset"):
        before += "cd src; "  # finds the package there
    runs = before.endswith("; ")
    changed = before if runs else ""
    command = "exec python" if runs else f"exec {before}python"
    line = f"{PREFIX}{changed}{command} -m selectbench.stages._probe {shlex.quote(PARENT)}"
    result = subprocess.run(["bash", "-c", line], env=warm.environment(), cwd=warm.root, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "_warm_process" not in result.stdout
    assert warm.serves()


def test_a_command_on_fewer_processors_starts_itself(warm):
    processors = os.sched_getaffinity(0)
    if len(processors) == 1:
        pytest.skip("there is one processor")
    assert not warm.serves(before=f"taskset -p -c {min(processors)} $$ > /dev/null; ")


@pytest.mark.parametrize(
    ("spec", "served"),
    [
        ({}, True),
        ({"gpu": 0, "arithmetic": "avx2", "recipe": {"processes": 1}}, True),
        ({"gpu": 1}, False),
        ({"recipe": {"processes": 2}}, False),
        ({"arithmetic": "native"}, False),
    ],
)
def test_stages_with_a_gpu_several_processes_or_another_arithmetic_start_themselves(warm, spec, served):
    assert warm.serves("--spec", json.dumps(spec)) == served


@pytest.mark.parametrize("option", ["-u", "-X dev", "-W ignore"])
def test_a_command_with_options_of_python_starts_itself(warm, option):
    line = f"{PREFIX}exec python {option} -m selectbench.stages._probe {shlex.quote(PARENT)}"
    result = subprocess.run(["bash", "-c", line], env=warm.environment(), cwd=warm.root, capture_output=True, text=True, check=True)
    assert "_warm_process" not in result.stdout


def test_a_command_starts_itself_once_the_code_has_changed(own):
    assert own.serves()
    path = own.root / "src/selectbench/seeds.py"
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert not own.serves()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert own.serves()


@pytest.mark.parametrize("place", ["nothing", "file", "deaf"])
def test_a_command_starts_itself_if_nobody_answers(warm, tmp_path, place):
    """The folder holds no socket, a file in its place, or a socket that nobody listens to any more."""
    (tmp_path / place).mkdir()
    if place == "file":
        (tmp_path / place / "_probe").write_text("", encoding="utf-8")
    elif place == "deaf":
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(str(tmp_path / place / "_probe"))
    status, output, errors = warm.run(PARENT, env=warm.environment() | {FOLDER: str(tmp_path / place)})
    assert (status, errors) == (0, "") and "_warm_process" not in output


def test_a_temporary_folder_that_takes_no_sockets_is_told_and_jobs_start_as_usual(root, tmp_path, monkeypatch, capsys):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    monkeypatch.setenv(FOLDER, "of another workflow")
    offer_warm_start(load_plan(root), "", ["train_targets"] * 100, local=True)
    assert FOLDER not in os.environ
    assert list(deep.iterdir()) == []
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "takes no sockets (AF_UNIX path too long); set TMPDIR to another" in error


FULL = """
import sys
from pathlib import Path
from selectbench.planning.plan import load_plan
from selectbench.workflow import offer_warm_start
offer_warm_start(load_plan(Path(sys.argv[1])), "", ["train_targets"] * 100, local=True)
"""


def test_a_temporary_folder_that_is_full_is_told_and_jobs_start_as_usual(root, tmp_path):
    """A real file system, which only this test sees, with a single inode."""
    full = 'mount -t tmpfs -o nr_inodes=1 none "$1" && export TMPDIR="$1" && shift && exec "$@"'
    bare = ["unshare", "--map-root-user", "--mount", "sh", "-c", full, "sh", str(tmp_path)]
    if subprocess.run([*bare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    code = FULL.replace("import sys\n", f"import sys, tempfile\ntempfile.tempdir = {str(tmp_path)!r}\n", 1)
    result = subprocess.run([*bare, sys.executable, "-c", code, str(root)], capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(f"{tmp_path}: jobs start cold, since it takes no sockets ([Errno 28] No space left on device")
    assert result.stderr.count("\n") == 1


def test_requests_that_make_no_sense_do_no_harm(warm):
    for content in (b"", b"abc", (3).to_bytes(8) + b"abc", (4).to_bytes(8) + b"\0\0\0\0"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(warm.folder / "_probe"))
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
    assert warm.serves()

"""A warm process: it has imported what stages import, and forks a process for each command of a stage that asks for one.

A workflow starts it with its own environment and in its own process group. It ends when the workflow does. Between it and each stage stands
a keeper, also forked, in the process group of the command: it waits for the stage, tells the command how it ended, and kills the stage
when the command is gone. The stage is killed by the kernel when its keeper is gone. So a stage lives exactly as long as its command, and no
stage depends on the warm process after its start.

The warm process imports when it is first asked, so a workflow without suitable jobs pays nothing. Before it forks, it makes sure that it
has a single thread. It never computes, and never initialises CUDA.
"""

import ctypes
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.abc import InspectLoader
from io import TextIOWrapper
from types import ModuleType
from typing import NamedTuple

from selectbench.records.arithmetic import AVX2
from selectbench.records.encoding import speak_utf8
from selectbench.stages._warm_start import ACCEPTED, FORWARDED, LENGTH, SHELL, describe_process

TORCH, NUMPY = "torch", "numpy"
LIBRARIES = {  # what the stages that compute, and all others, import when they run; whatever is missing here, a stage imports itself
    TORCH: (
        *("threadpoolctl", "scipy.linalg", "scipy.sparse", "scipy.special", "torch", "torch.func", "torch._dynamo", "gymnasium"),
        *(f"selectbench.stages.{name}" for name in ("_images", "_replicates", "_selectors", "_texts")),
        *(f"selectbench.{name}" for name in ("selection", "llm.searches", "llm.values", "training.gradients", "training.recorder")),
        *(f"selectbench.rl.{name}" for name in ("a2c", "propositions", "selector")),
    ),
    NUMPY: (
        *("threadpoolctl", "scipy.linalg", "scipy.sparse", "scipy.special", "sklearn.cluster", "sklearn.neighbors", "sklearn.metrics"),
        *("jinja2", "pydantic", "PIL.Image", "pandas"),
        *(f"matplotlib.{name}" for name in ("figure", "backends.backend_agg", "backends.backend_pdf", "backends.backend_svg")),
        *(f"selectbench.{name}" for name in ("selection", "data.splits", "records.checks")),
        *(f"selectbench.artefacts.{name}" for name in ("claims", "figures", "tables", "verdict")),
    ),
}
_PAUSE_S = 10  # for a command that has connected but says nothing
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Request(NamedTuple):
    """What a command asks for.

    Parameters
    ----------
    state : text of ``describe_process``
    group : process group of the command
    stage : name of the stage
    arguments : of the command
    shell : its variables that a shell keeps for itself
    streams : its standard streams, as open here
    """

    state: str
    group: int
    stage: str
    arguments: list[str]
    shell: dict[str, str]
    streams: Sequence[int]


def main() -> None:
    """Serve commands until the workflow ends; a forked process leaves the server and runs its stage."""
    spec, libraries, handle = sys.argv[1:]
    speak_utf8()  # a forked process cannot change streams that have become other files
    with socket.socket(fileno=int(handle)) as listener:
        request = serve(listener, 0, json.loads(spec)["arithmetic"], LIBRARIES[libraries])
    if request is not None:
        run_stage(request)


def serve(listener: socket.socket, workflow: int, arithmetic: str, libraries: Iterable[str]) -> Request | None:
    """Fork a process for every suitable request.

    Parameters
    ----------
    listener : the socket that commands connect to
    workflow : a pipe that the workflow holds open while it runs
    arithmetic : that this process is held to
    libraries : modules to import first

    Returns
    -------
    A request in the process that is to run it, and None in the warm process at its end.
    """
    state, keepers = describe_process(), list[int]()
    is_warm, asking = False, listener.fileno()
    while workflow not in (ready := select.select([asking, workflow, *keepers], [], [])[0]):
        for keeper in [number for number in keepers if number in ready]:
            os.waitid(os.P_PIDFD, keeper, os.WEXITED)
            os.close(keeper)
            keepers.remove(keeper)
        if asking not in ready:
            continue
        connection, _ = listener.accept()
        with connection:
            request = receive_request(connection)
            if request is None:
                continue
            if request.state == state and is_suitable(request.arguments, arithmetic):
                if not is_warm:
                    warm_up(libraries)
                    is_warm = True
                if count_threads() != 1:
                    return None
                if not (keeper := os.fork()):
                    listener.close()
                    close_all(keepers)
                    keep_stage(connection, request)
                    return request
                keepers.append(os.pidfd_open(keeper))
            close_all(request.streams)
    return None


def receive_request(connection: socket.socket) -> Request | None:
    """Read a request; None if none comes."""
    connection.settimeout(_PAUSE_S)
    streams: list[int] = []
    try:
        header, streams, _, _ = socket.recv_fds(connection, LENGTH, 3)
        content = b""
        while len(content) < int.from_bytes(header):
            if not (part := connection.recv(1 << 20)):
                break
            content += part
        state, group, stage, count, *rest = map(os.fsdecode, content.split(b"\0"))
        arguments, shell = rest[: int(count)], dict(pair.split("=", 1) for pair in rest[int(count) :])
        return Request(state, int(group), stage, arguments, shell, streams)
    except (OSError, ValueError):
        close_all(streams)
        return None


def is_suitable(arguments: Sequence[str], arithmetic: str) -> bool:
    """Tell whether a command's specification asks for no GPU, one process and this arithmetic; without one, it asks for the default."""
    spec = json.loads(arguments[arguments.index("--spec") + 1]) if "--spec" in arguments[:-1] else {}
    alone = not spec.get("gpu", 0) and spec.get("recipe", {}).get("processes", 1) == 1
    return alone and spec.get("arithmetic", AVX2) == arithmetic


def warm_up(libraries: Iterable[str]) -> None:
    """Import all stages and the libraries, without the thread that Arrow would start, and leave their objects to no collection."""
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
    for name in ("selectbench.planning.jobs", *libraries):
        with suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("selectbench.planning.jobs").load_stages()
    del os.environ["JE_ARROW_MALLOC_CONF"]
    gc.freeze()


def count_threads() -> int:
    """Return the number of threads of this process, also of those that Python does not know."""
    return len(os.listdir("/proc/self/task"))


def keep_stage(connection: socket.socket, request: Request) -> None:
    """Fork a process for a stage, which returns from here; the keeper waits for its end and then ends as well."""
    with suppress(OSError):  # the command is gone, or cannot be joined, and starts the stage itself
        os.setpgid(0, request.group)
        connection.settimeout(None)
        connection.sendall(ACCEPTED)
        keeper = os.getpid()
        if not (child := os.fork()):
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != keeper:
                os._exit(1)
            return
        close_all(request.streams)
        connection.sendall(str(await_end(connection, child)).encode())
    os._exit(0)


def await_end(connection: socket.socket, child: int) -> int:
    """Return the exit status of a stage, or minus the signal that ended it. Pass on what signals the command sends.

    The command's end, however it comes, is that of the stage.
    """
    for number in FORWARDED:  # sent to the command's group, they reach the stage too
        signal.signal(number, signal.SIG_IGN)
    ended = os.pidfd_open(child)
    watched = [connection.fileno(), ended]
    while ended not in select.select(watched, [], [])[0]:
        try:
            numbers = connection.recv(64)
        except OSError:
            numbers = b""
        if not numbers:
            watched = [ended]
        for sent in numbers or bytes([signal.SIGKILL]):
            os.kill(child, sent)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_stage(request: Request) -> None:
    """Run a stage in this forked process as ``python -m`` would, with the streams and arguments of its command."""
    for number, stream in enumerate(request.streams):
        os.dup2(stream, number)
    close_all(request.streams)
    for name in SHELL:
        os.environ.pop(name, None)
    os.environ.update(request.shell)
    assert isinstance(sys.stdout, TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    draw_seeds()
    run_module(f"selectbench.stages.{request.stage}", request.arguments)


def draw_seeds() -> None:
    """Draw seeds for the global generators of NumPy and torch, which forked processes would share; Python does so for its own."""
    sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def run_module(name: str, arguments: Sequence[str]) -> None:
    """Run a module as the main one of this process, although it may have been imported before."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert isinstance(spec.loader, InspectLoader)
    module = ModuleType("__main__")
    module.__dict__.update(__spec__=spec, __file__=spec.origin, __cached__=spec.cached, __loader__=spec.loader, __package__=spec.parent)
    sys.modules["__main__"] = module
    sys.orig_argv[1:] = ["-m", name, *arguments]
    sys.argv[:] = [str(spec.origin), *arguments]
    code = spec.loader.get_code(name)
    assert code is not None
    exec(code, module.__dict__)


def close_all(handles: Iterable[int]) -> None:
    """Close files."""
    for handle in handles:
        os.close(handle)


if __name__ == "__main__":
    main()

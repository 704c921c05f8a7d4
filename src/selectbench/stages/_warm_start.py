"""Warm starts: the command of a stage lets a process do its work that was forked from one which has imported the libraries.

Importing torch takes a hundred times as long as a fork. A workflow whose jobs run on its own machine therefore starts two warm processes
(``_warm_process``), one with torch and one without, and names the folder of their sockets to its jobs in ``SELECTBENCH_WARM``. A job's
command stays the same. At its start, before it has imported anything, it sends its arguments and its standard streams to the warm process
of its stage, passes on signals, and ends as the forked process ends. It starts the stage itself, as it does wherever the variable is not
set, if no warm process listens, or if the two differ in anything that a process inherits or is started with: ``describe_process`` lists
this, and a warm process serves only those who send the same text. Nothing needs to be carried over then but arguments and streams.

This module is imported at the start of every stage, so it imports little.
"""

import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

FOLDER = "SELECTBENCH_WARM"  # names the folder that holds a socket for every stage that can be started warm
SHELL = ("PWD", "OLDPWD", "SHLVL", "_")  # variables that a shell keeps for itself
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
ACCEPTED = b"+"
LENGTH = 8  # bytes of a request's length

_PATIENCE_S = 60  # a warm process that has not answered by then does not work
_STATUS = (  # lines of /proc/self/status that tell what a process inherits
    *("Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "CapEff", "NoNewPrivs", "Seccomp", "Cpus_allowed_list", "Mems_allowed_list"),
)


def start_warm() -> None:
    """Let a warm process run the stage that this process was started for, and end as it ends; return if there is none that can.

    That is called while ``python -m`` looks for the module that it is to run, which is not imported yet.
    """
    folder, command = os.environ.get(FOLDER), sys.orig_argv
    if not folder or sys.argv[:1] != ["-m"] or command[1:2] != ["-m"]:
        return
    stage = command[2].rpartition(".")[2]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE_S)
        try:
            connection.connect(os.path.join(folder, stage))
            send_request(connection, stage, sys.argv[1:])
            is_accepted = connection.recv(1) == ACCEPTED
        except OSError:
            return
        if is_accepted:
            connection.settimeout(None)
            end_as_told(connection)


def send_request(connection: socket.socket, stage: str, arguments: list[str]) -> None:
    """Send the standard streams, and all else that a forked process needs to run a stage as this one would."""
    shell = [f"{name}={os.environ[name]}" for name in SHELL if name in os.environ]
    parts = [describe_process(), str(os.getpgrp()), stage, str(len(arguments)), *arguments, *shell]
    content = b"\0".join(map(os.fsencode, parts))
    socket.send_fds(connection, [len(content).to_bytes(LENGTH)], [0, 1, 2])
    connection.sendall(content)


def end_as_told(connection: socket.socket) -> NoReturn:
    """Pass signals on until the stage has ended, then end in the same way: with its exit status, or by the same signal."""

    def forward(number: int, _: FrameType | None) -> None:
        with suppress(OSError):  # the stage has just ended
            connection.send(bytes([number]))

    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, forward)
    told = b"".join(iter(lambda: connection.recv(64), b""))
    status = int(told) if told else -signal.SIGKILL  # whoever was to tell has been killed, and the stage with it
    if status < 0:
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def describe_process() -> str:
    """Return all that this process inherited or was started with and that may matter to a stage, save arguments and standard streams.

    That is its environment, working directory, limits, priority, session, control group, user, capabilities, ignored signals and
    processors, the interpreter, and the state of the source files and libraries.
    """
    lines = [line for line in _read("/proc/self/status").splitlines() if line.startswith(_STATUS)]
    lines += [_read("/proc/self/limits"), _read("/proc/self/cgroup"), os.getcwd(), str(os.getsid(0)), str(os.nice(0))]
    lines += [sys.executable, sys.version]
    given = _read("/proc/self/environ").split("\0")  # as it was at the start, before the arithmetic was pinned
    lines += sorted(pair for pair in given if pair.partition("=")[0] not in SHELL)
    lines += [f"{path} {os.stat(path).st_mtime_ns}" for path in sys.path if path.endswith("site-packages")]
    return "\n".join([*lines, *stamp_files(os.path.dirname(os.path.dirname(__file__)))])


def stamp_files(folder: str) -> list[str]:
    """Return the path, size and time of change of every file below a folder, save compiled ones."""
    stamps = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                stamps += stamp_files(entry.path) if entry.name != "__pycache__" else []
            else:
                stamps.append(f"{entry.path} {entry.stat().st_size} {entry.stat().st_mtime_ns}")
    return sorted(stamps)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()

"""Locks that last as long as their process: one job per GPU, one workflow per results folder, one process per batch."""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from selectbench.errors import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = "SELECTBENCH_DEVICES"  # the GPUs of this machine, instead of those that nvidia-smi lists
LEASES = "SELECTBENCH_LEASES"  # the folder of the lock files
LEASED = "SELECTBENCH_LEASED"  # tells child processes which GPUs their parent holds
ALLOWED = "SELECTBENCH_ALLOW_CPU"  # whether jobs that ask for GPUs may compute on the CPU where there are none
SCHEDULED = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID", "FLUX_JOB_ID")

_held: dict[Path, int] = {}


def _forget_all() -> None:
    """Drop every lock in a forked child; the parent keeps its own."""
    for handle in _held.values():
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget_all)


def try_lock(path: Path) -> bool:
    """Lock a file until this process ends, or return False at once if another process holds it.

    The kernel frees the lock however the process ends; child processes do not inherit it. On a file system without locks, a line is
    printed and the file counts as locked.

    Parameters
    ----------
    path : created if missing; its content does not matter
    """
    path = Path(path).absolute()
    if path in _held:
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    except OSError as error:
        problem = f"file locking is unavailable ({error.strerror}), so two processes may use this folder at once"
        print(f"{path}: {problem}", file=sys.stderr, flush=True)
    _held[path] = handle
    return True


def free_lock(path: Path) -> None:
    """Free a lock that this process holds."""
    os.close(_held.pop(Path(path).absolute()))


@contextmanager
def hold_lock(path: Path, reason: str, every_s: float = 0.5) -> Iterator[None]:
    """Lock a file inside the block; while another process holds it, print the reason once and wait."""
    if not try_lock(path):
        print(reason, file=sys.stderr, flush=True)
        while not try_lock(path):
            time.sleep(every_s)
    try:
        yield
    finally:
        free_lock(path)


def lease_devices(count: int, environment: MutableMapping[str, str] = os.environ, every_s: float = 0.5) -> list[str]:
    """Reserve GPUs of this machine for this process until it ends, and hide all others from CUDA; wait while too few are free.

    Call it before CUDA is initialised (importing torch does not do that). A process that asks for no GPU sees none. Nothing is leased
    if a parent process holds a lease, if a scheduler has assigned exactly as many GPUs as requested, or if there is no GPU at all,
    which ``choose_device`` refuses.

    Parameters
    ----------
    count : number of GPUs, taken all at once or not at all
    environment : read and changed
    every_s : seconds between two attempts

    Returns
    -------
    The GPUs that this process may use, as named in ``CUDA_VISIBLE_DEVICES``.

    Raises
    ------
    ConfigError
        The machine has fewer GPUs.
    """
    if not count:
        environment[VISIBLE] = ""
        return []
    devices = list_devices(environment)
    job = next((environment[name] for name in SCHEDULED if name in environment), None)
    is_assigned = job is not None and VISIBLE in environment and len(devices) == count
    if not devices or is_assigned or LEASED in environment:
        return devices
    if count > len(devices):
        raise ConfigError(f"resources.gpu: a job asks for {count} GPUs, but this machine has {len(devices)}: {', '.join(devices)}")
    folder = find_leases(environment, job)
    if not (leased := _take(folder, devices, count)):
        print(f"waiting for a GPU: other jobs hold {', '.join(devices)} ({folder})", file=sys.stderr, flush=True)
        while not (leased := _take(folder, devices, count)):
            time.sleep(every_s)
    environment[VISIBLE] = environment[LEASED] = ",".join(leased)
    return leased


def list_devices(environment: Mapping[str, str]) -> list[str]:
    """List the GPUs that may be leased: those of this machine, restricted to ``CUDA_VISIBLE_DEVICES`` if it is set."""
    there = _split(environment[DEVICES]) if DEVICES in environment else ask_driver("index")
    if VISIBLE not in environment:
        return there
    visible = takewhile(lambda name: not name.startswith("-"), _split(environment[VISIBLE]))  # CUDA stops at the first invalid one
    return [name for name in visible if name in there or (there and not name.isdigit())]


def find_leases(environment: Mapping[str, str], job: str | None) -> Path:
    """Return the folder of the GPU locks: ``SELECTBENCH_LEASES``, or else one per user and scheduler job."""
    if LEASES in environment:
        return Path(environment[LEASES])
    return Path(tempfile.gettempdir()) / "-".join(["selectbench-leases", str(os.getuid()), *([job] if job else [])])


def _split(names: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def may_use_cpu(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether jobs that ask for GPUs may compute on the CPU where there are none, as ``SELECTBENCH_ALLOW_CPU=1`` says."""
    return environment.get(ALLOWED, "") not in ("", "0")


def ask_driver(what: str) -> list[str]:
    """Return what ``nvidia-smi`` tells of every GPU, such as ``"index"`` or ``"driver_version"``; nothing without a driver."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=120).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


def _take(folder: Path, devices: Sequence[str], count: int) -> list[str]:
    """Lock ``count`` of the devices, or none."""
    locks = {device: folder / f"gpu-{device.replace('/', '-')}.lock" for device in devices}
    taken: list[str] = []
    for device, lock in locks.items():
        if len(taken) < count and try_lock(lock):
            taken.append(device)
    if len(taken) < count:
        for device in taken:
            free_lock(locks[device])
        return []
    return taken


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY)  # another user's file, which can still be locked

"""Provenance of a record: command, commit, versions, device, time and memory."""

import os
import platform
import resource
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import selectbench
from selectbench.records.arithmetic import describe_arithmetic

if TYPE_CHECKING:
    from selectbench.records.rows import GpuSetting, Provenance

PROJECT = Path(selectbench.__file__).resolve().parents[2]  # of a checkout
GIT_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX")
_LIBRARIES = (
    *("numpy", "scipy", "scikit-learn", "torch", "torchvision", "timm", "transformers", "peft", "stable-baselines3"),
    *("lightgbm", "umap-learn", "numba"),
)


class Device(NamedTuple):
    """What a job computes on.

    Parameters
    ----------
    name : ``"cpu"`` or the GPU's product name
    gpu : how the GPU computes; None on a CPU
    """

    name: str
    gpu: "GpuSetting | None" = None


CPU = Device("cpu")


def describe_provenance(code: str, device: Device, started: datetime) -> "Provenance":
    """Return what a reader needs to know to repeat this job.

    Parameters
    ----------
    code : fingerprint of the stage's code
    device : that it computed on
    started : when the work began
    """
    commit, dirty = read_commit()
    found: Provenance = {
        "arithmetic": describe_arithmetic(),
        "code": code,
        "command": _describe_command(),
        "commit": commit,
        "dirty": dirty,
        "device": device.name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "processor": _read_processor(),
        "python": platform.python_version(),
        "started": started.isoformat(timespec="seconds"),
        "version": selectbench.__version__,
        "versions": _read_versions(),
    }
    return found if device.gpu is None else {**found, "gpu": device.gpu}


def read_peak_memory_mb() -> float:
    """Return the peak resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def _describe_command() -> str:
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {module.name}" if module else Path(sys.argv[0]).name


@cache
def read_commit(project: Path = PROJECT) -> tuple[str | None, bool | None]:
    """Return the commit of a project and whether its tracked source or configuration differs from it.

    Both are None if git does not track the project, wherever this process was started. If git refuses to tell, a line says what to do.
    """
    try:
        ask_git(project, "ls-files", "--error-unmatch", "--", "src/selectbench/__init__.py")
        commit = ask_git(project, "rev-parse", "HEAD")
        changed = ask_git(project, "status", "--porcelain", "-uno", "--", "src", "config", "workflow", "Snakefile")
    except subprocess.CalledProcessError as error:
        if "dubious ownership" in error.stderr:
            trust = f"git config --global --add safe.directory {shlex.quote(str(project))}"
            print(f"{project}: records will name no commit, since git finds the ownership dubious; run `{trust}`", file=sys.stderr)
        return None, None
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(changed)


def ask_git(project: Path, *arguments: str) -> str:
    """Return what a command of git says of a project, whatever repository the environment names."""
    usual = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    command = ["git", "-C", str(project), *arguments]
    environment = usual | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=20, env=environment)
    return done.stdout.strip()


@cache
def _read_versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    libc = " ".join(platform.libc_ver())
    return found | ({"libc": libc} if libc else {})


@cache
def _read_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())

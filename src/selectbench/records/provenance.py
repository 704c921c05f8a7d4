"""Where a record comes from: command, commit, versions, device, time and memory."""

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import selectbench

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "torchvision", "timm")


def describe_provenance(code: str, device: str, started: datetime) -> dict:
    """Return everything a reader needs to run this again.

    Parameters
    ----------
    code : fingerprint of the stage's code
    device : ``"cpu"`` or the name of the accelerator
    started : when the work began
    """
    commit, dirty = _read_commit()
    return {
        "code": code,
        "command": _describe_command(),
        "commit": commit,
        "dirty": dirty,
        "device": device,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "processor": _read_processor(),
        "python": platform.python_version(),
        "started": started.isoformat(timespec="seconds"),
        "version": selectbench.__version__,
        "versions": _read_versions(),
    }


def read_peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def _describe_command() -> str:
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {module.name}" if module else Path(sys.argv[0]).name


@cache
def _read_commit() -> tuple[str | None, bool | None]:
    """Return the commit of the working tree and whether tracked source or configuration differs from it."""
    run = {"capture_output": True, "text": True, "check": True, "timeout": 20, "env": os.environ | {"GIT_OPTIONAL_LOCKS": "0"}}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **run).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno", "--", "src", "config", "workflow", "Snakefile"], **run).stdout
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(changed.strip())


@cache
def _read_versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


@cache
def _read_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())

"""Provenance of a record: command, commit, versions, device, time and memory."""

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import selectbench
from selectbench.records.arithmetic import describe_arithmetic

if TYPE_CHECKING:
    from selectbench.records.rows import Provenance

_LIBRARIES = (
    *("numpy", "scipy", "scikit-learn", "torch", "torchvision", "timm", "transformers", "peft", "stable-baselines3"),
    *("lightgbm", "umap-learn", "numba"),
)


def describe_provenance(code: str, device: str, started: datetime) -> "Provenance":
    """Return what a reader needs to know to repeat this job.

    Parameters
    ----------
    code : fingerprint of the stage's code
    device : ``"cpu"`` or the name of the accelerator
    started : when the work began
    """
    commit, dirty = _read_commit()
    return {
        "arithmetic": describe_arithmetic(),
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
    """Return the peak resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def _describe_command() -> str:
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {module.name}" if module else Path(sys.argv[0]).name


@cache
def _read_commit() -> tuple[str | None, bool | None]:
    """Return the commit of the working tree and whether tracked source or configuration differs from it."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        changed = _ask_git("status", "--porcelain", "-uno", "--", "src", "config", "workflow", "Snakefile")
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(changed)


def _ask_git(*arguments: str) -> str:
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=20, env=environment).stdout.strip()


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

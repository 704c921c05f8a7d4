"""The device that a job computes on: a GPU if it may use one, the CPU otherwise, and never the CPU where a GPU was asked for."""

import re
import warnings
from functools import cache
from typing import Any

import torch

from selectbench.errors import ConfigError
from selectbench.records.arithmetic import DETERMINISTIC, describe_arithmetic
from selectbench.records.leases import ALLOWED, ask_driver, may_use_cpu
from selectbench.records.provenance import CPU, Device
from selectbench.records.rows import GpuSetting

_VARYING = r"(\S+) does not have a deterministic implementation"  # what torch warns of such kernels
_varying: set[str] = set()  # kernels that this process has used although deterministic ones were asked for
_LEAST_SPARE = 1 << 26  # bytes, also on a CPU, whose caches larger pieces leave
_SHARE = 4  # of the free memory of a GPU, one part

WITHOUT_GPU = f"write gpu: 0 in the scale's resources, or set {ALLOWED}=1, to compute on the CPU"


def choose_device(num_gpus: int = 0) -> torch.device:
    """Return the first GPU this process may use, otherwise the CPU.

    On a GPU, cuDNN benchmarks its kernels once per input shape, of which a training run has two or three; with deterministic arithmetic it
    uses deterministic ones instead. Float32 is exact, without TF32; recipes that allow less precision say ``bf16``.

    Parameters
    ----------
    num_gpus : how many GPUs the job asks for

    Raises
    ------
    ConfigError
        The job asks for GPUs, torch can use none, and nobody has allowed it to compute on the CPU instead.
    """
    if not torch.cuda.is_available():
        if num_gpus and not may_use_cpu():
            raise ConfigError(f"resources.gpu: the job asks for {num_gpus}, but {explain_absence()}; {WITHOUT_GPU}")
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True
    if describe_arithmetic() == DETERMINISTIC:
        ask_for_deterministic_kernels()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    return torch.device("cuda")


def ask_for_deterministic_kernels() -> None:
    """Let torch and cuDNN use deterministic kernels where there are any, and note the others as they are used; may be called again."""
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
    note_varying_kernels()


@cache
def note_varying_kernels() -> None:
    """Note, in place of warning, which kernels without a deterministic version are used from now on."""
    show = warnings.showwarning

    def note(message: Warning | str, *details: Any, **named: Any) -> None:
        if found := re.match(_VARYING, str(message)):
            _varying.add(found[1])
        else:
            show(message, *details, **named)

    warnings.filterwarnings("always", message=_VARYING)
    warnings.showwarning = note


def spare_bytes(device: torch.device) -> int:
    """Return how many bytes a piece of work may take: 64 MiB on a CPU, a quarter of what is free on a GPU if that is more."""
    if device.type != "cuda":
        return _LEAST_SPARE
    free, _ = torch.cuda.mem_get_info(device)
    return max(_LEAST_SPARE, free // _SHARE)


def explain_absence() -> str:
    """Return why torch can use no GPU: what it is built for, and which driver there is."""
    found = f"driver {driver}" if (driver := find_driver()) else "no driver"
    return f"torch {torch.__version__}, built for {name_runtime()}, can use none ({found})"


def describe_device(device: torch.device) -> Device:
    """Return a device's name, and for a GPU the versions and flags that decide how it computes."""
    if device.type != "cuda":
        return CPU
    cudnn = torch.backends.cudnn
    setting: GpuSetting = {
        "runtime": name_runtime(),
        "cudnn": cudnn.version(),  # type: ignore[no-untyped-call]  # torch leaves it untyped
        "driver": find_driver(),
        "benchmark": cudnn.benchmark,
        "deterministic": cudnn.deterministic,
        "tf32": cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
    }
    if cudnn.deterministic:
        setting["varying"] = sorted(_varying)
    return Device(torch.cuda.get_device_name(device), setting)


def name_runtime() -> str:
    """Return what torch is built for: a version of CUDA or ROCm, or CPUs only."""
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip else "CPUs only"


def find_driver() -> str | None:
    """Return the version of the driver of NVIDIA's GPUs; None if it cannot be asked."""
    return next(iter(ask_driver("driver_version")), None)

"""One arithmetic on many processors: libraries are held to AVX2 (the default) or to SSE4, whatever wider instructions a processor offers.

Libraries choose kernels by processor, and kernels of other widths add up in another order. The settings below are read when a library is
loaded, so this module imports none and is called before any is imported. Processors of different makers may still give other bits.
A third arithmetic is AVX2 on CPUs and asks GPUs for deterministic kernels (``training.devices``).
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

AVX2, SSE4, NATIVE, DETERMINISTIC = "avx2", "sse4", "native", "deterministic"
_AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's convolutions
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # torch's matrix products, linear algebra and functions such as exp, on Intel processors
    "MKL_CBWR": "AVX2",  # the same, with block sizes that do not depend on caches; those of other makers obey only the latter
    "OPENBLAS_CORETYPE": "Haswell",  # linear algebra of NumPy and SciPy
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's own kernels
    "NUMBA_CPU_NAME": "haswell",  # what UMAP compiles
    "NUMBA_CPU_FEATURES": "",  # none but those of this processor
}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    DETERMINISTIC: _AVX2 | {"SELECTBENCH_DETERMINISTIC": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},  # the latter for products on GPUs
    AVX2: _AVX2,
    SSE4: {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "MKL_CBWR": "COMPATIBLE",  # SSE2, the only limit that MKL obeys on processors of other makers
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "",
    },
}
_FLAGS = {DETERMINISTIC: "avx2", AVX2: "avx2", SSE4: "sse4_2"}  # what the processor must offer


def pin_arithmetic(name: str = AVX2) -> None:
    """Hold all libraries that are loaded from now on to an arithmetic, in this process and those that it starts.

    Nothing changes on a processor that does not offer it.

    Parameters
    ----------
    name : ``"avx2"``, ``"sse4"`` or ``"deterministic"``; any other, such as ``"native"``, changes nothing
    """
    if name in SETTINGS and has_flag(_FLAGS[name]):
        os.environ.update(SETTINGS[name])


def describe_arithmetic() -> str:
    """Return ``"deterministic"``, ``"avx2"`` or ``"sse4"`` if this process computes with all of its settings, else ``"native"``."""
    pinned = (name for name, settings in SETTINGS.items() if settings.items() <= os.environ.items() and has_flag(_FLAGS[name]))
    return next(pinned, NATIVE)


def has_avx2() -> bool:
    """Tell whether this is an x86-64 processor with AVX2."""
    return has_flag(_FLAGS[AVX2])


def has_flag(flag: str) -> bool:
    """Tell whether this is an x86-64 processor with a feature; one whose features cannot be read counts as one without.

    Parameters
    ----------
    flag : the feature, as Linux spells it
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return flag in flags.split()

"""One instruction set: on every x86-64 processor with AVX2, libraries compute with AVX2, whatever wider instructions it has.

Libraries choose kernels by processor, and kernels of other widths add up in another order. The settings below are read when a library is
loaded, so this module imports none and is called before any is imported. Processors of different makers may still give other bits.
"""

import os
import platform
from pathlib import Path

AVX2, NATIVE = "avx2", "native"
SETTINGS = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's convolutions and matrix products
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # torch's linear algebra
    "OPENBLAS_CORETYPE": "Haswell",  # linear algebra of NumPy and SciPy
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's own kernels
}


def pin_arithmetic() -> None:
    """Hold all libraries that are loaded from now on to AVX2, in this process and those that it starts; elsewhere, change nothing."""
    if has_avx2():
        os.environ.update(SETTINGS)


def describe_arithmetic() -> str:
    """Return ``"avx2"`` if this process computes with the settings, else ``"native"``."""
    return AVX2 if has_avx2() and SETTINGS.items() <= os.environ.items() else NATIVE


def has_avx2() -> bool:
    """Tell whether this is an x86-64 processor with AVX2; one whose features cannot be read counts as one without."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return "avx2" in flags.split()

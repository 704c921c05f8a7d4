"""Arrays from what users pass (tensors of any precision and device, lists, columns), and whether new ones fit into memory."""

import math
from collections.abc import Sequence
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selectbench.errors import SelectbenchError, first_line, shorten, spell

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

    Numbers = np.ndarray | Sequence[float] | Sequence[Sequence[float]]
    Values = Numbers | torch.Tensor

_RESERVE = 1 << 28  # bytes that everything else may still take


def is_tensor(values: object) -> "TypeIs[torch.Tensor]":
    """Tell whether the values are a torch tensor, without importing torch."""
    return any(kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(values).__mro__)


def as_array(name: str, values: Any, wanted: Literal["numbers", "integers"] = "numbers") -> np.ndarray:
    """Return an array of numbers, or of truth values; what is one already is returned as it is.

    Tensors are detached and copied from their device, bfloat16 becomes float32, and columns of numbers that a data frame stores as
    objects become numbers.

    Parameters
    ----------
    name : what messages call the values
    values : an array, a tensor, a list of tensors, nested lists of numbers, or a column or table of a data frame
    wanted : what messages ask for

    Raises
    ------
    SelectbenchError
        Rows have different lengths, entries are masked, or the values are not numbers.
    """
    if isinstance(values, list | tuple) and values and is_tensor(values[0]):
        values = [as_array(name, value, wanted) for value in values]
    try:
        array = _read_tensor(values) if is_tensor(values) else np.asanyarray(values)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        if "inhomogeneous" in str(error):
            raise SelectbenchError(f"{name}: its rows have different lengths; give every sample as many numbers, e.g. by pooling") from None
        raise SelectbenchError(f"{name}: not an array of {wanted} ({shorten(first_line(error))})") from None
    if np.ma.is_masked(array):
        raise SelectbenchError(f"{name}: has masked entries; fill them in, or leave these samples out of all arrays")
    array = np.asarray(array)
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype.kind == "O" and all(isinstance(value, Number) for value in array.flat):
        array = np.array(array.tolist())
    if array.dtype.kind in "fiub":
        return array
    text = next((value for value in array.flat if isinstance(value, str | bytes)), None)
    if text is None:
        raise SelectbenchError(f"{name}: holds {array.dtype}, not {wanted}")
    remedy = f"; number them: `names, {name} = np.unique({name}, return_inverse=True)`" if wanted == "integers" else ""
    raise SelectbenchError(f"{name}: holds text ({shorten(repr(str(text)), 40)}), not {wanted}{remedy}")


def check_returned(role: str, name: str, value: object) -> float:
    """Return what a function returned as a number: Python's, NumPy's, or a tensor without axes.

    Parameters
    ----------
    role : what the function is for, as messages call it
    name : of the function
    value : what it returned

    Raises
    ------
    SelectbenchError
        It is no number, or not finite.
    """
    try:
        array = as_array(role, value)
    except SelectbenchError:
        array = None
    if array is None or array.shape:
        found = spell(repr(value)) if array is None else f"an array of shape {array.shape}"
        raise SelectbenchError(f"{role}: {name} returned {found}, which is no number")
    number = float(array)
    if not math.isfinite(number):
        raise SelectbenchError(f"{role}: {name} returned {number}, which is not finite")
    return number


def name_function(function: object) -> str:
    """Return the name of a function, or of the class of another object that can be called."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _read_tensor(tensor: "torch.Tensor") -> np.ndarray:
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return array


def refuse_oversized(what: str, num_bytes: float, remedy: str) -> None:
    """Raise before an array is made that would not fit into the memory that is left.

    Parameters
    ----------
    what : what messages say takes the memory
    num_bytes : how much it takes at its peak
    remedy : what helps

    Raises
    ------
    SelectbenchError
        It takes more than is left.
    """
    needed, left = num_bytes + _RESERVE, count_free_bytes()
    if needed > left:
        raise SelectbenchError(f"{what} takes {needed / 2**30:,.1f} GiB of memory, and {left / 2**30:,.1f} GiB are left; {remedy}")


def count_free_bytes() -> float:
    """Return how much memory this process may still take: of the machine, of its control group, and of its address space."""
    free = [math.inf]
    machine = _read_sizes(Path("/proc/meminfo"))
    if "MemAvailable" in machine:
        free.append(1024 * (machine["MemAvailable"] + machine.get("SwapFree", 0)))
    group, kept = Path("/sys/fs/cgroup"), _read_sizes(Path("/sys/fs/cgroup/memory.stat"))
    most, now = (_read_sizes(group / name, label=name) for name in ("memory.max", "memory.current"))
    if most and now:
        free.append(most["memory.max"] - now["memory.current"] + kept.get("inactive_file", 0))
    own = _read_sizes(Path("/proc/self/status"))
    if "VmSize" in own and (limit := _limit_address_space()) is not None:
        free.append(limit - 1024 * own["VmSize"])
    return max(0, min(free))


def _limit_address_space() -> int | None:
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _read_sizes(path: Path, label: str = "") -> dict[str, int]:
    """Return the numbers of a file of the kernel's by their names (a single one by ``label``); none if there is no such file."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    rows = [f"{label} {line}".replace(":", " ").split() for line in lines]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}

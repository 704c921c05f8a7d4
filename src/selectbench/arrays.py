"""Arrays from what users pass: tensors of any precision and device, lists, and the columns of data frames."""

from collections.abc import Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selectbench.errors import SelectbenchError, first_line, shorten

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

    Numbers = np.ndarray | Sequence[float] | Sequence[Sequence[float]]
    Values = Numbers | torch.Tensor


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
    values : an array, a tensor, nested lists, or a column or table of a data frame
    wanted : what messages ask for

    Raises
    ------
    SelectbenchError
        Rows have different lengths, entries are masked, or the values are not numbers.
    """
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


def _read_tensor(tensor: "torch.Tensor") -> np.ndarray:
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return array

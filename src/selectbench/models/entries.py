"""Types of entries of ``config/models.yaml``, and of the weights that recipes name."""

from typing import Any, Literal, NotRequired, TypedDict


class ConvolutionEntry(TypedDict, total=False):
    """Changes to one convolution of a timm model.

    Parameters
    ----------
    kernel_size : side of the new kernel, which is freshly initialised
    stride : the new stride
    """

    kernel_size: int
    stride: int


class SmallEntry(TypedDict, total=False):
    """How a timm model is changed for small images.

    Parameters
    ----------
    arguments : of timm's constructor
    convolutions : module name → changes
    drop : names of modules that are replaced by the identity
    """

    arguments: dict[str, Any]
    convolutions: dict[str, ConvolutionEntry]
    drop: list[str]


class ModelEntry(TypedDict):
    """An architecture: an entry of ``config/models.yaml``.

    Parameters
    ----------
    title : name in tables and figures
    library, name : where the model comes from, and its name there
    width, depth, heads, patch : parameters of the benchmark's own small networks
    small : changes to a timm model for recipes with the small stem
    """

    title: str
    library: Literal["selectbench", "timm"]
    name: str
    width: NotRequired[int]
    depth: NotRequired[int]
    heads: NotRequired[int]
    patch: NotRequired[int]
    small: NotRequired[SmallEntry]


class PretrainedEntry(TypedDict):
    """A file of pretrained weights that a recipe starts from.

    Parameters
    ----------
    path : of the file, inside an installed package if ``distribution`` names one
    distribution : the installed Python package
    naming : how the file names its tensors, a key of ``selectbench.models.weights.NAMINGS``
    """

    path: str
    distribution: NotRequired[str]
    naming: NotRequired[str]

"""Warm starts: pretrained weights from a file or timm's hub, for models that may differ from theirs in declared modules."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import nn

from selectbench.errors import ConfigError, first_line
from selectbench.models.factory import as_classifier
from selectbench.models.pretrained import Weights, locate_weights

if TYPE_CHECKING:
    from selectbench.models.entries import ModelEntry, PretrainedEntry, SmallEntry

State = dict[str, torch.Tensor]


class WarmStart(TypedDict):
    """What is recorded about a warm start.

    Parameters
    ----------
    origin, sha256 : of the file of weights
    fresh : names of the model's tensors that keep their fresh initialisation
    unused : names of the file's tensors that the model has no place for
    """

    origin: str
    sha256: str
    fresh: list[str]
    unused: list[str]


# EfficientNet-Lite0 of the package efficientnet-lite-pytorch numbers its blocks consecutively, timm by stage.
_LITE0_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_LITE0_BLOCKS = [f"blocks.{stage}.{block}" for stage, depth in enumerate(_LITE0_DEPTHS) for block in range(depth)]
_LITE0_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE0_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_BLOCK = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}


def rename_lite0(name: str) -> str:
    """Return timm's name for a tensor of efficientnet-lite-pytorch's EfficientNet-Lite0.

    >>> rename_lite0("_blocks.3._bn0.weight")
    'blocks.2.0.bn1.weight'
    """
    module, *rest = name.split(".")
    if module != "_blocks":
        return ".".join((_LITE0_OUTSIDE[module], *rest))
    index, module, *rest = rest
    modules = _LITE0_BLOCK if int(index) else _LITE0_FIRST_BLOCK
    return ".".join((_LITE0_BLOCKS[int(index)], modules[module], *rest))


NAMINGS: Mapping[str, Callable[[str], str]] = {"efficientnet_lite0": rename_lite0}


def find_weights(pretrained: "bool | str | PretrainedEntry", entry: "ModelEntry", where: str) -> Weights | None:
    """Return the weights that a recipe starts from, downloading timm's own if necessary, or None for a fresh start.

    Parameters
    ----------
    pretrained : value of the recipe's key
    entry : the model's entry in ``config/models.yaml``
    where : the recipe's key, for messages

    Raises
    ------
    ConfigError
        The file is missing, its package is not installed, or timm's weights cannot be fetched.
    """
    if pretrained is False:
        return None
    return fetch_weights(entry, where) if pretrained is True else locate_weights(pretrained, where)


def fetch_weights(entry: "ModelEntry", where: str) -> Weights:
    """Return timm's own weights of a model, from its hub or from the hub's cache on this machine.

    Raises
    ------
    ConfigError
        The model is not timm's, timm has no weights for it, or they cannot be fetched.
    """
    if entry["library"] != "timm":
        problem = f"`true` means timm's pretrained weights, but {entry['name']!r} is not a timm model"
        raise ConfigError(f"{where}: {problem}; give a weights file")
    import huggingface_hub
    import timm

    published = timm.get_pretrained_cfg(entry["name"])
    if not published or not published.hf_hub_id:
        raise ConfigError(f"{where}: timm has no weights for {entry['name']!r}; give a weights file")
    file = published.hf_hub_filename or "model.safetensors"
    try:
        path = Path(huggingface_hub.hf_hub_download(published.hf_hub_id, file))
    except Exception as error:  # errors of the hub, the network and the file system have no common base class
        problem = f"timm's weights for {entry['name']!r} cannot be fetched ({first_line(error)})"
        raise ConfigError(f"{where}: {problem}; give a weights file") from None
    return Weights(path, f"timm's hub: {published.hf_hub_id}/{file}")


def warm_start(model: nn.Module, entry: "ModelEntry", stem: str, weights: Weights, where: str) -> WarmStart:
    """Load pretrained weights into a freshly built model and return what to record about it.

    For a timm model they are adapted as timm does: position tables and patch embeddings are resampled to the model's size, and the
    first convolution to its channels. Two things keep their fresh initialisation, which is recorded: the head if the number of classes
    differs, and convolutions changed by the small stem if their shapes differ. Nothing else may be left out.

    Parameters
    ----------
    model : changed in place
    entry : its entry in ``config/models.yaml``
    stem : how it was built
    weights : the file of weights
    where : the recipe's key, for messages

    Raises
    ------
    ConfigError
        The file cannot be read, or a tensor of the file or of the model has no counterpart of the same shape.
    """
    misfit = f"{where}: {weights.origin} does not fit {entry['library']}'s {entry['name']}"
    read = read_state(weights, where)
    try:
        state = adapt_state(model, entry, read)
    except Exception as error:  # timm's adaptations raise errors of many kinds for tensors of other models
        raise ConfigError(f"{misfit} ({first_line(error)})") from None
    own = model.state_dict()
    changes: SmallEntry = entry.get("small", {}) if stem == "small" else {}
    classifier = as_classifier(model).get_classifier()
    head = next(name for name, module in model.named_modules() if module is classifier)
    may_be_fresh = (head, *changes.get("convolutions", {}))
    may_be_unused = (head, *changes.get("drop", []))
    fitting = {name for name in own if name in state and state[name].shape == own[name].shape}
    fresh = [name for name in own if name not in fitting and (is_inside(name, may_be_fresh) or name.endswith("num_batches_tracked"))]
    unused = [name for name in state if name not in own and is_inside(name, may_be_unused)]
    problems = list(list_misfits(own, state, {*fresh, *unused}))
    if problems:
        more = f" (and {len(problems) - 2} more)" if len(problems) > 2 else ""
        raise ConfigError(f"{misfit}: {'; '.join(problems[:2])}{more}")
    model.load_state_dict({name: state[name] for name in fitting}, strict=False)
    return {"origin": weights.origin, "sha256": weights.sha256, "fresh": fresh, "unused": unused}


def read_state(weights: Weights, where: str) -> State:
    """Read a file of weights, without ever unpickling code, and rename its tensors to the model's names.

    Raises
    ------
    ConfigError
        The file does not hold named tensors, or does not follow its declared naming.
    """
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(weights.path), weights_only=True)
    except Exception as error:  # every file format raises its own errors
        raise ConfigError(f"{where}: {weights.origin}: cannot be read as weights ({first_line(error)})") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(f"{where}: {weights.origin}: holds something other than named tensors")
    if weights.naming is None:
        return dict(state)
    try:
        return {NAMINGS[weights.naming](name): value for name, value in state.items()}
    except (KeyError, ValueError, IndexError):
        raise ConfigError(f"{where}: {weights.origin}: its tensors do not follow the naming {weights.naming!r}") from None


def adapt_state(model: nn.Module, entry: "ModelEntry", state: State) -> State:
    """Return published weights of a timm model, resampled to its image size and number of channels; others are unchanged."""
    if entry["library"] != "timm":
        return state
    from timm.models import adapt_input_conv

    adapt = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    state = dict(adapt(state, model)) if adapt else state
    own = model.state_dict()
    published: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]  # set by timm; nn.Module declares only tensors
    names = published.get("first_conv") or ()
    for name in (f"{path}.weight" for path in ([names] if isinstance(names, str) else names)):
        if name in state and name in own and state[name].shape[1] == 3 != own[name].shape[1]:
            state[name] = adapt_input_conv(own[name].shape[1], state[name])
    return state


def list_misfits(own: State, state: State, settled: set[str]) -> Iterator[str]:
    """Yield a description of each tensor that has no counterpart of the same shape, except for the settled ones."""
    for name, value in own.items():
        if name not in settled and name not in state:
            yield f"it has no tensor {name!r}"
        elif name not in settled and state[name].shape != value.shape:
            yield f"{name!r} is {_spell(state[name])} there and {_spell(value)} in the model"
    for name in state:
        if name not in settled and name not in own:
            yield f"the model has no tensor {name!r}"


def is_inside(name: str, modules: tuple[str, ...]) -> bool:
    """Tell whether a tensor belongs to one of the modules."""
    return any(name.startswith(f"{module}.") for module in modules)


def _spell(value: torch.Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"

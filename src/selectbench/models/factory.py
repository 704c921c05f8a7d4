"""From an entry of models.yaml to a module."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from selectbench.errors import ConfigError, first_line, suggest
from selectbench.models.small import SMALL_NETS

Training = tuple[str, str, tuple[int, int, int], int]  # model id, stem, input shape, number of classes


def build_model(entry: dict, stem: str, input_shape: tuple[int, int, int], num_classes: int, name: str | None = None) -> nn.Module:
    """Build a freshly initialised model; initialisation reads torch's global generator, so call it in an isolated one.

    Parameters
    ----------
    entry : {"library": "selectbench" | "timm", "name": str, …}
        An entry of ``config/models.yaml``.
    stem : {"small", "standard"}
        ``small`` builds a timm model with the changes that its entry declares for small images.
    input_shape : (C, H, W)
    num_classes : C
    name : the entry's id, for messages; its name in the library if left out

    Raises
    ------
    ConfigError
        The library does not know the name, the entry declares what the model does not have, or the model cannot take such images.
    """
    name = name or entry["name"]
    if entry["library"] == "timm":
        check_input(entry, stem, input_shape, num_classes, name)
    return _assemble(entry, stem, input_shape, num_classes, f"config/models.yaml: {name}")


def check_input(entry: dict, stem: str, input_shape: tuple[int, int, int], num_classes: int, name: str) -> None:
    """Raise if a model cannot be built for images of a shape or cannot take them; only shapes are computed, no weights are made.

    Raises
    ------
    ConfigError
        As ``build_model``.
    """
    where = f"config/models.yaml: {name}"
    try:
        with torch.device("meta"):
            model = _assemble(entry, stem, input_shape, num_classes, where).eval()
            images = torch.empty(2, *input_shape)
        if not isinstance(model.get_classifier(), nn.Linear):
            raise ConfigError(f"{where}: {entry['library']}'s {entry['name']} has no single linear layer for its head")
        features_and_logits(model, images)
    except ConfigError:
        raise
    except Exception as error:  # models fail in their own ways: assertions, shapes, unknown arguments
        raise _describe_refusal(entry, input_shape, where, error) from None


def check_models(models: Mapping[str, dict], trainings: Iterable[Training]) -> None:
    """Raise for the first training whose model cannot take its images.

    Parameters
    ----------
    models : the entries of ``config/models.yaml``
    trainings : (model id, stem, (C, H, W), number of classes) of each

    Raises
    ------
    ConfigError
        As ``build_model``.
    """
    for model, stem, input_shape, num_classes in trainings:
        check_input(models[model], stem, input_shape, num_classes, model)


def _assemble(entry: dict, stem: str, input_shape: tuple[int, int, int], num_classes: int, where: str) -> nn.Module:
    if entry["library"] == "selectbench":
        if entry["name"] not in SMALL_NETS:
            raise ConfigError(f"{where}.name: unknown {entry['name']!r}{suggest(entry['name'], SMALL_NETS)}")
        parameters = {key: value for key, value in entry.items() if key not in ("title", "library", "name")}
        try:
            return SMALL_NETS[entry["name"]](tuple(input_shape), num_classes, **parameters)
        except ValueError as error:
            raise _describe_refusal(entry, input_shape, where, error) from None
    import timm

    if not timm.is_model(entry["name"]):
        raise ConfigError(f"{where}.name: timm has no model {entry['name']!r}{suggest(entry['name'], timm.list_models())}")
    if stem == "small" and "small" not in entry:
        raise ConfigError(f"{where}: the key 'small' is missing, and a recipe with the small stem trains the model")
    changes = entry["small"] if stem == "small" else {}
    published = timm.get_pretrained_cfg(entry["name"])
    size = {"img_size": tuple(input_shape[1:])} if published and published.fixed_input_size else {}
    arguments = {**size, **changes.get("arguments", {})}
    model = timm.create_model(entry["name"], pretrained=False, num_classes=num_classes, in_chans=input_shape[0], **arguments)
    for path, change in changes.get("convolutions", {}).items():
        _change_convolution(model, path, change, f"{where}.small.convolutions")
    for path in changes.get("drop", []):
        _find_module(model, path, f"{where}.small.drop")
        model.set_submodule(path, nn.Identity())
    return model


def _describe_refusal(entry: dict, input_shape: tuple[int, int, int], where: str, error: Exception) -> ConfigError:
    shape = "×".join(map(str, input_shape))
    return ConfigError(f"{where}: {entry['library']}'s {entry['name']} cannot take images of {shape} ({first_line(error)})")


def _change_convolution(model: nn.Module, path: str, change: dict, where: str) -> None:
    """Change a convolution's stride, or put a fresh one with another kernel in its place."""
    old = _find_module(model, path, where)
    if not isinstance(old, nn.Conv2d):
        raise ConfigError(f"{where}: {path!r} is a {type(old).__name__}, not a convolution")
    stride = (change["stride"],) * 2 if "stride" in change else old.stride
    size = change.get("kernel_size", old.kernel_size[0])
    if (size, size) == old.kernel_size:
        old.stride = stride
        return
    new = nn.Conv2d(old.in_channels, old.out_channels, size, stride, (size - 1) // 2, groups=old.groups, bias=old.bias is not None)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    model.set_submodule(path, new)


def _find_module(model: nn.Module, path: str, where: str) -> nn.Module:
    modules = dict(model.named_modules())
    if path not in modules:
        raise ConfigError(f"{where}: the model has no module {path!r}{suggest(path, modules)}")
    return modules[path]


def features_and_logits(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return penultimate features (B, d) and logits (B, C) of one forward pass; the logits are the head of those features."""
    features = model.forward_head(model.forward_features(images), pre_logits=True)
    return features, model.get_classifier()(features)

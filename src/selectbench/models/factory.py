"""Building modules from entries of ``config/models.yaml``."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import nn

from selectbench.errors import ConfigError, first_line, suggest
from selectbench.models.small import SMALL_NETS

if TYPE_CHECKING:
    from selectbench.models.entries import ConvolutionEntry, ModelEntry, SmallEntry

Training = tuple[str, str, tuple[int, int, int], int]  # model id, stem, input shape, number of classes


class Classifier(Protocol):
    """The part of timm's interface that every model of the benchmark has."""

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature maps of images (B, C, H, W)."""

    def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits, or with ``pre_logits`` the pooled features."""

    def get_classifier(self) -> nn.Module:
        """Return the head."""


def as_classifier(model: nn.Module) -> Classifier:
    """Return the same model with a type that declares timm's interface, which ``nn.Module`` does not."""
    return cast("Classifier", model)


def build_model(entry: "ModelEntry", stem: str, input_shape: tuple[int, int, int], num_classes: int, name: str | None = None) -> nn.Module:
    """Build a freshly initialised model. Initialisation reads torch's global generator: isolate it around the call.

    Parameters
    ----------
    entry : of ``config/models.yaml``
    stem : {"small", "standard"}
        ``small`` builds a timm model with the changes that its entry declares for small images.
    input_shape : (C, H, W)
    num_classes : C
    name : id of the entry for messages; by default its name in the library

    Raises
    ------
    ConfigError
        The library does not know the name, the entry changes modules that the model lacks, or the model cannot take such images.
    """
    name = name or entry["name"]
    if entry["library"] == "timm":
        check_input(entry, stem, input_shape, num_classes, name)
    return _assemble(entry, stem, input_shape, num_classes, f"config/models.yaml: {name}")


def check_input(entry: "ModelEntry", stem: str, input_shape: tuple[int, int, int], num_classes: int, name: str) -> None:
    """Raise if a model cannot be built for images of this shape or cannot take them; only shapes are computed, no weights are allocated.

    Raises
    ------
    ConfigError
        As in ``build_model``.
    """
    where = f"config/models.yaml: {name}"
    try:
        with torch.device("meta"):
            model = _assemble(entry, stem, input_shape, num_classes, where).eval()
            images = torch.empty(2, *input_shape)
        if not isinstance(as_classifier(model).get_classifier(), nn.Linear):
            raise ConfigError(f"{where}: {entry['library']}'s {entry['name']} has no single linear layer for its head")
        features_and_logits(model, images)
    except ConfigError:
        raise
    except Exception as error:  # models raise errors of many kinds: assertions, shapes, unknown arguments
        raise _describe_refusal(entry, input_shape, where, error) from None


def check_models(models: "Mapping[str, ModelEntry]", trainings: Iterable[Training]) -> None:
    """Raise for the first training whose model cannot take its images.

    Parameters
    ----------
    models : the entries of ``config/models.yaml``
    trainings : (model id, stem, (C, H, W), number of classes) of each training

    Raises
    ------
    ConfigError
        As in ``build_model``.
    """
    for model, stem, input_shape, num_classes in trainings:
        check_input(models[model], stem, input_shape, num_classes, model)


def _assemble(entry: "ModelEntry", stem: str, input_shape: tuple[int, int, int], num_classes: int, where: str) -> nn.Module:
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
    changes: SmallEntry = entry["small"] if stem == "small" else {}
    published = timm.get_pretrained_cfg(entry["name"])
    size = {"img_size": tuple(input_shape[1:])} if published and published.fixed_input_size else {}
    arguments = {**size, **changes.get("arguments", {})}
    model: nn.Module = timm.create_model(entry["name"], pretrained=False, num_classes=num_classes, in_chans=input_shape[0], **arguments)
    for path, change in changes.get("convolutions", {}).items():
        _change_convolution(model, path, change, f"{where}.small.convolutions")
    for path in changes.get("drop", []):
        _find_module(model, path, f"{where}.small.drop")
        model.set_submodule(path, nn.Identity())
    return model


def _describe_refusal(entry: "ModelEntry", input_shape: tuple[int, int, int], where: str, error: Exception) -> ConfigError:
    shape = "×".join(map(str, input_shape))
    return ConfigError(f"{where}: {entry['library']}'s {entry['name']} cannot take images of {shape} ({first_line(error)})")


def _change_convolution(model: nn.Module, path: str, change: "ConvolutionEntry", where: str) -> None:
    """Change a convolution's stride, or replace it by a fresh one with another kernel size."""
    old = _find_module(model, path, where)
    if not isinstance(old, nn.Conv2d):
        raise ConfigError(f"{where}: {path!r} is a {type(old).__name__}, not a convolution")
    stride = (change["stride"], change["stride"]) if "stride" in change else (old.stride[0], old.stride[1])
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
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if path not in modules:
        raise ConfigError(f"{where}: the model has no module {path!r}{suggest(path, modules)}")
    return modules[path]


def features_and_logits(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return penultimate features (B, d) and logits (B, C) of one forward pass; the logits are the head's output for these features."""
    classifier = as_classifier(model)
    features = classifier.forward_head(classifier.forward_features(images), pre_logits=True)
    return features, classifier.get_classifier()(features)

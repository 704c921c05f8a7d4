"""From an entry of models.yaml to a module."""

import torch
from torch import nn

from selectbench.errors import ConfigError, suggest
from selectbench.models.small import SMALL_NETS


def build_model(entry: dict, stem: str, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build a freshly initialised model; initialisation reads torch's global generator, so call it in an isolated one.

    Parameters
    ----------
    entry : {"library": "selectbench" | "timm", "name": str, "width": int}
        An entry of ``config/models.yaml``.
    stem : {"small", "standard"}
        ``small`` replaces a timm ResNet's 7×7 stride-2 stem and pooling by one 3×3 convolution, as is usual for 32×32 images.
    input_shape : (C, H, W)
    num_classes : C

    Raises
    ------
    ConfigError
        The library does not know the name; the closest one is named.
    """
    if entry["library"] == "selectbench":
        if entry["name"] not in SMALL_NETS:
            raise ConfigError(f"config/models.yaml: name: unknown {entry['name']!r}{suggest(entry['name'], SMALL_NETS)}")
        return SMALL_NETS[entry["name"]](input_shape[0], num_classes, entry["width"])
    import timm

    if not timm.is_model(entry["name"]):
        raise ConfigError(f"config/models.yaml: name: timm has no model {entry['name']!r}{suggest(entry['name'], timm.list_models())}")
    model = timm.create_model(entry["name"], pretrained=False, num_classes=num_classes, in_chans=input_shape[0])
    if stem == "small":
        model.conv1 = nn.Conv2d(input_shape[0], model.conv1.out_channels, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    return model


def features_and_logits(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return penultimate features (B, d) and logits (B, C) of one forward pass; the logits are the head of those features."""
    features = model.forward_head(model.forward_features(images), pre_logits=True)
    return features, model.get_classifier()(features)

"""Small convolutional nets for small images, with the part of timm's interface that the benchmark uses."""

import torch
from torch import nn


class _Classifier(nn.Module):
    """A body that ends in pooled features and one linear head; ``forward_head(…, pre_logits=True)`` gives the features."""

    def __init__(self, body: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, num_classes)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images)

    def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        features = maps.mean(dim=(2, 3))
        return features if pre_logits else self.head(features)

    def get_classifier(self) -> nn.Linear:
        return self.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class _Residual(nn.Module):
    """Two 3×3 convolutions around a shortcut (He et al. 2016, Figure 2); a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, stride)
        self.second = _convolution(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(maps))) + self.shortcut(maps))


def convnet(channels: int, num_classes: int, width: int) -> nn.Module:
    """Three 3×3 convolutions with batch normalisation, the second and third with stride 2; widths w, 2w, 2w."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((channels, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 2)):
        layers += [_convolution(inputs, outputs, stride), nn.ReLU()]
    return _Classifier(nn.Sequential(*layers), 2 * width, num_classes)


def resnet8(channels: int, num_classes: int, width: int) -> nn.Module:
    """Three residual blocks of widths w, 2w, 4w: the CIFAR ResNet of He et al. 2016 with n = 1."""
    body = nn.Sequential(
        _convolution(channels, width),
        nn.ReLU(),
        _Residual(width, width, 1),
        _Residual(width, 2 * width, 2),
        _Residual(2 * width, 4 * width, 2),
    )
    return _Classifier(body, 4 * width, num_classes)


SMALL_NETS = {"convnet": convnet, "resnet8": resnet8}

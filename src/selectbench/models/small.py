"""Small networks for small images, with the part of timm's interface that the benchmark uses: convolutional, ViT and MLP-Mixer."""

from collections.abc import Callable

import torch
from torch import nn


class _Classifier(nn.Module):
    """A body, mean pooling and a linear head; ``forward_head(…, pre_logits=True)`` returns the pooled features.

    Parameters
    ----------
    body : images → maps or tokens
    width : of the features
    num_classes : C
    pooled : axes of the body's output to average over
    """

    def __init__(self, body: nn.Module, width: int, num_classes: int, pooled: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, num_classes)
        self._pooled = pooled

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.body(images)
        return maps

    def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        features = maps.mean(dim=self._pooled)
        return features if pre_logits else self.head(features)

    def get_classifier(self) -> nn.Linear:
        return self.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class _Residual(nn.Module):
    """Two 3×3 convolutions and a shortcut (He et al. 2016, Figure 2), which is a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, stride)
        self.second = _convolution(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(maps))) + self.shortcut(maps))


def convnet(input_shape: tuple[int, int, int], num_classes: int, width: int) -> nn.Module:
    """Three 3×3 convolutions with batch normalisation, the second and third with stride 2; widths w, 2w, 2w."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((input_shape[0], width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 2)):
        layers += [_convolution(inputs, outputs, stride), nn.ReLU()]
    return _Classifier(nn.Sequential(*layers), 2 * width, num_classes, pooled=(2, 3))


def resnet8(input_shape: tuple[int, int, int], num_classes: int, width: int) -> nn.Module:
    """Three residual blocks of widths w, 2w, 4w: the CIFAR ResNet of He et al. 2016 with n = 1."""
    body = nn.Sequential(
        _convolution(input_shape[0], width),
        nn.ReLU(),
        _Residual(width, width, 1),
        _Residual(width, 2 * width, 2),
        _Residual(2 * width, 4 * width, 2),
    )
    return _Classifier(body, 4 * width, num_classes, pooled=(2, 3))


class _Scale(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps * self.factor


class _Around(nn.Module):
    """A residual block of two 3×3 convolutions, added after the last nonlinearity (Page 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(width, width), nn.ReLU(), _convolution(width, width), nn.ReLU())

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.layers(maps)
        return maps + change


def resnet9(input_shape: tuple[int, int, int], num_classes: int, width: int) -> nn.Module:
    """Nine-layer residual network for CIFAR-10: widths w, 2w, 4w, 8w, 2×2 max pooling, residual blocks at 2w and 8w.

    After Page, How to train your ResNet 4: Architecture, 2018, where w = 64 and the head has no bias; here, as in all models, it has.
    """
    widths = [width * factor for factor in (1, 2, 4, 8)]
    body = nn.Sequential(_convolution(input_shape[0], width), nn.ReLU())
    for inputs, outputs, residual in zip(widths, widths[1:], (True, False, True), strict=False):
        body.extend([_convolution(inputs, outputs), nn.ReLU(), nn.MaxPool2d(2), *([_Around(outputs)] if residual else [])])
    body.extend([nn.AdaptiveMaxPool2d(1), _Scale(0.125)])
    return _Classifier(body, 8 * width, num_classes, pooled=(2, 3))


class _Patches(nn.Module):
    """Cut images (B, C, H, W) into T square patches and map each linearly to a token: (B, T, w)."""

    def __init__(self, input_shape: tuple[int, int, int], width: int, patch: int) -> None:
        super().__init__()
        channels, height, columns = input_shape
        if height % patch or columns % patch:
            raise ValueError(f"patches of {patch}×{patch} do not tile them")
        self.count = (height // patch) * (columns // patch)
        self.embedding = nn.Conv2d(channels, width, patch, patch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.embedding(images)
        return embedded.flatten(2).transpose(1, 2)


class _Positions(nn.Module):
    """Add a learned vector at each position, initialised with standard deviation 1 like torch's embeddings."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(nn.init.normal_(torch.empty(1, tokens, width)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.positions


class _PreNorm(nn.Module):
    """A residual block: layer normalisation, then a layer, added to the tokens."""

    def __init__(self, width: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layer = layer

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.layer(self.norm(tokens))
        return tokens + change


class _Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self.inputs(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        output: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class _AcrossTokens(nn.Module):
    """Apply a layer along the token axis, the same for every channel."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.layer(tokens.transpose(1, 2))
        return mixed.transpose(1, 2)


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def vit(input_shape: tuple[int, int, int], num_classes: int, width: int, depth: int, heads: int, patch: int) -> nn.Module:
    """Pre-norm vision transformer with learned positions, MLPs of four times the width, and the mean token as features.

    After Dosovitskiy et al. 2021 (arXiv 2010.11929), with mean pooling instead of the class token.

    Raises
    ------
    ValueError
        The patches do not tile the images, or the width is not divisible by the number of heads.
    """
    if width % heads:
        raise ValueError(f"a width of {width} is not divisible by {heads} heads")
    patches = _Patches(input_shape, width, patch)
    blocks = [_PreNorm(width, layer) for _ in range(depth) for layer in (_Attention(width, heads), _mlp(width, 4 * width))]
    body = nn.Sequential(patches, _Positions(patches.count, width), *blocks, nn.LayerNorm(width))
    return _Classifier(body, width, num_classes, pooled=(1,))


def mixer(input_shape: tuple[int, int, int], num_classes: int, width: int, depth: int, patch: int) -> nn.Module:
    """MLP-Mixer (Tolstikhin et al. 2021, arXiv 2105.01601): token-mixing MLPs of width w/2, channel-mixing ones of 4w, as in its Table 1.

    Raises
    ------
    ValueError
        The patches do not tile the images.
    """
    patches = _Patches(input_shape, width, patch)
    blocks = [
        _PreNorm(width, layer) for _ in range(depth) for layer in (_AcrossTokens(_mlp(patches.count, width // 2)), _mlp(width, 4 * width))
    ]
    return _Classifier(nn.Sequential(patches, *blocks, nn.LayerNorm(width)), width, num_classes, pooled=(1,))


SMALL_NETS: dict[str, Callable[..., nn.Module]] = {"convnet": convnet, "resnet8": resnet8, "resnet9": resnet9, "vit": vit, "mixer": mixer}

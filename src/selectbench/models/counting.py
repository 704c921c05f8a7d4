"""How large a model is: multiply-adds of a forward pass and parameters, counted on shapes alone."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from selectbench.models.factory import build_model, features_and_logits


class ModelSize(NamedTuple):
    """Multiply-adds of one image's forward pass, parameters (and other numbers that are saved with them), width of the features."""

    multiply_adds: int
    parameters: int
    width: int


def count_model(entry: dict, stem: str, input_shape: tuple[int, int, int], num_classes: int) -> ModelSize:
    """Count a model of ``config/models.yaml`` without making weights (see ``build_model`` for arguments and errors).

    Convolutions, matrix products and attention are counted; what is done number by number is not.
    """
    with torch.device("meta"):
        model = build_model(entry, stem, input_shape, num_classes).eval()
        image = torch.empty(1, *input_shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        features, _ = features_and_logits(model, image)
    parameters = sum(value.numel() for value in model.state_dict().values())
    return ModelSize(counter.get_total_flops() // 2, parameters, features.shape[1])

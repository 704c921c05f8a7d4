"""The size of a model: multiply-adds of a forward pass and parameters, computed from shapes alone."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from selectbench.models.entries import ModelEntry


class ModelSize(NamedTuple):
    """The size of a model.

    Parameters
    ----------
    multiply_adds : of the forward pass of one image
    parameters : with the buffers that are saved with them
    width : of the features
    """

    multiply_adds: int
    parameters: int
    width: int


def count_model(entry: "ModelEntry", stem: str, input_shape: tuple[int, int, int], num_classes: int) -> ModelSize:
    """Return the size of a model of ``config/models.yaml`` without allocating weights; arguments and errors as in ``build_model``.

    Convolutions, matrix products and attention are counted, elementwise operations are not.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from selectbench.models.factory import build_model, features_and_logits

    with torch.device("meta"):
        model = build_model(entry, stem, input_shape, num_classes).eval()
        image = torch.empty(1, *input_shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        features, _ = features_and_logits(model, image)
    parameters = sum(value.numel() for value in model.state_dict().values())
    return ModelSize(counter.get_total_flops() // 2, parameters, features.shape[1])

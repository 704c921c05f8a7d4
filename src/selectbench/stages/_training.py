"""What the stages that train share: opening pools, and building models and random streams from the axes of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import torch
from torch import nn

from selectbench.data.check import open_unchanged
from selectbench.errors import DataError, RecordError, first_line, suggest
from selectbench.models.factory import build_model
from selectbench.models.pretrained import Weights
from selectbench.models.weights import find_weights, warm_start
from selectbench.records.files import read_sealed
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.training.pools import Pool, open_pool

if TYPE_CHECKING:
    from selectbench.models.entries import ModelEntry
    from selectbench.models.weights import WarmStart
    from selectbench.stages._specs import ModelSpec, TrainingSpec


class Seeds(TypedDict):
    """The seeds of a model's weights, for the record.

    Parameters
    ----------
    init : seed of the initial weights
    streams : names from which all streams of the training are derived
    """

    init: int
    streams: list[object]


def open_prepared(data: Path, split: str, device: torch.device) -> Pool:
    """Open a split of a prepared data set on a device, given the data set's manifest.

    Raises
    ------
    DataError
        The split has not been prepared, or its image files have changed since.
    """
    manifest = read_sealed(data)
    described = manifest["splits"].get(split)
    if described is None:
        help_ = f"{suggest(split, manifest['splits'])}; run `selectbench data prepare {manifest['name']}`"
        raise DataError(f"{data}: has no split {split!r}{help_}")
    opened = open_unchanged(data, split, described, torch.get_num_threads())
    return open_pool(opened, manifest["mean"], manifest["std"], device, described["classes"], described.get("corruptions", ()))


def read_weights(path: Path, device: torch.device) -> Any:
    """Read the weights that a proxy run or a target saved, without unpickling code.

    Raises
    ------
    RecordError
        The file is missing or damaged, or holds something other than tensors and plain values.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # each kind of damage raises a different error
        raise RecordError(f"{path}: cannot be read as weights ({first_line(error)}); delete it and run again") from None


def build_from_spec(spec: "ModelSpec", stem: str, stream: tuple[object, ...], device: torch.device) -> tuple[nn.Module, "Seeds"]:
    """Build the model of a specification, seeded by the stream and the model's id, and return it with its seeds for the record."""
    init = derive_seed(*stream, "init", spec["model_name"])
    channels, height, width = spec["input_shape"]
    with isolated_torch_rng(init):
        model = build_model(_image_model(spec), stem, (channels, height, width), spec["num_classes"], spec["model_name"])
    moved: nn.Module = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack the format
    return moved, {"init": init, "streams": list(stream)}


def warm_start_from_spec(model: nn.Module, spec: "TrainingSpec") -> "WarmStart | None":
    """Load the weights that a specification's recipe starts from into a model; return what to record, or None for a fresh start."""
    weights = _find_start(spec)
    return None if weights is None else warm_start(model, _image_model(spec), spec["recipe"]["stem"], weights, _name_start(spec))


def describe_start(spec: "TrainingSpec") -> dict[str, str] | None:
    """Return origin and SHA-256 of the weights that a specification's recipe starts from, or None for a fresh start."""
    weights = _find_start(spec)
    return None if weights is None else {"origin": weights.origin, "sha256": weights.sha256}


def _image_model(spec: "ModelSpec") -> "ModelEntry":
    return cast("ModelEntry", spec["model"])  # the plan never trains a language model on images


def _find_start(spec: "TrainingSpec") -> Weights | None:
    return find_weights(spec["recipe"].get("pretrained", False), _image_model(spec), _name_start(spec))


def _name_start(spec: "TrainingSpec") -> str:
    return f"config/recipes.yaml: {spec.get('recipe_name')}.pretrained"

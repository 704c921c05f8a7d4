"""What the stages that train share: opening a pool, and a model and streams that are functions of the axes."""

from pathlib import Path

import torch
from torch import nn

from selectbench.data.splits import open_split
from selectbench.errors import DataError, RecordError, first_line, suggest
from selectbench.models.factory import build_model
from selectbench.models.pretrained import Weights
from selectbench.models.weights import find_weights, warm_start
from selectbench.records.files import read_json
from selectbench.seeds import derive_seed, isolated_torch_rng
from selectbench.training.pools import Pool, open_pool


def open_prepared(data: Path, split: str, device: torch.device) -> Pool:
    """Put a split of a prepared data set on a device, by the data set's manifest.

    Raises
    ------
    DataError
        The split is not among the prepared ones.
    """
    manifest = read_json(data)
    described = manifest["splits"].get(split)
    if described is None:
        help_ = f"{suggest(split, manifest['splits'])}; run `selectbench data prepare {manifest['name']}`"
        raise DataError(f"{data}: has no split {split!r}{help_}")
    opened = open_split(data.parent, split, torch.get_num_threads())
    return open_pool(opened, manifest["mean"], manifest["std"], device, described["classes"], described.get("corruptions", ()))


def read_weights(path: Path, device: torch.device) -> list[dict] | dict:
    """Read the weights that a proxy run kept, or those of a target, without ever unpickling code.

    Raises
    ------
    RecordError
        The file is missing or damaged, or holds something other than tensors and plain values.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # every kind of damage fails in its own way
        raise RecordError(f"{path}: cannot be read as weights ({first_line(error)}); delete it and run again") from None


def build_from_spec(spec: dict, stem: str, stream: tuple[object, ...], device: torch.device) -> tuple[nn.Module, dict]:
    """Build the model of a specification, initialised by (stream, model), and return it with the seeds for the record."""
    seeds = {"init": derive_seed(*stream, "init", spec["model_name"]), "streams": list(stream)}
    with isolated_torch_rng(seeds["init"]):
        model = build_model(spec["model"], stem, tuple(spec["input_shape"]), spec["num_classes"], spec["model_name"])
    return model.to(device, memory_format=torch.channels_last), seeds


def warm_start_from_spec(model: nn.Module, spec: dict) -> dict | None:
    """Put the weights that a specification's recipe starts from into its model; return what to record, None for a fresh start."""
    weights = _find_start(spec)
    return weights and warm_start(model, spec["model"], spec["recipe"]["stem"], weights, _name_start(spec))


def describe_start(spec: dict) -> dict | None:
    """Return origin and SHA-256 of the weights that a specification's recipe starts from, None for a fresh start."""
    weights = _find_start(spec)
    return weights and {"origin": weights.origin, "sha256": weights.sha256}


def _find_start(spec: dict) -> Weights | None:
    return find_weights(spec["recipe"].get("pretrained", False), spec["model"], _name_start(spec))


def _name_start(spec: dict) -> str:
    return f"config/recipes.yaml: {spec.get('recipe_name')}.pretrained"

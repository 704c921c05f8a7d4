"""What the stages that train share: opening a pool, and a model and streams that are functions of the axes."""

from pathlib import Path

import torch
from torch import nn

from selectbench.data.splits import open_split
from selectbench.engine import Pool, open_pool
from selectbench.files import read_json
from selectbench.models import build_model
from selectbench.seeds import derive_seed, isolated_torch_rng


def open_prepared(data: Path, split: str, device: torch.device) -> Pool:
    """Put a split of a prepared data set on a device, by the data set's manifest."""
    manifest = read_json(data)
    return open_pool(open_split(data.parent, split), manifest["mean"], manifest["std"], device)


def build_from_spec(spec: dict, stem: str, stream: tuple[object, ...], device: torch.device) -> tuple[nn.Module, dict]:
    """Build the model of a specification, initialised by (stream, model), and return it with the seeds for the record."""
    seeds = {"init": derive_seed(*stream, "init", spec["model_name"]), "streams": list(stream)}
    with isolated_torch_rng(seeds["init"]):
        model = build_model(spec["model"], stem, tuple(spec["input_shape"]), spec["num_classes"])
    return model.to(device, memory_format=torch.channels_last), seeds

"""Image targets, for the stages that train and evaluate them."""

from pathlib import Path

import torch

from selectbench.stages._specs import TrainingSpec
from selectbench.stages._targets import Family
from selectbench.stages._training import build_from_spec, describe_start, open_prepared, warm_start_from_spec
from selectbench.training.devices import choose_device


def make_family(spec: TrainingSpec, data: Path) -> Family:
    """Return the family of the targets that a specification describes.

    Parameters
    ----------
    spec : specification of a batch
    data : manifest of the prepared data set
    """
    torch.set_num_threads(spec["threads"])
    device = choose_device(spec["gpu"])

    return Family(
        device=device,
        open_split=lambda name: open_prepared(data, name, device),
        build=lambda stream: build_from_spec(spec, spec["recipe"]["stem"], stream, device),
        warm_start=lambda model: warm_start_from_spec(model, spec),
        start=describe_start(spec),
        read_state=lambda model: model.state_dict(),
        write_state=lambda model, state: model.load_state_dict(state),
    )

"""Sizes of models. A model is built to be counted, which takes up to a second, so the sizes that plans ask for are kept in a file.

``sizes.jsonl`` beside this module has a line for every network that a scale trains; ``python -m selectbench.costs.sizes`` counts them
again, which is needed after a change of a model, or to plan a further one as fast. Networks without a line are counted when asked for.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from selectbench.models.counting import ModelSize, count_model
from selectbench.planning.config import SCALES, Config
from selectbench.planning.jobs import list_jobs
from selectbench.planning.plan import load_plan
from selectbench.planning.stage import Network
from selectbench.records.files import write_text

KEPT = Path(__file__).with_name("sizes.jsonl")


class ImageNetwork(NamedTuple):
    """What the size of a network on images depends on.

    Parameters
    ----------
    model : entry of ``config/models.yaml``
    stem : that its recipe names
    input_shape : (C, H, W)
    classes : number of classes
    """

    model: Mapping[str, object]
    stem: str
    input_shape: tuple[int, int, int]
    classes: int


PUBLISHED_MODEL = ImageNetwork({"library": "timm", "name": "resnet50"}, "standard", (3, 224, 224), 1000)  # whose pace costing.py cites


def identify_network(entry: Mapping[str, object], stem: str, inputs: object) -> str:
    """Return the identity of a network; networks with the same identity train at the same pace.

    Parameters
    ----------
    entry : its entry in ``config/models.yaml``
    stem : the stem that its recipe names
    inputs : the shape of the images, or the text data set
    """
    return json.dumps([drop_title(entry), stem, inputs], sort_keys=True)


def drop_title(entry: Mapping[str, object]) -> dict[str, object]:
    """Return an entry of ``config/models.yaml`` without its title, which is for people."""
    return {name: value for name, value in entry.items() if name != "title"}


def size_model(network: ImageNetwork) -> ModelSize:
    """Return the size of a network on images, as it is kept or else as counted."""
    identity = _identify(network)
    return read_kept().get(identity) or _count_identity(identity)


@cache
def read_kept() -> dict[str, ModelSize]:
    """Return identity of a network → its size, from the file of sizes."""
    rows = map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())
    return {_identify(ImageNetwork(**row["network"])): ModelSize(**row["size"]) for row in rows}


def _identify(network: ImageNetwork) -> str:
    return identify_network(network.model, network.stem, [network.input_shape, network.classes])


@cache
def _count_identity(identity: str) -> ModelSize:
    model, stem, (input_shape, classes) = json.loads(identity)
    return count_model(model, stem, tuple(input_shape), classes)


def describe_images(config: Config, network: Network) -> ImageNetwork:
    """Return what the size of a plan's network depends on."""
    dataset = config.find_images(network.dataset)
    channels, height, width = dataset["input_shape"]
    return ImageNetwork(drop_title(config.models[network.model]), network.stem, (channels, height, width), dataset["classes"])


def list_networks(root: Path) -> list[ImageNetwork]:
    """List the networks on images that any scale trains, and the one whose pace is published.

    Parameters
    ----------
    root : folder of the project
    """
    found = [PUBLISHED_MODEL]
    for path in sorted((root / SCALES).glob("*.yaml")):
        plan = load_plan(root, {"scale": path.stem})
        visits = [job.stage.count_visits(plan) for job in list_jobs(plan).values()]
        networks = dict.fromkeys(counted.network for counted in visits if counted is not None)
        found += [describe_images(plan.config, network) for network in networks if not plan.config.is_text(network.dataset)]
    return found


def count_networks(networks: Iterable[ImageNetwork]) -> str:
    """Return the lines of the file of sizes, one for every network, sorted."""
    sized = [{"network": network._asdict(), "size": _count_identity(_identify(network))._asdict()} for network in networks]
    return "".join(sorted({f"{json.dumps(row, sort_keys=True)}\n" for row in sized}))


if __name__ == "__main__":
    write_text(KEPT, count_networks(list_networks(Path())))

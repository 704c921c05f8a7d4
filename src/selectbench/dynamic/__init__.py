"""Dynamic samplers: a fresh subset every epoch, chosen while the model trains. One file each; the file's name is the sampler's id.

>>> sampler = sb.dynamic.make("infobatch", num_samples=len(data), keep=0.5, epochs=30, seed=0)
>>> loader = DataLoader(sb.dynamic.WithIds(data), batch_size=128, sampler=sampler)
"""

import importlib
import pkgutil
from dataclasses import fields
from pathlib import Path

from selectbench.dynamic._base import DynamicSampler
from selectbench.dynamic._with_ids import WithIds
from selectbench.errors import SelectbenchError, suggest

__all__ = ["DynamicSampler", "WithIds", "available_samplers", "load_sampler", "make"]


def available_samplers() -> list[str]:
    """List the ids of all samplers that are built."""
    return sorted(name for _, name, _ in pkgutil.iter_modules([str(Path(__file__).parent)]) if not name.startswith("_"))


def load_sampler(name: str) -> type[DynamicSampler]:
    """Return the class of a sampler by its id.

    Raises
    ------
    SelectbenchError
        No such sampler; the closest id is named.
    """
    if name not in available_samplers():
        raise SelectbenchError(f"unknown sampler {name!r}{suggest(name, available_samplers())}")
    module = importlib.import_module(f"selectbench.dynamic.{name}")
    (sampler,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, DynamicSampler) and value.__module__ == module.__name__
    )
    return sampler


def make(name: str, *, num_samples: int, keep: float | str, epochs: int, seed: int = 0, **parameters: object) -> DynamicSampler:
    """Return a sampler for one training.

    Parameters
    ----------
    name : id of a sampler
    num_samples : N; sample ids are 0 … N−1, the positions in the data set
    keep : share kept in an epoch that prunes, in (0, 1]
    epochs : T, the length of the training
    seed : of the order and of every draw
    **parameters : ``warmup``, ``anneal``, ``loss_weight`` and the sampler's own; unknown names are errors

    Returns
    -------
    DynamicSampler

    Raises
    ------
    SelectbenchError
        Unknown sampler or parameter (the closest one is named), or a value that cannot be used.
    """
    sampler = load_sampler(name)
    valid = [field.name for field in fields(sampler)]
    for parameter in parameters:
        if parameter not in valid:
            raise SelectbenchError(f"sampler {name!r} has no parameter {parameter!r}{suggest(parameter, valid)}")
    return sampler(num_samples=num_samples, keep=keep, epochs=epochs, seed=seed, **parameters)

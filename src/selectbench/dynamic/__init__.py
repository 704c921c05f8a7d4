"""Dynamic samplers choose a new subset every epoch while the model trains; one per file, the file name is the sampler's id.

>>> sampler = sb.dynamic.make("infobatch", num_samples=len(data), keep=0.5, epochs=30, seed=0)
>>> loader = DataLoader(sb.dynamic.WithIds(data), batch_size=128, sampler=sampler)
"""

from typing import Any

from selectbench.dynamic._base import DynamicSampler
from selectbench.dynamic._with_ids import WithIds
from selectbench.errors import needing_packages, require_packages
from selectbench.registry import check_parameter_names, list_ids, load_class

__all__ = ["DynamicSampler", "WithIds", "available_samplers", "draft", "load_sampler", "make"]


def available_samplers() -> list[str]:
    """Return the ids of all samplers, sorted."""
    return list_ids(__file__)


def load_sampler(name: str) -> type[DynamicSampler]:
    """Return the class of a sampler, given its id.

    Raises
    ------
    SelectbenchError
        No such sampler; the message suggests the closest id.
    """
    kind: type[DynamicSampler] = DynamicSampler  # type: ignore[type-abstract]  # stands for its subclasses
    return load_class("selectbench.dynamic", kind, name, available_samplers(), "sampler")


def make(name: str, *, num_samples: int, keep: float | str, epochs: int, seed: int = 0, **parameters: Any) -> DynamicSampler:
    """Return a sampler for one training run.

    Parameters
    ----------
    name : id of a sampler
    num_samples : N; sample ids are 0 … N−1, the positions in the data set
    keep : fraction kept in a pruned epoch, in (0, 1]
    epochs : T, the length of the training
    seed : for the order and all random choices
    **parameters : ``warmup``, ``anneal``, ``loss_weight`` and the sampler's own parameters; unknown names raise

    Returns
    -------
    DynamicSampler

    Raises
    ------
    SelectbenchError
        Unknown sampler or parameter (the message suggests the closest one), or an invalid value.
    MissingPackage
        The sampler needs a package that is not installed.
    """
    with needing_packages(f"sampler {name!r}"):
        require_packages(*load_sampler(name).packages)
    return draft(name, num_samples=num_samples, keep=keep, epochs=epochs, seed=seed, **parameters)


def draft(name: str, *, num_samples: int, keep: float | str, epochs: int, seed: int = 0, **parameters: Any) -> DynamicSampler:
    """Return a sampler as ``make`` does, to check its parameters and ask for its plan: packages that it needs to observe may be missing."""
    with needing_packages(f"sampler {name!r}"):
        sampler = load_sampler(name)
    check_parameter_names(sampler, parameters, f"sampler {name!r}")
    return sampler(num_samples=num_samples, keep=keep, epochs=epochs, seed=seed, **parameters)

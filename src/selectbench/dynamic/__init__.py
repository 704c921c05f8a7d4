"""Dynamic samplers: a fresh subset every epoch, chosen while the model trains. One file each; the file's name is the sampler's id.

>>> sampler = sb.dynamic.make("infobatch", num_samples=len(data), keep=0.5, epochs=30, seed=0)
>>> loader = DataLoader(sb.dynamic.WithIds(data), batch_size=128, sampler=sampler)
"""

from selectbench.dynamic._base import DynamicSampler
from selectbench.dynamic._with_ids import WithIds
from selectbench.errors import needing_packages
from selectbench.registry import check_parameter_names, list_ids, load_class

__all__ = ["DynamicSampler", "WithIds", "available_samplers", "load_sampler", "make"]


def available_samplers() -> list[str]:
    """List the ids of all samplers that are built."""
    return list_ids(__file__)


def load_sampler(name: str) -> type[DynamicSampler]:
    """Return the class of a sampler by its id.

    Raises
    ------
    SelectbenchError
        No such sampler; the closest id is named.
    """
    return load_class("selectbench.dynamic", DynamicSampler, name, available_samplers(), "sampler")


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
    with needing_packages(f"sampler {name!r}"):
        sampler = load_sampler(name)
    check_parameter_names(sampler, parameters, f"sampler {name!r}")
    return sampler(num_samples=num_samples, keep=keep, epochs=epochs, seed=seed, **parameters)

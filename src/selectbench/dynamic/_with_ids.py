"""A data set wrapper that adds the sample id to every item."""

from collections.abc import Mapping
from typing import Any, Protocol

from selectbench.errors import SelectbenchError


class MapDataset(Protocol):
    """A map-style data set: anything with ``len`` and ``[i]``."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, position: int, /) -> Any:
        """Return an item of any kind."""


class WithIds:
    """Wrap a map-style data set so that every item carries its id, which a sampler's ``weights`` and ``observe`` need.

    Item i becomes ``{key: i, **item}`` if it is a mapping, as in data sets of Hugging Face, ``(i, *item)`` if it is a tuple or list, and
    ``(i, item)`` otherwise.

    Parameters
    ----------
    dataset : anything with ``len`` and ``[i]``
    key : the key of the id in items that are mappings

    Raises
    ------
    SelectbenchError
        An item has the key already.
    """

    def __init__(self, dataset: MapDataset, key: str = "sample_id") -> None:
        self.dataset = dataset
        self.key = key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> dict[str, Any] | tuple[Any, ...]:
        item = self.dataset[position]
        if isinstance(item, Mapping):
            if self.key in item:
                raise SelectbenchError(f"WithIds: items have a key {self.key!r} already; name another one: WithIds(data, key=…)")
            return {self.key: position, **item}
        return (position, *item) if isinstance(item, tuple | list) else (position, item)

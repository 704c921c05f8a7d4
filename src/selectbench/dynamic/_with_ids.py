"""A data set wrapper that adds the sample id to every item."""

from typing import Any, Protocol


class MapDataset(Protocol):
    """A map-style data set: anything with ``len`` and ``[i]``."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, position: int, /) -> Any:
        """Return an item of any kind."""


class WithIds:
    """Wrap a map-style data set: item i becomes ``(i, *item)`` if it is a tuple or list, otherwise ``(i, item)``.

    Batches of a loader then start with the ids that a sampler's ``weights`` and ``observe`` need.

    Parameters
    ----------
    dataset : anything with ``len`` and ``[i]``
    """

    def __init__(self, dataset: MapDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> tuple[Any, ...]:
        item = self.dataset[position]
        return (position, *item) if isinstance(item, tuple | list) else (position, item)

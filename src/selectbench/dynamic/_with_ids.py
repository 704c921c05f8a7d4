"""A data set whose items say which sample they are."""

from collections.abc import Sequence


class WithIds:
    """Wrap a map-style data set: item i becomes ``(i, *item)`` if it is a tuple or list, else ``(i, item)``.

    A loader's batch then starts with the ids, which a sampler's ``weights`` and ``observe`` take.

    Parameters
    ----------
    dataset : anything with ``len`` and ``[i]``
    """

    def __init__(self, dataset: Sequence) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> tuple:
        item = self.dataset[position]
        return (position, *item) if isinstance(item, tuple | list) else (position, item)

"""When a proxy is recorded: the epochs that shares of its training stand for."""

from collections.abc import Sequence


def list_epochs(shares: Sequence[float], epochs: int) -> list[int]:
    """Return the epochs after which these shares of training are done, the first at the earliest."""
    return [max(1, round(share * epochs)) for share in shares]


def list_passes(record_at: Sequence[float], epochs: int) -> list[int]:
    """Return the epochs after which a proxy sees its pool once more, clean and in evaluation mode: the first, the last and the declared."""
    return sorted({1, *list_epochs(record_at, epochs), epochs})

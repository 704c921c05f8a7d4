"""When a proxy is recorded: the epochs that given shares of its training correspond to."""

from collections.abc import Sequence


def list_epochs(shares: Sequence[float], epochs: int) -> list[int]:
    """Return the epochs after which these shares of training are completed, at least the first."""
    return [max(1, round(share * epochs)) for share in shares]


def list_passes(record_at: Sequence[float], epochs: int) -> list[int]:
    """Return the epochs followed by a clean evaluation-mode pass over the pool: the first, the last and the declared ones."""
    return sorted({1, *list_epochs(record_at, epochs), epochs})

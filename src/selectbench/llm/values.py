"""Values of sets of clusters: every proxy training is run once, counted, and stored on disk."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from selectbench.errors import RunFailedError
from selectbench.records.files import append_line, write_text

Chosen = tuple[int, ...]
Measure = Callable[[Chosen], Mapping[str, float]]


class BudgetSpentError(Exception):
    """A search requested another proxy training after its budget was spent; this ends the search."""


class CountedValues:
    """Measures proxies trained on sets of clusters, each set at most once, and at most ``limit`` sets.

    Order and repeats within a set do not matter. Requesting a set again is free.

    Parameters
    ----------
    measure : sorted clusters → measurements of a proxy trained on them, with at least ``loss``
    limit : largest number of distinct sets; None for no limit
    memo : file of measurements, one JSON line each, from which a killed search replays; they count once they are requested
    key : identifies everything that may influence a measurement; a memo with another key is discarded
    """

    def __init__(self, measure: Measure, limit: int | None = None, memo: Path | None = None, key: str = "") -> None:
        self.measure = measure
        self.limit = limit
        self.memo = memo
        self._asked: dict[Chosen, dict[str, float]] = {}
        self._remembered = read_memo(memo, key) if memo else {}

    def __call__(self, chosen: Collection[int]) -> dict[str, float]:
        """Return the measurement of a set of clusters.

        Raises
        ------
        BudgetSpentError
            The set is new and the limit is reached.
        RunFailedError
            The loss is not finite; such a measurement is not stored.
        """
        asked = tuple(sorted({int(cluster) for cluster in chosen}))
        if asked in self._asked:
            return self._asked[asked]
        if self.limit is not None and self.count >= self.limit:
            raise BudgetSpentError(f"{self.limit} sets of clusters were measured")
        if asked not in self._remembered:
            measured = dict(self.measure(asked))
            if not math.isfinite(measured["loss"]):
                raise RunFailedError(f"the proxy trained on clusters {list(asked)} has the validation loss {measured['loss']}")
            self._remembered[asked] = measured
            if self.memo:
                append_line(self.memo, json.dumps([list(asked), measured]))
        self._asked[asked] = self._remembered[asked]
        return self._asked[asked]

    @property
    def count(self) -> int:
        """Number of distinct sets requested."""
        return len(self._asked)

    @property
    def history(self) -> list[tuple[Chosen, dict[str, float]]]:
        """The sets in the order of their first request, with their measurements."""
        return list(self._asked.items())


def read_memo(path: Path, key: str) -> dict[Chosen, dict[str, float]]:
    """Return a memo's measurements for this key and repair incomplete lines; unreadable measurements are merely repeated."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    whole = [found for line in lines[:-1] if (found := parse_line(line)) is not None]
    if not whole or whole[0] != key:
        write_text(path, json.dumps(key) + "\n")
        return {}
    if lines[-1] or len(whole) < len(lines) - 1:
        write_text(path, "".join(json.dumps(line) + "\n" for line in whole))
    return {tuple(chosen): measured for chosen, measured in whole[1:]}


def parse_line(line: bytes) -> Any:
    """Return the JSON value of a line, or None if the line is incomplete."""
    try:
        return json.loads(line)
    except ValueError:
        return None

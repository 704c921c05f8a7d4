"""Values of sets of clusters: every proxy training is measured once, counted, and remembered on disk."""

import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from selectbench.errors import RunFailedError

Chosen = tuple[int, ...]
Measure = Callable[[Chosen], Mapping[str, float]]


class BudgetSpentError(Exception):
    """A search asked for a new proxy training after its last one; agents stop there."""


class CountedValues:
    """What proxies are worth on sets of clusters, measured at most once a set and at most ``limit`` times.

    The order of a set and repeats in it do not matter. A set that was asked for before is free.

    Parameters
    ----------
    measure : sorted clusters → what a proxy trained on them is worth, with ``loss`` at least
    limit : distinct sets that may be measured; None for any number
    memo : a file of measurements, one JSON line each, by which a killed search replays; they count when they are asked for
    key : of everything that may influence a measurement; a memo of another key starts afresh
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
            The loss is not finite; such a measurement is not remembered.
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
                append_line(self.memo, [list(asked), self._remembered[asked]])
        self._asked[asked] = self._remembered[asked]
        return self._asked[asked]

    @property
    def count(self) -> int:
        """How many distinct sets were asked for."""
        return len(self._asked)

    @property
    def history(self) -> list[tuple[Chosen, dict[str, float]]]:
        """The sets in the order in which they were first asked for, with their measurements."""
        return list(self._asked.items())


def read_memo(path: Path, key: str) -> dict[Chosen, dict[str, float]]:
    """Return the measurements of a memo of this key, and leave it as whole lines; a torn or foreign one only costs what it held."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    whole = [found for line in lines[:-1] if (found := parse_line(line)) is not None]
    if not whole or whole[0] != key:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        append_line(path, key)
        return {}
    if lines[-1] or len(whole) < len(lines) - 1:
        temporary = path.with_suffix(".part")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in whole), encoding="utf-8")
        temporary.replace(path)
    return {tuple(chosen): measured for chosen, measured in whole[1:]}


def parse_line(line: bytes) -> object | None:
    """Return the JSON value of a line, or None for one that is torn."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def append_line(path: Path, value: object) -> None:
    """Append a JSON line that survives a kill right after it."""
    with open(path, "ab") as stream:
        stream.write(json.dumps(value).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())

"""Errors a user can act on: one line, naming the thing that is wrong and the closest valid value."""

import difflib
from collections.abc import Iterable


class SelectbenchError(Exception):
    """A mistake in the input, told in one line. Commands print the line and exit with 2, without a traceback."""


class ConfigError(SelectbenchError):
    """A configuration value that cannot be used: ``<file>: <key>: <what is wrong>``."""


class DataError(SelectbenchError):
    """A data file that is missing, truncated or not what its checksum says."""


class RecordError(SelectbenchError):
    """A record or another file of results that cannot be read."""


class MissingSignal(SelectbenchError):
    """A method needs a signal that was not recorded."""

    def __init__(self, method: str, signal: str) -> None:
        super().__init__(f"method {method!r} needs the signal {signal!r}, which is not in these signals")
        self.method = method
        self.signal = signal


class RunFailedError(SelectbenchError):
    """A run that cannot be finished, which is a result: its record says so.

    Parameters
    ----------
    message : the reason
    fields : what the failed record holds beside it
    """

    def __init__(self, message: str, fields: dict | None = None) -> None:
        super().__init__(message)
        self.fields = fields or {}


class SelectionFailedError(RunFailedError):
    """A method gave no subset of the wanted size."""


def find_closest(word: object, valid: Iterable[object]) -> str | None:
    """Return the closest valid word, or None if none is close."""
    return next(iter(difflib.get_close_matches(str(word), sorted(map(str, valid)), n=1, cutoff=0.5)), None)


def suggest(word: object, valid: Iterable[object]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest valid word, or the list of valid words if none is close."""
    valid = sorted(map(str, valid))
    closest = find_closest(shorten(str(word)), valid)
    if closest:
        return f"; did you mean {closest!r}?"
    return f"; valid: {', '.join(map(spell, valid))}" if valid else ""


def shorten(text: str, most: int = 200) -> str:
    """Return a text without its middle if it is longer than a message should be."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def spell(word: object) -> str:
    """Return a word as a message shows it: on one line, and not too long."""
    text = str(word)
    return shorten(text if text.isprintable() else repr(text))


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

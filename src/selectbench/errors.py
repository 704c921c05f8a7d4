"""Errors a user can act on: one line, naming the thing that is wrong and the closest valid value."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "stable_baselines3": "stable-baselines3", "sb3_contrib": "sb3-contrib"}


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


class MissingPackage(SelectbenchError, ModuleNotFoundError):
    """Something needs a package that is not installed."""


@contextmanager
def needing_packages(what: str, remedy: str = 'pip install "selectbench[library]" brings it') -> Iterator[None]:
    """Tell in one line which package is missing for what, where the code inside imports one that is not installed."""
    try:
        yield
    except MissingPackage:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "selectbench"):
            raise
        raise MissingPackage(f"{what} needs {DISTRIBUTIONS.get(package, package)}, which is not installed; {remedy}") from None


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

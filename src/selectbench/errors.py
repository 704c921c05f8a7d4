"""Errors a user can act on: one line that names what is wrong and the closest valid value."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

MOST_WORDS = 60  # that a message lists
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "stable_baselines3": "stable-baselines3", "sb3_contrib": "sb3-contrib"}


class SelectbenchError(Exception):
    """A mistake in the input, described in one line. Commands print the line and exit with status 2, without a traceback."""


class ConfigError(SelectbenchError):
    """A configuration value that cannot be used: ``<file>: <key>: <what is wrong>``."""


class DataError(SelectbenchError):
    """A data file that is missing, truncated or does not match its checksum."""


class RecordError(SelectbenchError):
    """A record or other results file that cannot be read."""


class MissingSignal(SelectbenchError):
    """A method needs a signal that was not recorded."""

    def __init__(self, method: str, signal: str) -> None:
        super().__init__(f"method {method!r} needs the signal {signal!r}, which is not in these signals")
        self.method = method
        self.signal = signal


class MissingPackage(SelectbenchError, ModuleNotFoundError):
    """A package is needed that is not installed."""


@contextmanager
def needing_packages(what: str, remedy: str = 'run `pip install "selectbench[library]"`') -> Iterator[None]:
    """Report in one line which package is missing, and for what, if the code inside the block imports one that is not installed."""
    try:
        yield
    except MissingPackage:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "selectbench"):
            raise
        raise MissingPackage(f"{what} needs {DISTRIBUTIONS.get(package, package)}, which is not installed; {remedy}") from None


def require_packages(*packages: str) -> None:
    """Raise ``ModuleNotFoundError`` for the first package that is not installed; none is imported."""
    for package in packages:
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


class RunFailedError(SelectbenchError):
    """A run that cannot be finished. This is a result, and the run's record says so.

    Parameters
    ----------
    message : the reason
    fields : further fields of the failed record
    """

    def __init__(self, message: str, fields: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or {}


class SelectionFailedError(RunFailedError):
    """A method found no subset of the requested size."""


def find_closest(word: object, valid: Iterable[object]) -> str | None:
    """Return the closest valid word, or None if there is no close one."""
    return next(iter(difflib.get_close_matches(str(word), sorted(map(str, valid)), n=1, cutoff=0.5)), None)


def suggest(word: object, valid: Iterable[object]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest valid word, or the first valid words if there is no close one."""
    words = sorted(map(str, valid))
    closest = find_closest(shorten(str(word)), words)
    if closest:
        return f"; did you mean {closest!r}?"
    more = f" and {len(words) - MOST_WORDS} more" if len(words) > MOST_WORDS else ""
    return f"; valid: {', '.join(map(spell, words[:MOST_WORDS]))}{more}" if words else ""


def shorten(text: str, most: int = 200) -> str:
    """Return a text, cut in the middle if it is too long for a message."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def spell(word: object) -> str:
    """Return a word as messages show it: on one line, and not too long."""
    text = str(word)
    return shorten(text if text.isprintable() else repr(text))


def spell_count(number: int, noun: str) -> str:
    """Return ``"1 run"`` or ``"1,123 runs"``: a number and its noun, whose plural ends in s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def describe_failure(error: OSError, doing: str) -> str:
    """Return what the system refused, a full disk for example, in one line: the file, or else what was being done, and the reason."""
    return f"{spell(error.filename2 or error.filename or doing)}: {error.strerror or first_line(error)}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

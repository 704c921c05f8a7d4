"""Registries of files: every module of a package is one entry, the module's name is its id; checks of typed parameters."""

import importlib
import math
import pkgutil
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from selectbench.errors import SelectbenchError, suggest

Kind = TypeVar("Kind")


def list_ids(package_file: str) -> list[str]:
    """List the ids of a package's entries: its modules whose names do not begin with an underscore.

    Parameters
    ----------
    package_file : ``__file__`` of the package
    """
    return sorted(name for _, name, _ in pkgutil.iter_modules([str(Path(package_file).parent)]) if not name.startswith("_"))


def load_class(package: str, base: type[Kind], name: str, ids: Iterable[str], noun: str) -> type[Kind]:
    """Return the class of an entry: the only class defined in its module that derives from ``base``.

    Parameters
    ----------
    package : dotted name
    base : the class that all entries derive from
    name : id of the entry
    ids : all valid ids
    noun : what messages call an entry

    Raises
    ------
    SelectbenchError
        There is no such entry; the message names the closest id.
    """
    if name not in ids:
        raise SelectbenchError(f"unknown {noun} {name!r}{suggest(name, ids)}")
    module = importlib.import_module(f"{package}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    )
    return found


def check_parameter_names(kind: type, parameters: Iterable[str], described: str) -> None:
    """Raise for the first parameter that a dataclass does not have, naming the closest one."""
    valid = [field.name for field in fields(kind)]
    for parameter in parameters:
        if parameter not in valid:
            raise SelectbenchError(f"{described} has no parameter {parameter!r}{suggest(parameter, valid)}")


def check_parameter(name: str, kind: Any, value: object) -> None:
    """Raise unless a value has a parameter's type: bool, int, float (which accepts an int), str or a Literal.

    Raises
    ------
    SelectbenchError
        The message names the parameter and what it should be.
    """
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise SelectbenchError(f"{name}: unknown {value!r}{suggest(value, get_args(kind))}")
        return
    allowed = (int, float) if kind is float else kind
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool) or not is_finite:
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
        raise SelectbenchError(f"{name}: {value!r} is not {words[kind]}")

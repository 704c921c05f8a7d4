"""Registries by file: a package's modules are its entries, a module's name is the id of the one class in it; typed parameters."""

import importlib
import math
import pkgutil
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin

from selectbench.errors import SelectbenchError, suggest

Kind = TypeVar("Kind")


def list_ids(package_file: str) -> list[str]:
    """List the ids of a package's entries; modules that begin with an underscore are none.

    Parameters
    ----------
    package_file : ``__file__`` of the package
    """
    return sorted(name for _, name, _ in pkgutil.iter_modules([str(Path(package_file).parent)]) if not name.startswith("_"))


def load_class(package: str, base: type[Kind], name: str, ids: Iterable[str], noun: str) -> type[Kind]:
    """Return the class of an entry by its id.

    Parameters
    ----------
    package : dotted name
    base : what every entry's class derives from
    name : the id
    ids : those there are
    noun : what an entry is called in messages

    Raises
    ------
    SelectbenchError
        No such entry; the closest id is named.
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
    """Raise for the first parameter that a dataclass does not have; the closest one is named."""
    valid = [field.name for field in fields(kind)]
    for parameter in parameters:
        if parameter not in valid:
            raise SelectbenchError(f"{described} has no parameter {parameter!r}{suggest(parameter, valid)}")


def check_parameter(name: str, kind: object, value: object) -> None:
    """Raise unless a value is of a parameter's kind: bool, int, float (an int will do), str or a Literal.

    Raises
    ------
    SelectbenchError
        Names the parameter and what it should be.
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

"""Registries of files: every module of a package is one entry, the module's name is its id; checks of typed parameters."""

import importlib
import math
import pkgutil
from collections.abc import Container, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

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


def check_parameter(name: str, kind: Any, value: object) -> Any:
    """Return a value as Python's own bool, int, float (for which an int may stand), str or one of a Literal's words.

    NumPy's numbers become Python's; a float of less precision becomes the number that it is printed as.

    Raises
    ------
    SelectbenchError
        The value has another type, or is not finite; the message names the parameter and what it should be.
    """
    if isinstance(value, np.generic):
        value = float(str(value)) if isinstance(value, np.floating) else value.item()
    if get_origin(kind) is Literal:
        if not isinstance(value, tuple(map(type, get_args(kind)))) or value not in get_args(kind):
            raise SelectbenchError(f"{name}: unknown {value!r}{suggest(value, get_args(kind))}")
        return value
    allowed = (int, float) if kind is float else kind
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool) or not is_finite:
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
        raise SelectbenchError(f"{name}: {value!r} is not {words[kind]}")
    return value


def check_fields(instance: Any, leave: Container[str] = ()) -> None:
    """Check every field of a dataclass against its annotation, and store it as Python's own type (see ``check_parameter``).

    Parameters
    ----------
    instance : of a dataclass, frozen or not
    leave : names of fields that are checked elsewhere
    """
    kinds = get_type_hints(type(instance))
    for field in fields(instance):
        if field.name not in leave:
            object.__setattr__(instance, field.name, check_parameter(field.name, kinds[field.name], getattr(instance, field.name)))


def check_seed(seed: object) -> int:
    """Return a seed as a Python integer.

    Raises
    ------
    SelectbenchError
        It is not a whole number.
    """
    return int(check_parameter("seed", int, seed))

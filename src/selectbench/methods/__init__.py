"""Static selection methods: one file each; the file's name is the method's id."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from selectbench.errors import SelectbenchError, suggest
from selectbench.methods._base import Method


def available_methods() -> list[str]:
    """List the ids of all methods that are built."""
    return sorted(name for _, name, _ in pkgutil.iter_modules([str(Path(__file__).parent)]) if not name.startswith("_"))


def load_method(name: str) -> type[Method]:
    """Return the class of a method by its id.

    Raises
    ------
    SelectbenchError
        No such method; the closest id is named.
    """
    if name not in available_methods():
        raise SelectbenchError(f"unknown method {name!r}{suggest(name, available_methods())}")
    module = importlib.import_module(f"selectbench.methods.{name}")
    (method,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    )
    return method


def make_method(name: str, parameters: Mapping[str, object]) -> Method:
    """Return a method with its parameters set.

    Raises
    ------
    SelectbenchError
        No such method, or no such parameter; the closest one is named.
    """
    method = load_method(name)
    valid = [field.name for field in fields(method)]
    for parameter in parameters:
        if parameter not in valid:
            raise SelectbenchError(f"method {name!r} has no parameter {parameter!r}{suggest(parameter, valid)}")
    return method(**parameters)

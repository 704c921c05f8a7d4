"""Static selection methods, one per file; the file name is the method's id."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from selectbench.methods._base import GreedyMethod, Method
from selectbench.registry import check_parameter_names, list_ids, load_class

__all__ = ["GreedyMethod", "Method", "available_methods", "load_method", "make_method"]


def available_methods() -> list[str]:
    """Return the ids of all methods, sorted."""
    return list_ids(__file__)


@cache
def load_method(name: str) -> type[Method]:
    """Return the class of a method, given its id.

    Raises
    ------
    SelectbenchError
        No such method; the message suggests the closest id.
    """
    kind: type[Method] = Method  # type: ignore[type-abstract]  # stands for its subclasses
    return load_class("selectbench.methods", kind, name, available_methods(), "method")


def make_method(name: str, parameters: Mapping[str, Any]) -> Method:
    """Return a method with the given parameters; its class checks their values.

    Raises
    ------
    SelectbenchError
        No such method or parameter (the message suggests the closest one), or a value is invalid.
    """
    method = load_method(name)
    check_parameter_names(method, parameters, f"method {name!r}")
    return method(**parameters)

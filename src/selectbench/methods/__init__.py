"""Static selection methods: one file each; the file's name is the method's id."""

from collections.abc import Mapping
from functools import cache

from selectbench.methods._base import Method
from selectbench.registry import check_parameter_names, list_ids, load_class


def available_methods() -> list[str]:
    """List the ids of all methods that are built."""
    return list_ids(__file__)


@cache
def load_method(name: str) -> type[Method]:
    """Return the class of a method by its id.

    Raises
    ------
    SelectbenchError
        No such method; the closest id is named.
    """
    return load_class("selectbench.methods", Method, name, available_methods(), "method")


def make_method(name: str, parameters: Mapping[str, object]) -> Method:
    """Return a method with its parameters set.

    Raises
    ------
    SelectbenchError
        No such method, or no such parameter; the closest one is named.
    """
    method = load_method(name)
    check_parameter_names(method, parameters, f"method {name!r}")
    return method(**parameters)

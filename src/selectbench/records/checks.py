"""Whether the values of a row are of their types and within their ranges, as ``records.rows`` declares them."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from selectbench.errors import RecordError, shorten, spell

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def check_row(name: str, row: Mapping[str, Any]) -> None:
    """Raise unless every field of a row is there and has a value of its type, within its range, and there are no others.

    Parameters
    ----------
    name : of the row, for the message
    row : as ``read_records`` returns it

    Raises
    ------
    RecordError
        In one line that names the first field that is wrong, and how many others are.
    """
    from pydantic import ValidationError

    from selectbench.records.rows import FailedRow, FinishedRow

    try:
        make_adapter(FinishedRow if row.get("status") == "ok" else FailedRow).validate_python(row)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        field = spell(".".join(map(str, problems[0]["loc"])))
        found = "" if problems[0]["type"] in ("missing", "extra_forbidden") else f"{shorten(repr(problems[0]['input']))}: "
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RecordError(f"{name}: {field}: {found}{problems[0]['msg']}{others}") from None


@cache
def make_adapter(kind: type) -> "TypeAdapter[Any]":
    """Return what checks values strictly against one of the types of ``records.rows``: no conversions, no further fields."""
    from pydantic import ConfigDict, TypeAdapter, with_config

    return TypeAdapter(with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))(kind))

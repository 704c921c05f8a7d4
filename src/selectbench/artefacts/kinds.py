"""What tables of all kinds share: their types, and what a kind decides about a table."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypedDict

from selectbench.artefacts.specs import CellT, Panel, TableKind, TableSpec, Titled
from selectbench.records.rows import Records

Facts = list[tuple[str, str]]  # name and text
Line = dict[str, Any]  # column → value, of one line of a CSV


class Filled(NamedTuple, Generic[CellT]):
    """What the kind of a table decides about it.

    Parameters
    ----------
    columns, panels : with filled cells
    note : what a reader must know
    """

    columns: list[Titled]
    panels: list[Panel[CellT]]
    note: str


class Footnote(TypedDict):
    """A footnote of a table.

    Parameters
    ----------
    mark : a, b, …
    text : what it says
    """

    mark: str
    text: str


class Table(TypedDict, Generic[CellT]):
    """A filled table: the JSON sidecar that all renderings read.

    Parameters
    ----------
    paper, id, kind, scale, title, metric, regime, partial, tolerance, compare_reported : as specified
    note : as specified, with what the kind of the table adds
    columns, panels : with filled cells
    footnotes : that cells refer to by their marks
    caption : what the numbers are
    """

    paper: str
    id: str
    kind: TableKind
    scale: str
    title: str
    note: str
    metric: str
    regime: str
    partial: bool
    tolerance: float
    compare_reported: bool
    columns: list[Titled]
    panels: list[Panel[CellT]]
    footnotes: list[Footnote]
    caption: str


class Kind(NamedTuple, Generic[CellT]):
    """What makes a kind of table.

    Parameters
    ----------
    fill : returns what the kind decides about the table
    describe : returns its caption
    csv_columns : of the long form
    flatten : returns a cell as the columns of the long form
    format : returns a cell's text in two parts; the first is set in bold for the best cell
    list_facts : returns what a page tells about a cell on demand
    sort_by : column of the long form by which readers sort cells
    """

    fill: Callable[[TableSpec, Records], Filled[CellT]]
    describe: Callable[[Table[CellT]], str]
    csv_columns: tuple[str, ...]
    flatten: Callable[[CellT], Line]
    format: Callable[[CellT, str], tuple[str, str]]
    list_facts: Callable[[CellT, Table[CellT]], Facts]
    sort_by: str

"""Formatting of benchmark results."""

from collections.abc import Mapping, Sequence


def format_cells(line: Mapping, columns: Sequence[str]) -> list[str]:
    """Return the cells of a line: numbers with four significant digits, missing values empty."""
    cells = (line.get(name) for name in columns)
    return [f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells]


def format_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first two rows are the header and its separator."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

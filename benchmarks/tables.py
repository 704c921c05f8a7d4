"""How the benchmarks write their lines down."""

from collections.abc import Mapping, Sequence


def format_cells(line: Mapping, columns: Sequence[str]) -> list[str]:
    """Return a line's cells, numbers with four significant digits, empty where there is none."""
    cells = (line.get(name) for name in columns)
    return [f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells]


def format_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown, whose first two rows are its head."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

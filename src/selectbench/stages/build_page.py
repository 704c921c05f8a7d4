"""Build the page of a scale: one self-contained HTML file with every paper's claims, figures, tables and costs."""

from collections.abc import Sequence
from pathlib import Path

from selectbench.artefacts.page import render_page
from selectbench.errors import RecordError
from selectbench.files import read_json, write_text
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def build_page(spec: dict, verdicts: Sequence[Path], tables: Sequence[Path], figures: Sequence[Path], *, html: Path) -> None:
    """Write the page; the inputs follow the order of the spec, see ``render_page``."""
    try:
        drawings = [path.read_text(encoding="utf-8") for path in figures]
    except OSError as error:
        raise RecordError(f"{error.filename}: {error.strerror}") from None
    write_text(html, render_page(spec, [read_json(path) for path in verdicts], [read_json(path) for path in tables], drawings))


def main() -> None:
    """The specification names the papers with their tables and figures."""
    arguments = parse_artefact_arguments(__doc__, ["verdicts", "tables", "figures"], ["html"])
    build_page(arguments.spec, arguments.verdicts, arguments.tables, arguments.figures, html=arguments.html)


if __name__ == "__main__":
    run_stage(main)

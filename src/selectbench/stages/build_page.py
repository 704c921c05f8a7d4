"""Build the page of a scale: one self-contained HTML file with every paper's claims, figures, tables and costs."""

from selectbench.artefacts.page import render_page
from selectbench.errors import RecordError
from selectbench.files import read_json, write_text
from selectbench.stages._command import parse_arguments, run_stage


def main() -> None:
    """``--spec`` names the papers with their tables and figures; the inputs follow its order, see ``render_page``."""
    arguments = parse_arguments(__doc__, ["verdicts", "tables", "figures"], ["html"])
    verdicts, tables = ([read_json(path) for path in paths] for paths in (arguments.verdicts, arguments.tables))
    try:
        figures = [path.read_text(encoding="utf-8") for path in arguments.figures]
    except OSError as error:
        raise RecordError(f"{error.filename}: {error.strerror}") from None
    write_text(arguments.html, render_page(arguments.spec, verdicts, tables, figures))


if __name__ == "__main__":
    run_stage(main)

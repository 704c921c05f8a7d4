"""Make one table from records: CSV, Markdown, LaTeX and the JSON sidecar that names every cell's runs."""

from pathlib import Path

from selectbench.artefacts.tables import fill_table, render_csv, render_latex, render_markdown
from selectbench.records.files import write_json, write_text
from selectbench.records.records import read_records
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def make_table(spec: dict, records: Path, *, csv: Path, markdown: Path, latex: Path, cells: Path) -> None:
    """Write a table of the plan in all its forms."""
    table = fill_table(spec, read_records(records))
    write_text(csv, render_csv(table))
    write_text(markdown, render_markdown(table))
    write_text(latex, render_latex(table))
    write_json(cells, table)


def main() -> None:
    """The specification is a table spec of the plan."""
    arguments = parse_artefact_arguments(__doc__, ["records"], ["csv", "markdown", "latex", "cells"])
    outputs = {name: getattr(arguments, name) for name in ("csv", "markdown", "latex", "cells")}
    make_table(arguments.spec, arguments.records[0], **outputs)


if __name__ == "__main__":
    run_stage(main)

"""Make one table from records: CSV, Markdown, LaTeX and the JSON sidecar that names every cell's runs."""

from selectbench.artefacts.cells import read_records
from selectbench.artefacts.tables import fill_table, render_csv, render_latex, render_markdown
from selectbench.files import write_json, write_text
from selectbench.stages._command import parse_arguments, run_stage


def main() -> None:
    """``--spec`` is a table spec of the plan."""
    arguments = parse_arguments(__doc__, ["records"], ["csv", "markdown", "latex", "cells"])
    (records,) = arguments.records
    table = fill_table(arguments.spec, read_records(records))
    write_text(arguments.csv, render_csv(table))
    write_text(arguments.markdown, render_markdown(table))
    write_text(arguments.latex, render_latex(table))
    write_json(arguments.cells, table)


if __name__ == "__main__":
    run_stage(main)

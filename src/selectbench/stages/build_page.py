"""Build the page of a scale: one self-contained HTML file with every paper's claims, figures, tables, subsets and costs."""

from pathlib import Path

from selectbench.artefacts.page import Inputs, render_page
from selectbench.errors import RecordError
from selectbench.records.files import read_json, write_text
from selectbench.records.records import read_records
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def build_page(spec: dict, inputs: Inputs, *, html: Path) -> None:
    """Write the page; the inputs are the files that hold those of ``render_page``, the records one file a paper."""
    try:
        drawings = [Path(path).read_text(encoding="utf-8") for path in inputs.figures]
    except OSError as error:
        raise RecordError(f"{error.filename}: {error.strerror}") from None
    records = {run: record for path in inputs.records for run, record in read_records(path).items()}
    others = {name: [read_json(path) for path in getattr(inputs, name)] for name in ("verdicts", "tables", "subsets", "overlaps")}
    write_text(html, render_page(spec, Inputs(figures=drawings, records=records, **others)))


def main() -> None:
    """The specification names the papers with their tables and figures."""
    arguments = parse_artefact_arguments(__doc__, Inputs._fields, ["html"])
    build_page(arguments.spec, Inputs(*(getattr(arguments, name) for name in Inputs._fields)), html=arguments.html)


if __name__ == "__main__":
    run_stage(main)

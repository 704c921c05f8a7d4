"""Judge a paper's claims from records and measurements and write the verdict, as JSON and as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from selectbench.artefacts.verdict import make_verdict, render_markdown
from selectbench.records.files import read_json, write_json, write_text
from selectbench.records.records import read_records
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def judge_claims(
    spec: dict, records: Path, tables: Sequence[Path], measurements: Sequence[Path] = (), *, json: Path, markdown: Path
) -> None:
    """Write the verdict on a paper; ``tables`` are the JSON sidecars of its tables, ``measurements`` those of its propositions."""
    inputs = [read_json(path) for path in tables], read_records(records), [read_json(path) for path in measurements]
    verdict = make_verdict(spec, *inputs)
    write_json(json, verdict)
    write_text(markdown, render_markdown(verdict))


def main() -> None:
    """The specification is a claims spec of the plan."""
    arguments = parse_artefact_arguments(__doc__, ["records", "tables", "measurements"], ["json", "markdown"])
    outputs = {"json": arguments.json, "markdown": arguments.markdown}
    judge_claims(arguments.spec, arguments.records[0], arguments.tables, arguments.measurements, **outputs)


if __name__ == "__main__":
    run_stage(main)

"""Judge a paper's claims from records and write the verdict, as JSON and as Markdown."""

from selectbench.artefacts.cells import read_records
from selectbench.artefacts.verdict import make_verdict, render_markdown
from selectbench.files import read_json, write_json, write_text
from selectbench.stages._command import parse_arguments, run_stage


def main() -> None:
    """``--spec`` is a claims spec of the plan; ``--tables`` are the JSON sidecars of the paper's tables."""
    arguments = parse_arguments(__doc__, ["records", "tables"], ["json", "markdown"])
    (records,) = arguments.records
    verdict = make_verdict(arguments.spec, [read_json(path) for path in arguments.tables], read_records(records))
    write_json(arguments.json, verdict)
    write_text(arguments.markdown, render_markdown(verdict))


if __name__ == "__main__":
    run_stage(main)

"""Draw one figure from records, as PDF, PNG and SVG."""

from selectbench.artefacts.cells import read_records
from selectbench.artefacts.figures import draw_figure, render_figure
from selectbench.files import write_atomically
from selectbench.stages._command import parse_arguments, run_stage


def main() -> None:
    """``--spec`` is a figure spec of the plan."""
    arguments = parse_arguments(__doc__, ["records"], ["pdf", "png", "svg"])
    (records,) = arguments.records
    figure = draw_figure(arguments.spec, read_records(records))
    for file_format in ("pdf", "png", "svg"):
        content = render_figure(figure, file_format)
        write_atomically(getattr(arguments, file_format), lambda stream, content=content: stream.write(content))


if __name__ == "__main__":
    run_stage(main)

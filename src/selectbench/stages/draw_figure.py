"""Draw one figure from records, as PDF, PNG and SVG."""

from pathlib import Path

from selectbench.artefacts import figures
from selectbench.artefacts.cells import read_records
from selectbench.files import write_atomically
from selectbench.stages._command import parse_arguments, run_stage


def draw_figure(spec: dict, records: Path, *, pdf: Path, png: Path, svg: Path) -> None:
    """Write a figure of the plan in all its forms."""
    figure = figures.draw_figure(spec, read_records(records))
    for path, file_format in ((pdf, "pdf"), (png, "png"), (svg, "svg")):
        content = figures.render_figure(figure, file_format)
        write_atomically(path, lambda stream, content=content: stream.write(content))


def main() -> None:
    """``--spec`` is a figure spec of the plan."""
    arguments = parse_arguments(__doc__, ["records"], ["pdf", "png", "svg"])
    draw_figure(arguments.spec, arguments.records[0], pdf=arguments.pdf, png=arguments.png, svg=arguments.svg)


if __name__ == "__main__":
    run_stage(main)

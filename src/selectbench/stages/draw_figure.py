"""Draw one figure from records, overlaps of subsets or measurements, as PDF, PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path

from selectbench.artefacts import figures
from selectbench.artefacts.cells import read_records
from selectbench.files import read_json, write_atomically
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def draw_figure(
    spec: dict,
    records: Path | None,
    overlaps: Sequence[Path] = (),
    measurements: Sequence[Path] = (),
    *,
    pdf: Path,
    png: Path,
    svg: Path,
) -> None:
    """Write a figure of the plan in all its forms; it reads what its kind needs, the other inputs may be empty."""
    found = {} if records is None else read_records(records)
    compared = [overlap for path in overlaps for overlap in read_json(path)["overlaps"]]
    figure = figures.draw_figure(spec, found, compared, [read_json(path) for path in measurements])
    for path, file_format in ((pdf, "pdf"), (png, "png"), (svg, "svg")):
        content = figures.render_figure(figure, file_format)
        write_atomically(path, lambda stream, content=content: stream.write(content))


def main() -> None:
    """The specification is a figure spec of the plan."""
    arguments = parse_artefact_arguments(__doc__, ["records", "overlaps", "measurements"], ["pdf", "png", "svg"])
    outputs = {name: getattr(arguments, name) for name in ("pdf", "png", "svg")}
    records = arguments.records[0] if arguments.records else None
    draw_figure(arguments.spec, records, arguments.overlaps, arguments.measurements, **outputs)


if __name__ == "__main__":
    run_stage(main)

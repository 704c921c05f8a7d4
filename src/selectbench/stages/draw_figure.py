"""Draw one figure from records, overlaps of subsets, measurements, explored states or clusters, as PDF, PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from selectbench.artefacts import figures
from selectbench.records.files import read_json, write_atomically
from selectbench.records.records import read_records
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


class Inputs(NamedTuple):
    """The files that figures are made of; each kind reads its own, the others may be empty."""

    records: Sequence[Path] = ()
    overlaps: Sequence[Path] = ()
    measurements: Sequence[Path] = ()
    states: Sequence[Path] = ()
    clusters: Sequence[Path] = ()


def draw_figure(spec: dict, inputs: Inputs, *, pdf: Path, png: Path, svg: Path) -> None:
    """Write a figure of the plan in all its forms."""
    figure = figures.draw_figure(
        spec,
        {run: record for path in inputs.records for run, record in read_records(path).items()},
        [overlap for path in inputs.overlaps for overlap in read_json(path)["overlaps"]],
        [read_json(path) for path in inputs.measurements],
        [group for path in inputs.states for group in read_json(path)["groups"]],
        [read_json(path) for path in inputs.clusters],
    )
    for path, file_format in ((pdf, "pdf"), (png, "png"), (svg, "svg")):
        content = figures.render_figure(figure, file_format)
        write_atomically(path, lambda stream, content=content: stream.write(content))


def main() -> None:
    """The specification is a figure spec of the plan."""
    arguments = parse_artefact_arguments(__doc__, Inputs._fields, ["pdf", "png", "svg"])
    outputs = {name: getattr(arguments, name) for name in ("pdf", "png", "svg")}
    draw_figure(arguments.spec, Inputs(*(getattr(arguments, name) for name in Inputs._fields)), **outputs)


if __name__ == "__main__":
    run_stage(main)

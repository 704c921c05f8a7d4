"""Draw one figure from records, overlaps of subsets, measurements, explored states or clusters, as PDF, PNG and SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self, cast

from selectbench.artefacts.specs import FigureSpec
from selectbench.planning.runs import format_keep
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import read_json, write_atomically
from selectbench.records.records import read_records
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage
from selectbench.stages._measurements import list_measurements
from selectbench.stages._sources import find_clusters
from selectbench.stages.collect_records import CollectRecords
from selectbench.stages.compare_subsets import CompareSubsets
from selectbench.stages.map_states import MapStates

if TYPE_CHECKING:
    from selectbench.artefacts.coherence import Clustering
    from selectbench.artefacts.measurements import Measurement
    from selectbench.planning.plan import Plan


class Files(NamedTuple):
    """The files that figures are made from; each kind of figure reads some of them, and the others may be empty."""

    records: Sequence[Path] = ()
    overlaps: Sequence[Path] = ()
    measurements: Sequence[Path] = ()
    states: Sequence[Path] = ()
    clusters: Sequence[Path] = ()


@dataclass(frozen=True)
class DrawFigure(Stage):
    """One figure of a paper, which draws the panels of a table."""

    paper: str
    figure: str

    name = "draw_figure"
    reads = Files._fields
    writes = {
        "pdf": "{results}/{paper}/figures/{figure}.pdf",
        "png": "{results}/{paper}/figures/{figure}.png",
        "svg": "{results}/{paper}/figures/{figure}.svg",
    }
    log = "{results}/logs/figures/{paper}/{figure}.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield all figures, in the order of the papers."""
        yield from (cls(paper, figure) for paper, entry in plan.config.papers.items() for figure in entry["figures"])

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the records of the paper, and what else figures of this kind read."""
        entry = plan.config.papers[self.paper]["figures"][self.figure]
        kind: str = entry["kind"]
        return {
            "records": [Output(CollectRecords(self.paper), "records")],
            "overlaps": [Output(CompareSubsets(self.paper), "overlaps")] if kind == "overlap" else [],
            "measurements": list_measurements(plan, self.paper, [entry["table"]]) if kind == "measured" else [],
            "states": [Output(MapStates(self.paper), "states")] if kind == "states" else [],
            "clusters": self._list_clusters(plan, entry["table"]) if kind == "coherence" else [],
        }

    def _list_clusters(self, plan: "Plan", table: str) -> list[Output]:
        """List the records of the clusters that the agents of a table search."""
        runs = [plan.runs[run] for run in sorted(plan.table_runs(self.paper, table))]
        clusters = [find_clusters(plan, run.dataset, str(run.seed), run.method) for run in runs if plan.config.is_search(run.method)]
        records = [Output(output.job, "record") for output in dict.fromkeys(clusters)]
        return sorted(records, key=lambda output: output.job.find_output(plan, output.name))

    def specify(self, plan: "Plan") -> FigureSpec:
        """Return the panels of the figure's table, and how to draw them."""
        entry = plan.config.papers[self.paper]["figures"][self.figure]
        keep = {"keep": format_keep(entry["keep"])} if "keep" in entry else {}
        drawn = {name: value for name, value in entry.items() if name != "table"}
        panels = plan.tables[self.paper, entry["table"]]
        return cast(FigureSpec, {**panels, "id": self.figure, **drawn, **keep, "code": fingerprint_stage(self.name)})


def draw_figure(spec: FigureSpec, files: Files, *, pdf: Path, png: Path, svg: Path) -> None:
    """Draw a figure and write it in all formats."""
    from selectbench.artefacts import figures

    figure = figures.draw_figure(
        spec,
        {run: record for path in files.records for run, record in read_records(path).items()},
        [overlap for path in files.overlaps for overlap in read_json(path)["overlaps"]],
        [cast("Measurement", read_json(path)) for path in files.measurements],
        [group for path in files.states for group in read_json(path)["groups"]],
        [cast("Clustering", read_json(path)) for path in files.clusters],
    )
    for path, file_format in ((pdf, "pdf"), (png, "png"), (svg, "svg")):
        write_atomically(path, partial(write_bytes, figures.render_figure(figure, file_format)))


def write_bytes(content: bytes, stream: BinaryIO) -> None:
    """Write a rendered figure to a stream."""
    stream.write(content)


def main() -> None:
    """The specification is a ``FigureSpec``."""
    arguments = parse_artefact_arguments(__doc__, DrawFigure.reads, DrawFigure.writes)
    outputs = {name: getattr(arguments, name) for name in DrawFigure.writes}
    draw_figure(arguments.spec, Files(*(getattr(arguments, name) for name in Files._fields)), **outputs)


if __name__ == "__main__":
    run_stage(main)

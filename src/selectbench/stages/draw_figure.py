"""Draw one figure from records, overlaps, measurements, explored states, clusters or another scale's table, as PDF, PNG and SVG."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from selectbench.artefacts.specs import FigureSpec, LessData
from selectbench.planning.config import list_table_seeds
from selectbench.planning.runs import format_keep
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import digest_file, read_sealed, write_bytes
from selectbench.records.records import read_record, read_records
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages._measurements import list_measurements
from selectbench.stages._sources import find_clusters
from selectbench.stages.collect_records import CollectRecords
from selectbench.stages.compare_subsets import CompareSubsets
from selectbench.stages.make_table import MakeTable
from selectbench.stages.map_states import MapStates

if TYPE_CHECKING:
    from selectbench.artefacts.cells import Cell
    from selectbench.artefacts.coherence import Clustering
    from selectbench.artefacts.kinds import Table
    from selectbench.artefacts.measurements import Measurement
    from selectbench.planning.plan import Plan


@dataclass(frozen=True)
class DrawFigure(Stage):
    """One figure of a paper, which draws the panels of a table."""

    paper: str
    figure: str

    name = "draw_figure"
    reads = ("records", "overlaps", "measurements", "states", "clusters")  # each kind of figure reads some of them
    writes = {
        "pdf": "{results}/{paper}/figures/{figure}.pdf",
        "png": "{results}/{paper}/figures/{figure}.png",
        "svg": "{results}/{paper}/figures/{figure}.svg",
        "sources": "{results}/{paper}/figures/{figure}.json",
    }
    record = "sources"
    log = "{results}/logs/figures/{paper}/{figure}.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield all figures, in the order of the papers."""
        yield from (cls(paper, figure) for paper, entry in plan.config.papers.items() for figure in entry["figures"])

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the records of the paper, and what else figures of this kind read."""
        entry = plan.config.papers[self.paper]["figures"][self.figure]
        kind: str = entry["kind"]
        seeds = list_table_seeds(plan.config.scale, plan.config.papers[self.paper]["tables"][entry["table"]])
        measured = {(entry["table"], entry["proposition"]): seeds} if kind == "measured" else {}
        return {
            "records": [Output(CollectRecords(self.paper), "records")],
            "overlaps": [Output(CompareSubsets(self.paper), "overlaps")] if kind == "overlap" else [],
            "measurements": list_measurements(plan, self.paper, measured),
            "states": [Output(MapStates(self.paper), "states")] if kind == "states" else [],
            "clusters": self._list_clusters(plan, entry["table"]) if kind == "coherence" else [],
        }

    def _list_clusters(self, plan: "Plan", table: str) -> list[Output]:
        """List the records of the clusters that the agents of a table search."""
        runs = [plan.runs[run] for run in sorted(plan.table_runs(self.paper, table))]
        clusters = [find_clusters(plan, run.dataset, str(run.seed), run.method) for run in runs if plan.config.is_search(run.method)]
        records = [Output(output.job, "record") for output in dict.fromkeys(clusters)]
        return sorted(records, key=lambda output: output.job.find_output(plan, output.name))

    def _find_less(self, plan: "Plan", table: str) -> LessData:
        """Return where the filled table lies at the scale with less data."""
        scale = plan.config.scale["less_data"]
        layout = replace(plan.layout, results=f"{plan.layout.root}/{scale}")
        path = layout.fill(MakeTable.writes["cells"], paper=self.paper, table=table)
        return {"scale": scale, "table": path, "sha256": digest_file(Path(path)) if Path(path).exists() else None}

    def specify(self, plan: "Plan") -> FigureSpec:
        """Return the panels of the figure's table, and how to draw them."""
        entry = plan.config.papers[self.paper]["figures"][self.figure]
        keep = {"keep": format_keep(entry["keep"])} if "keep" in entry else {}
        drawn = {name: value for name, value in entry.items() if name != "table"}
        less = {"less_data": self._find_less(plan, entry["table"])} if entry["kind"] == "order" else {}
        panels = plan.tables[self.paper, entry["table"]]
        return cast(FigureSpec, {**panels, "id": self.figure, **drawn, **keep, **less, "code": fingerprint_stage(self.name)})


def draw_figure(spec: FigureSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Draw a figure and write it in all formats."""
    from selectbench.artefacts import figures

    less = spec.get("less_data")
    table = Path(less["table"]) if less and less["sha256"] else None
    figure = figures.draw_figure(
        spec,
        {run: record for path in inputs["records"] for run, record in read_records(path).items()},
        [overlap for path in inputs["overlaps"] for overlap in read_sealed(path)["overlaps"]],
        [cast("Measurement", read_record(path)) for path in inputs["measurements"]],
        [group for path in inputs["states"] for group in read_sealed(path)["groups"]],
        [cast("Clustering", read_record(path)) for path in inputs["clusters"]],
        cast("Table[Cell]", read_sealed(table)) if table else None,
    )
    drawings = [outputs[name] for name in ("pdf", "png", "svg")]
    for path in drawings:
        write_bytes(path, figures.render_figure(figure, path.suffix[1:]))
    seal_artefact(
        outputs["sources"], {"figure": spec["id"]}, spec["code"], {**inputs, **({"less_data": [table]} if table else {})}, drawings
    )


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, DrawFigure, draw_figure))

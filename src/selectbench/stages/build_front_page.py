"""Build the page of all scales: every claim with its verdict at every scale that has results, in one self-contained HTML file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from selectbench.artefacts.specs import FrontFigure, FrontSpec
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import read_sealed, write_text
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, read_drawing, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages._page_files import PAGE_FILES
from selectbench.stages.draw_figure import DrawFigure
from selectbench.stages.judge_claims import JudgeClaims

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


@dataclass(frozen=True)
class BuildFrontPage(Stage):
    """The page of all scales."""

    name = "build_front_page"
    reads = ("verdicts", "figures")
    writes = {"html": "{root}/index.html", "sources": "{root}/index.json"}
    record = "sources"
    log = "{results}/logs/front_page.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield the page if the plan has papers and its scale is among those that the page lists."""
        if plan.config.papers and plan.scale in plan.config.listed:
            yield cls()

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the verdicts of this scale, and the only figure of the page, which is the first one of the first paper."""
        return {
            "verdicts": [Output(verdict, "json") for verdict in JudgeClaims.list_wanted(plan)],
            "figures": [Output(figure, "svg") for figure in DrawFigure.list_wanted(plan)][:1],
        }

    def specify(self, plan: "Plan") -> FrontSpec:
        """Return all papers and all listed scales, whether or not this invocation runs them."""
        config = plan.config
        others = {paper: title for paper, title in config.known_papers.items() if paper not in config.papers}
        papers = {paper: entry["title"] for paper, entry in config.papers.items()} | others
        figures: list[FrontFigure] = [
            {"paper": paper, "id": name, "title": figure["title"], "caption": figure["caption"]}
            for paper, entry in config.papers.items()
            for name, figure in entry["figures"].items()
        ]
        return {
            "title": "selectbench results",
            "results": plan.layout.root,
            "scales": [{"id": scale, "title": title} for scale, title in config.listed.items()],
            "papers": [{"id": paper, "title": title} for paper, title in papers.items()],
            "figure": figures[0] if figures else None,
            "code": fingerprint_stage(self.name, files=PAGE_FILES),
        }


def build_front_page(spec: FrontSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Write the page from the results that exist; scales that other workflows are still running are shown as far as they have come."""
    from selectbench.artefacts.front import render_front

    results = Path(spec["results"])
    paths = {
        scale["id"]: {paper["id"]: results / scale["id"] / paper["id"] / "verdict.json" for paper in spec["papers"]}
        for scale in spec["scales"]
    }
    present = {scale: {paper: path for paper, path in papers.items() if path.exists()} for scale, papers in paths.items()}
    verdicts: dict[str, dict[str, Any]] = {
        scale: {paper: read_sealed(path) for paper, path in papers.items()} for scale, papers in present.items()
    }
    drawing = find_drawing(spec, verdicts)
    shown = None if drawing is None else (drawing[0], read_drawing(drawing[1]))
    outputs["sources"].unlink(missing_ok=True)  # Snakemake leaves outputs that are updated; an interruption must leave no record of others
    write_text(outputs["html"], render_front(spec, verdicts, shown))
    read = {f"verdicts of {scale}": list(papers.values()) for scale, papers in present.items()}
    read["figure that is shown"] = [] if drawing is None else [drawing[1]]
    seal_artefact(outputs["sources"], {}, spec["code"], read, [outputs["html"]])


def find_drawing(spec: FrontSpec, verdicts: dict[str, dict[str, Any]]) -> tuple[str, Path] | None:
    """Return the title of the largest scale that has the specification's figure, and the figure's file; None if no scale has it."""
    figure = spec["figure"]
    if figure is None:
        return None
    for scale in reversed(spec["scales"]):
        path = Path(spec["results"]) / scale["id"] / figure["paper"] / "figures" / f"{figure['id']}.svg"
        if figure["paper"] in verdicts[scale["id"]] and path.exists():
            return scale["title"], path
    return None


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, BuildFrontPage, build_front_page))

"""Build the page of all scales: every claim with its verdict at every scale that has results, in one self-contained HTML file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from selectbench.artefacts.specs import FrontFigure, FrontSpec
from selectbench.errors import RecordError
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import read_json, write_text
from selectbench.stages._artefact import parse_artefact_arguments
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
    writes = {"html": "{root}/index.html"}
    log = "{results}/logs/front_page.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield the page if the scale is among those that it lists."""
        if plan.scale in plan.config.listed:
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


def build_front_page(spec: FrontSpec, *, html: Path) -> None:
    """Write the page from the results that exist; scales that other workflows are still running are shown as far as they have come."""
    from selectbench.artefacts.front import render_front

    results = Path(spec["results"])
    verdicts: dict[str, dict[str, Any]] = {}
    for scale in spec["scales"]:
        paths = {paper["id"]: results / scale["id"] / paper["id"] / "verdict.json" for paper in spec["papers"]}
        verdicts[scale["id"]] = {paper: read_json(path) for paper, path in paths.items() if path.exists()}
    write_text(html, render_front(spec, verdicts, read_drawing(spec, verdicts)))


def read_drawing(spec: FrontSpec, verdicts: dict[str, dict[str, Any]]) -> tuple[str, str] | None:
    """Return the title of the largest scale that has the specification's figure, and the figure as SVG; None if no scale has it."""
    figure = spec["figure"]
    if figure is None:
        return None
    for scale in reversed(spec["scales"]):
        path = Path(spec["results"]) / scale["id"] / figure["paper"] / "figures" / f"{figure['id']}.svg"
        if figure["paper"] in verdicts[scale["id"]] and path.exists():
            try:
                return scale["title"], path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RecordError(f"{path}: not a readable figure ({error})") from None
    return None


def main() -> None:
    """The specification names the scales, the papers and the figure; their results are read from the results folder."""
    arguments = parse_artefact_arguments(__doc__, (), BuildFrontPage.writes)
    build_front_page(arguments.spec, html=arguments.html)


if __name__ == "__main__":
    run_stage(main)

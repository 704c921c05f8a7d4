"""Build the page of a scale: one self-contained HTML file with every paper's claims, figures, tables, subsets and costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from selectbench.artefacts.specs import Browsed, PagePaper, PageSpec
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import read_sealed, write_text
from selectbench.records.records import read_records
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, read_drawing, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages._page_files import PAGE_FILES
from selectbench.stages.collect_records import CollectRecords
from selectbench.stages.collect_subsets import CollectSubsets
from selectbench.stages.compare_subsets import CompareSubsets
from selectbench.stages.draw_figure import DrawFigure
from selectbench.stages.judge_claims import JudgeClaims
from selectbench.stages.make_table import MakeTable

if TYPE_CHECKING:
    from selectbench.artefacts.browser import Subsets
    from selectbench.artefacts.kinds import Table
    from selectbench.artefacts.overlaps import Overlaps
    from selectbench.artefacts.tables import AnyCell
    from selectbench.artefacts.verdict import PaperVerdict
    from selectbench.planning.plan import Plan


@dataclass(frozen=True)
class BuildPage(Stage):
    """The results page of the scale."""

    name = "build_page"
    reads = ("verdicts", "tables", "figures", "records", "subsets", "overlaps")
    writes = {"html": "{results}/index.html", "sources": "{results}/index.json"}
    record = "sources"
    log = "{results}/logs/page.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield the page, if the plan has papers."""
        if plan.config.papers:
            yield cls()

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the artefacts of every paper, and the subsets of the papers that show them sample by sample."""
        browsing = plan.browsing_papers()
        return {
            "verdicts": [Output(verdict, "json") for verdict in JudgeClaims.list_wanted(plan)],
            "tables": [Output(table, "cells") for table in MakeTable.list_wanted(plan)],
            "figures": [Output(figure, "svg") for figure in DrawFigure.list_wanted(plan)],
            "records": [Output(CollectRecords(paper), "records") for paper in plan.config.papers],
            "subsets": [Output(CollectSubsets(paper), "browser") for paper in browsing],
            "overlaps": [Output(CompareSubsets(paper), "overlaps") for paper in browsing],
        }

    def specify(self, plan: "Plan") -> PageSpec:
        """Return all papers with their tables and figures, in order."""
        return {
            "title": "selectbench results",
            "scale": plan.config.scale["title"],
            "scale_id": plan.scale,
            "papers": [self._describe_paper(plan, paper) for paper in plan.config.papers],
            "code": fingerprint_stage(self.name, files=PAGE_FILES),
        }

    @staticmethod
    def _describe_paper(plan: "Plan", paper: str) -> PagePaper:
        """Return what the page shows of a paper."""
        entry = plan.config.papers[paper]
        return {
            "id": paper,
            "title": entry["title"],
            "citation": entry["citation"],
            "tables": list(entry["tables"]),
            "figures": [
                {"id": name, "title": figure["title"], "caption": figure["caption"], "table": figure["table"]}
                for name, figure in entry["figures"].items()
            ],
            "browse": BuildPage._describe_browsed(plan, paper) if paper in plan.browsing_papers() else None,
        }

    @staticmethod
    def _describe_browsed(plan: "Plan", paper: str) -> Browsed:
        """Return the titles of the methods, in the order of their table, and of the data sets whose subsets the page shows."""
        panels = plan.tables[paper, plan.config.papers[paper]["browse"]]["panels"]
        titles = {row["id"]: row["title"] for panel in panels for row in panel["rows"]}
        return {
            "methods": [[name, title] for name, title in titles.items()],
            "datasets": {run.dataset: plan.config.datasets[run.dataset]["title"] for run in plan.browsed_runs(paper)},
        }


def build_page(spec: PageSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Write the page from the files of all papers, in the order of the specification."""
    from selectbench.artefacts.page import Inputs as PageInputs
    from selectbench.artefacts.page import render_page

    shown = PageInputs(
        verdicts=[cast("PaperVerdict", read_sealed(path)) for path in inputs["verdicts"]],
        tables=[cast("Table[AnyCell]", read_sealed(path)) for path in inputs["tables"]],
        figures=[read_drawing(path) for path in inputs["figures"]],
        records={run: record for path in inputs["records"] for run, record in read_records(path).items()},
        subsets=[cast("Subsets", read_sealed(path)) for path in inputs["subsets"]],
        overlaps=[cast("Overlaps", read_sealed(path)) for path in inputs["overlaps"]],
    )
    write_text(outputs["html"], render_page(spec, shown))
    seal_artefact(outputs["sources"], {"scale": spec["scale_id"]}, spec["code"], inputs, [outputs["html"]])


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, BuildPage, build_page))

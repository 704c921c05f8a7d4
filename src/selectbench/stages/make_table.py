"""Make one table from records: CSV, Markdown, LaTeX and the JSON sidecar that names every cell's runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from selectbench.artefacts.specs import TableSpec
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import write_text
from selectbench.records.records import read_record, read_records
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages.collect_records import CollectRecords
from selectbench.stages.time_trainings import TimeTrainings

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


@dataclass(frozen=True)
class MakeTable(Stage):
    """One table of a paper."""

    paper: str
    table: str

    name = "make_table"
    reads = ("records", "times")
    writes = {
        "csv": "{results}/{paper}/tables/{table}.csv",
        "markdown": "{results}/{paper}/tables/{table}.md",
        "latex": "{results}/{paper}/tables/{table}.tex",
        "cells": "{results}/{paper}/tables/{table}.cells.json",
    }
    record = "cells"
    log = "{results}/logs/tables/{paper}/{table}.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield all tables, in the order of the papers."""
        yield from (cls(paper, table) for paper, entry in plan.config.papers.items() for table in entry["tables"])

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the records of the paper, and how long repeated trainings took, for a table of costs."""
        return {
            "records": [Output(CollectRecords(self.paper), "records")],
            "times": [Output(job, "record") for job in TimeTrainings.list_of(plan, self.paper, self.table)],
        }

    def specify(self, plan: "Plan") -> TableSpec:
        """Return the table with the runs of every cell."""
        return {**plan.tables[self.paper, self.table], "code": fingerprint_stage(self.name)}


def make_table(spec: TableSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Fill a table from records and write it in all formats."""
    from selectbench.artefacts.tables import fill_table, render_csv, render_latex, render_markdown

    (records,) = inputs["records"]
    times = {run: seconds for path in inputs["times"] for run, seconds in read_record(path)["times"].items()}
    table = fill_table(spec, read_records(records), times)
    for name, render in (("csv", render_csv), ("markdown", render_markdown), ("latex", render_latex)):
        write_text(outputs[name], render(table))
    seal_artefact(outputs["cells"], table, spec["code"], inputs, [outputs[name] for name in ("csv", "markdown", "latex")])


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, MakeTable, make_table))

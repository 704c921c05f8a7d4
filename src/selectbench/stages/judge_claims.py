"""Judge a paper's claims from records and measurements and write the verdict, as JSON and as Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from selectbench.artefacts.specs import ClaimsSpec
from selectbench.planning.config import list_looks, list_seeds, list_table_seeds
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import read_sealed, write_text
from selectbench.records.records import read_record, read_records
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages._measurements import list_measurements
from selectbench.stages.collect_records import CollectRecords
from selectbench.stages.make_table import MakeTable

if TYPE_CHECKING:
    from selectbench.artefacts.kinds import Table
    from selectbench.artefacts.measurements import Measurement
    from selectbench.artefacts.tables import AnyCell
    from selectbench.planning.plan import Plan

CONFIDENCE = 0.95


@dataclass(frozen=True)
class JudgeClaims(Stage):
    """The verdict on a paper's claims."""

    paper: str

    name = "judge_claims"
    reads = ("records", "tables", "measurements")
    writes = {"json": "{results}/{paper}/verdict.json", "markdown": "{results}/{paper}/verdict.md"}
    record = "json"
    log = "{results}/logs/claims/{paper}.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield one verdict per paper."""
        yield from map(cls, plan.config.papers)

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the records and tables of the paper, and the measurements that its claims read."""
        entry, scale = plan.config.papers[self.paper], plan.config.scale
        measured: dict[tuple[str, str], list[int]] = {}
        for name, claim in entry["claims"].items():
            if "measured" in claim:
                number = plan.config.added.get(f"{self.paper}/{name}", 0)
                seeds = max(list_table_seeds(scale, entry["tables"][claim["table"]]), list_seeds(scale, number), key=len)
                what = claim["table"], claim["measured"]["proposition"]
                measured[what] = max(measured.get(what, []), seeds, key=len)
        return {
            "records": [Output(CollectRecords(self.paper), "records")],
            "tables": [Output(MakeTable(self.paper, table), "cells") for table in entry["tables"]],
            "measurements": list_measurements(plan, self.paper, measured),
        }

    def specify(self, plan: "Plan") -> ClaimsSpec:
        """Return the claims as comparisons of runs, paired by seed."""
        spec: ClaimsSpec = {
            "paper": self.paper,
            "scale": plan.scale,
            "confidence": CONFIDENCE,
            "claims": plan.claims[self.paper],
            "code": fingerprint_stage(self.name),
        }
        looks = list_looks(plan.config.scale)
        return {**spec, "looks": looks} if looks else spec


def judge_claims(spec: ClaimsSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Write the verdict on a paper from its records, the sidecars of its tables, and the measurements of its propositions."""
    from selectbench.artefacts.verdict import make_verdict, render_markdown

    (records,) = inputs["records"]
    filled = [cast("Table[AnyCell]", read_sealed(path)) for path in inputs["tables"]]
    measured = [cast("Measurement", read_record(path)) for path in inputs["measurements"]]
    verdict = make_verdict(spec, filled, read_records(records), measured)
    write_text(outputs["markdown"], render_markdown(verdict))
    seal_artefact(outputs["json"], verdict, spec["code"], inputs, [outputs["markdown"]])


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, JudgeClaims, judge_claims))

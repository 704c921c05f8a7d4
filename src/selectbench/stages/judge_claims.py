"""Judge a paper's claims from records and measurements and write the verdict, as JSON and as Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from selectbench.artefacts.specs import ClaimsSpec
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.files import read_json, write_json, write_text
from selectbench.records.records import read_records
from selectbench.stages._artefact import parse_artefact_arguments
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
    log = "{results}/logs/claims/{paper}.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield one verdict per paper."""
        yield from map(cls, plan.config.papers)

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the records and tables of the paper, and the measurements that its claims read."""
        entry = plan.config.papers[self.paper]
        measured = [claim["table"] for claim in entry["claims"].values() if "measured" in claim]
        return {
            "records": [Output(CollectRecords(self.paper), "records")],
            "tables": [Output(MakeTable(self.paper, table), "cells") for table in entry["tables"]],
            "measurements": list_measurements(plan, self.paper, measured),
        }

    def specify(self, plan: "Plan") -> ClaimsSpec:
        """Return the claims as comparisons of runs, paired by seed."""
        return {
            "paper": self.paper,
            "scale": plan.scale,
            "confidence": CONFIDENCE,
            "claims": plan.claims[self.paper],
            "code": fingerprint_stage(self.name),
        }


def judge_claims(
    spec: ClaimsSpec, records: Path, tables: Sequence[Path], measurements: Sequence[Path] = (), *, json: Path, markdown: Path
) -> None:
    """Write the verdict on a paper; ``tables`` are the JSON sidecars of its tables, ``measurements`` the records of its propositions."""
    from selectbench.artefacts.verdict import make_verdict, render_markdown

    filled = [cast("Table[AnyCell]", read_json(path)) for path in tables]
    measured = [cast("Measurement", read_json(path)) for path in measurements]
    verdict = make_verdict(spec, filled, read_records(records), measured)
    write_json(json, verdict)
    write_text(markdown, render_markdown(verdict))


def main() -> None:
    """The specification is a ``ClaimsSpec``."""
    arguments = parse_artefact_arguments(__doc__, JudgeClaims.reads, JudgeClaims.writes)
    outputs = {"json": arguments.json, "markdown": arguments.markdown}
    judge_claims(arguments.spec, arguments.records[0], arguments.tables, arguments.measurements, **outputs)


if __name__ == "__main__":
    run_stage(main)

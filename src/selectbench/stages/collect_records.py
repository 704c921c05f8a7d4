"""Collect the records of a paper into one file, from which its tables, figures and verdicts are made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from selectbench.artefacts.specs import CollectSpec
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.records import COLLECTION, TRAIN, merge_record, record_path, write_collection
from selectbench.stages._artefact import InputFiles, OutputFiles, make_artefact, seal_artefact
from selectbench.stages._command import run_stage
from selectbench.stages._target_stages import TargetStage
from selectbench.stages.evaluate_targets import EvaluateTargets
from selectbench.stages.evaluate_texts import EvaluateTexts

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


@dataclass(frozen=True)
class CollectRecords(Stage):
    """The collection of a paper's records."""

    paper: str

    name = "collect_records"
    reads = ("evaluated",)
    writes = {"records": f"{{results}}/{{paper}}/{COLLECTION}", "sources": "{results}/{paper}/records.json"}
    record = "sources"
    log = "{results}/logs/collect/{paper}.log"

    @classmethod
    def list_wanted(cls, plan: "Plan") -> Iterator[Self]:
        """Yield one collection per paper, so that a lost one is made again even if its tables are there."""
        yield from map(cls, plan.config.papers)

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the manifests of the evaluations that include a run of the paper."""
        wanted = set(plan.paper_runs(self.paper))
        evaluators: tuple[type[TargetStage], ...] = (EvaluateTargets, EvaluateTexts)
        jobs = [job for evaluator in evaluators for job in evaluator.list_wanted(plan)]
        return {"evaluated": [Output(job, "manifest") for job in jobs if wanted.intersection(run.id for run in job.list_runs(plan))]}

    def specify(self, plan: "Plan") -> CollectSpec:
        """Return the runs of the paper."""
        return {
            "paper": self.paper,
            "runs": plan.paper_runs(self.paper),
            "folder": plan.folder,
            "code": fingerprint_stage(self.name),
        }


def collect_records(spec: CollectSpec, inputs: InputFiles, outputs: OutputFiles) -> None:
    """Write one line per run, sorted by id, and the record of the collection.

    Raises
    ------
    RecordError
        A record is missing or damaged, or holds a value out of its range.
    """
    from selectbench.records.checks import check_row

    rows = [merge_record(Path(spec["folder"]), run) for run in spec["runs"]]
    for row in rows:
        check_row(str(record_path(Path(spec["folder"]), row["run"]["id"], TRAIN).parent), row)
    write_collection(outputs["records"], rows)
    seal_artefact(outputs["sources"], {"paper": spec["paper"], "runs": len(rows)}, spec["code"], inputs, [outputs["records"]])


if __name__ == "__main__":
    run_stage(lambda: make_artefact(__doc__, CollectRecords, collect_records))

"""Collect the records of a paper into one file, from which its tables, figures and verdicts are made."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selectbench.artefacts.specs import CollectSpec
from selectbench.planning.stage import Inputs, Output, Stage, fingerprint_stage
from selectbench.records.records import COLLECTION, merge_record, write_collection
from selectbench.stages._artefact import parse_artefact_arguments
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
    writes = {"records": f"{{results}}/{{paper}}/{COLLECTION}"}
    log = "{results}/logs/collect/{paper}.log"

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


def main() -> None:
    """Write one line per run, sorted by id."""
    arguments = parse_artefact_arguments(__doc__, CollectRecords.reads, CollectRecords.writes)
    spec: CollectSpec = arguments.spec
    write_collection(arguments.records, (merge_record(Path(spec["folder"]), run) for run in spec["runs"]))


if __name__ == "__main__":
    run_stage(main)

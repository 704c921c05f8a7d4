"""Recorded costs: the work of jobs and runs, and Snakemake's times of jobs."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from selectbench.errors import RecordError
from selectbench.planning.jobs import Job
from selectbench.planning.plan import Plan
from selectbench.planning.runs import Run
from selectbench.planning.stage import CollectedWork, Selection
from selectbench.records.records import COLLECTION, EVALUATE, TRAIN, merge_record, read_record, read_records, record_path
from selectbench.signals import REPLICATES, SOURCES

if TYPE_CHECKING:
    from selectbench.records.rows import Provenance, Row

METADATA = Path(".snakemake/metadata")
_LONGEST_NAME = 254  # of a file: Snakemake cuts longer names into folders
_SLACK_S = 1.0  # records name whole seconds


class Times(NamedTuple):
    """When Snakemake started a job and saw it end, in seconds since the epoch; a queued job waited for resources in between."""

    start: float
    end: float
    queued: bool


class Work(NamedTuple):
    """Seconds of work of a job or a run, without the start of its process, and the start and end that its record gives."""

    seconds: float
    started: float
    finished: float


def read_times(output: str, metadata: Path = METADATA) -> Times | None:
    """Return when Snakemake last made an output; None if it did not, or if its metadata lie elsewhere."""
    note = read_note(output, metadata)
    try:
        return Times(float(note["starttime"]), float(note["endtime"]), note.get("external_jobid") is not None)
    except (ValueError, KeyError, TypeError):
        return None


def read_note(output: str, metadata: Path = METADATA) -> dict[str, Any]:
    """Return Snakemake's metadata of an output; empty if it did not make the output, or if its metadata lie elsewhere."""
    name = urlsafe_b64encode(output.encode()).decode()
    parts = [name[start : start + _LONGEST_NAME] for start in range(0, len(name), _LONGEST_NAME)]
    path = metadata.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def measure_run(row: "Row", stage: str) -> Work:
    """Return the work of a run's stage from its collected record.

    A failed training counts from its start to the end of its record, and has no evaluation.
    """
    started, finished = read_span(row["provenance"])
    if stage == EVALUATE:
        evaluation = row["evaluation"]
        return Work(evaluation["wall_s"] or 0.0, *read_span(evaluation["provenance"])) if evaluation else Work(0.0, started, finished)
    training, selection = row["training"], row["selection"]
    if training is None:
        return Work(finished - started, started, finished)
    sampler_s = selection["score_s"] if selection is not None and "sampler" in selection else 0.0
    spent = training["wall_s"] - training.get("encode_s", 0.0) + training.get("tracking_s", 0.0) + sampler_s
    return Work(spent, started, finished)


def read_span(provenance: "Provenance") -> tuple[float, float]:
    """Return when the work of a record began and ended, in seconds since the epoch."""
    started, finished = (datetime.fromisoformat(moment).timestamp() for moment in (provenance["started"], provenance["finished"]))
    return started, finished


def know_all(works: Sequence[Work | None]) -> list[Work] | None:
    """Return recorded works; None if one of them was not recorded."""
    known = [work for work in works if work is not None]
    return known if len(known) == len(works) else None


class Recorded:
    """Recorded costs of a plan: collected records first, then the records of single runs and jobs.

    Parameters
    ----------
    plan : whose costs are looked up
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows: dict[str, Row] = {}
        for paper in plan.config.papers:
            path = Path(plan.folder, paper, COLLECTION)
            self.rows |= read_records(path) if path.exists() else {}

    def find_run(self, run: Run, stage: str) -> Work | None:
        """Return the work of a run's stage, or None if it was not recorded.

        Raises
        ------
        RecordError
            Its record cannot be read.
        """
        if run.id not in self.rows:
            folder = Path(self.plan.folder)
            train = record_path(folder, run.id, TRAIN)
            if not train.exists():
                return None
            failed = read_record(train)["status"] != "ok"
            if not (failed or record_path(folder, run.id, EVALUATE).exists()):
                return measure_run(cast("Row", read_record(train)), stage) if stage == TRAIN else None
            self.rows[run.id] = merge_record(folder, run.id)
        try:
            return measure_run(self.rows[run.id], stage)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"not a record of its training and evaluation ({type(error).__name__}: {error})"
            raise RecordError(f"{self.plan.folder}: {run.id}: {problem}; delete it and run again") from None

    def find_job(self, job: Job) -> Work | None:
        """Return the work of a job that makes no targets, or None if it was not recorded.

        Raises
        ------
        RecordError
            Its record cannot be read.
        """
        name = job.stage.list_outputs(self.plan).get("record")
        if name is None or not Path(name).exists():
            seconds = job.stage.recall_work(self.collected)
            return None if seconds is None else Work(seconds, 0.0, 0.0)
        record = read_record(Path(name))
        try:
            worked = job.stage.measure_work(record)
            return None if worked is None else Work(worked, *read_span(record["provenance"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"not a record of {job.rule} ({type(error).__name__}: {error})"
            raise RecordError(f"{name}: {problem}; delete it and run again") from None

    @cached_property
    def collected(self) -> CollectedWork:
        """The work of the jobs before runs, from what the collected records of runs say their selection cost."""
        scoring: dict[Selection, float] = {}
        by_keep: dict[tuple[Selection, str], float] = {}  # one subset serves several targets
        recording: dict[tuple[str, str, str, str], float] = {}
        for row in self.rows.values():
            selection, run = row["selection"], row["run"]
            if selection is None or "sampler" in selection:
                continue
            dataset, proxy, seed = run["dataset"], run["proxy"], str(run["seed"])
            subset = (dataset, proxy, run["method"], seed)
            paid = {name: source["wall_s"] for name, source in selection["sources"].items()}
            by_keep[subset, run["keep"]] = paid.get("agent", selection["select_s"])
            if "agent" not in paid:
                scoring[subset] = selection["score_s"]
            for source in paid.keys() & (SOURCES.keys() | REPLICATES.keys()):
                share = selection["proxy_share"] if source == "proxy" else 1.0
                key = (source, dataset, proxy, seed)
                recording[key] = max(recording.get(key, 0.0), paid[source] / share)
        choosing: dict[Selection, float] = {}
        for (subset, _), seconds in by_keep.items():
            choosing[subset] = choosing.get(subset, 0.0) + seconds
        return CollectedWork(scoring, choosing, recording)


def is_inside(times: Times, works: Iterable[Work]) -> bool:
    """Tell whether all work was done between the start and the end of a job."""
    return all(times.start - _SLACK_S <= work.started and work.finished <= times.end + _SLACK_S for work in works if work.seconds)

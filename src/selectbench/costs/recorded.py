"""What was recorded of costs: the work of jobs and runs, and how long Snakemake saw a job take."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from selectbench.errors import RecordError
from selectbench.planning.jobs import Job
from selectbench.planning.layout import Layout
from selectbench.planning.runs import Run
from selectbench.records.records import EVALUATE, TRAIN, merge_record, read_record, read_records, record_path
from selectbench.signals import SOURCES

METADATA = Path(".snakemake/metadata")
_LONGEST_NAME = 254  # of a file: Snakemake cuts longer names into folders
_SLACK_S = 1.0  # records name whole seconds


class Times(NamedTuple):
    """When Snakemake started a job and saw it end, in seconds since the epoch; a queued one waited for its processors in between."""

    start: float
    end: float
    queued: bool


class Work(NamedTuple):
    """Seconds that a job or a run worked, without the start of its process, and when its record says it began and ended."""

    seconds: float
    started: float
    finished: float


def read_times(output: str, metadata: Path = METADATA) -> Times | None:
    """Return when Snakemake last made an output; None if it did not, or keeps its notes elsewhere."""
    note = read_note(output, metadata)
    try:
        return Times(float(note["starttime"]), float(note["endtime"]), note.get("external_jobid") is not None)
    except (ValueError, KeyError, TypeError):
        return None


def read_note(output: str, metadata: Path = METADATA) -> dict:
    """Return what Snakemake noted when it last made an output; empty if it did not, or keeps its notes elsewhere."""
    name = urlsafe_b64encode(output.encode()).decode()
    parts = [name[start : start + _LONGEST_NAME] for start in range(0, len(name), _LONGEST_NAME)]
    path = metadata.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def measure_work(rule: str, record: Mapping) -> float | None:
    """Return the seconds of work that the record of a job names; None for a rule whose records name none."""
    if rule == "train_proxy":
        return record["training"]["wall_s"]
    if rule in ("measure_gradients", "embed_samples", "embed_texts", "measure_texts", "measure_influences"):
        return sum(cost["wall_s"] for cost in record["costs"])
    if rule == "score_samples":
        return record["score_s"]
    if rule == "select_subsets":
        return sum(subset["cost"]["select_s"] for subset in record["subsets"].values())
    if rule in ("train_selectors", "search_clusters"):
        return sum(subset["cost"]["sources"]["agent"]["wall_s"] for subset in record["subsets"].values())
    if rule in ("cluster_texts", "measure_theory", "measure_validity"):
        return record["wall_s"]
    return None


def measure_run(row: Mapping, stage: str) -> Work:
    """Return the work of a run's stage from its collected record.

    A training that failed worked as long as its record was open, and is not evaluated.
    """
    started, finished = read_span(row["provenance"])
    if stage == EVALUATE:
        evaluation = row["evaluation"]
        return Work(evaluation["wall_s"], *read_span(evaluation["provenance"])) if evaluation else Work(0.0, started, finished)
    training, selection = row["training"], row["selection"]
    if training is None:
        return Work(finished - started, started, finished)
    sampler_s = selection["score_s"] if "sampler" in selection else 0.0
    return Work(training["wall_s"] - training.get("encode_s", 0.0) + sampler_s, started, finished)


def read_span(provenance: Mapping) -> tuple[float, float]:
    """Return when the work of a record began and ended, in seconds since the epoch."""
    return tuple(datetime.fromisoformat(provenance[name]).timestamp() for name in ("started", "finished"))


class Recorded:
    """What was recorded of a plan's costs: collected records first, then the records of single runs and jobs.

    Parameters
    ----------
    plan : whose scale is asked about
    """

    def __init__(self, plan: Layout) -> None:
        self.plan = plan
        self.rows: dict[str, dict] = {}
        for paper in plan.config.papers:
            path = Path(plan.records(paper))
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
            train, evaluate = (record_path(folder, run.id, name) for name in (TRAIN, EVALUATE))
            if not train.exists():
                return None
            failed = read_record(train)["status"] != "ok"
            if not (failed or evaluate.exists()):
                return measure_run(read_record(train), stage) if stage == TRAIN else None
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
        record_file = Path(job.outputs[0]).with_suffix(".json")
        if job.rule not in _RECORDED or not record_file.exists():
            seconds = self._collected.get(job.outputs[0])
            return None if seconds is None else Work(seconds, 0.0, 0.0)
        record = read_record(record_file)
        try:
            return Work(measure_work(job.rule, record), *read_span(record["provenance"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"not a record of {job.rule} ({type(error).__name__}: {error})"
            raise RecordError(f"{record_file}: {problem}; delete it and run again") from None

    @cached_property
    def _collected(self) -> dict[str, float]:
        """First output → work of a job, from what the collected records of runs say their selection cost."""
        seconds: dict[str, float] = {}
        by_keep: dict[tuple[str, str], float] = {}  # one subset serves several targets
        for row in self.rows.values():
            selection, run = row["selection"], row["run"]
            if selection is None or "sampler" in selection:
                continue
            subset = f"{run['dataset']}/{run['proxy']}/{run['method']}/seed-{run['seed']}.npz"
            paid = {name: source["wall_s"] for name, source in selection["sources"].items()}
            by_keep[f"{self.plan.folder}/subsets/{subset}", run["keep"]] = paid.get("agent", selection["select_s"])
            if "agent" not in paid:
                seconds[f"{self.plan.folder}/scores/{subset}"] = selection["score_s"]
            for source in paid.keys() & SOURCES.keys():
                file = self.plan.signals(source, run["dataset"], run["proxy"], run["seed"])
                share = selection["proxy_share"] if source == "proxy" else 1.0
                seconds[file] = max(seconds.get(file, 0.0), paid[source] / share)
        for (subsets, _), chosen_s in by_keep.items():
            seconds[subsets] = seconds.get(subsets, 0.0) + chosen_s
        return seconds


_RECORDED = frozenset(
    {
        *("train_proxy", "measure_gradients", "embed_samples", "embed_texts", "measure_texts", "measure_influences", "score_samples"),
        *("select_subsets", "train_selectors", "search_clusters", "cluster_texts", "measure_theory", "measure_validity"),
    }
)


def is_inside(times: Times, works: Iterable[Work]) -> bool:
    """Tell whether all this work was done between the start and the end of a job."""
    return all(times.start - _SLACK_S <= work.started and work.finished <= times.end + _SLACK_S for work in works if work.seconds)

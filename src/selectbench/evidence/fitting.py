"""Whether a record made elsewhere is the one that this checkout would make: its key, part by part, so that a reason can be given."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selectbench.errors import shorten, spell
from selectbench.planning.plan import Plan
from selectbench.planning.runs import Run
from selectbench.records.checks import make_adapter
from selectbench.records.files import digest_value, read_sealed
from selectbench.records.records import EVALUATE, TRAIN, read_record
from selectbench.stages._origins import abridge_spec, identify_subset
from selectbench.stages._subsets import find_subset
from selectbench.stages._target_stages import EvaluationStage, TargetStage, TrainingStage, describe_trained
from selectbench.stages.evaluate_targets import EvaluateTargets
from selectbench.stages.evaluate_texts import EvaluateTexts
from selectbench.stages.finetune_targets import FinetuneTargets
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.train_targets import TrainTargets

if TYPE_CHECKING:
    pass

TRAINERS: tuple[type[TrainingStage], ...] = (TrainTargets, FinetuneTargets)
EVALUATORS: tuple[type[EvaluationStage], ...] = (EvaluateTargets, EvaluateTexts)
_FIRST = ("code", "arithmetic", "recipe_name", "recipe", "model_name", "model")  # fields that say most about why others differ
_ENTRIES = ("recipe", "model")  # fields whose digests stand for entries of the configuration, which rows hold in full
_NONE = object()


@dataclass
class Standard:
    """What this checkout would make the runs of a plan from, worked out once per batch, data set and file.

    Parameters
    ----------
    plan : of the scale
    """

    plan: Plan
    _specs: dict[TargetStage, Mapping[str, Any]] = field(default_factory=dict)
    _contents: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    _subsets: dict[Path, Mapping[str, Any] | None] = field(default_factory=dict)
    _jobs: dict[tuple[str, str], TargetStage] = field(default_factory=dict)

    def find_job(self, stage: str, run: Run) -> TargetStage:
        """Return the batch that trains or evaluates a run."""
        if not self._jobs:
            for made in (*TRAINERS, *EVALUATORS):
                for job in made.list_wanted(self.plan):
                    self._jobs |= {(made.run_record, asked.id): job for asked in job.list_runs(self.plan)}
        return self._jobs[stage, run.id]

    def find_spec(self, stage: str, run: Run) -> Mapping[str, Any]:
        """Return the specification of a run's batch."""
        job = self.find_job(stage, run)
        if job not in self._specs:
            self._specs[job] = job.specify(self.plan)
        return self._specs[job]

    def find_contents(self, dataset: str) -> Mapping[str, Any] | None:
        """Return split → content of a prepared data set; None if it is not prepared here."""
        if dataset not in self._contents:
            path = Path(PrepareData(dataset).find_output(self.plan, "manifest"))
            self._contents[dataset] = read_sealed(path)["splits"] if path.exists() else None
        return self._contents[dataset]

    def find_chosen(self, run: Run) -> object:
        """Return what identifies the choice of a run's samples; a marker if it is a subset that is not here."""
        if not self.plan.has_subset(run):
            return describe_trained(self.plan, run)["sampler"]
        job, _ = find_subset(self.plan, run)
        path = Path(job.find_output(self.plan, job.record))
        if path not in self._subsets:
            self._subsets[path] = read_record(path)["subsets"] if path.exists() else None
        subsets = self._subsets[path]
        return _NONE if subsets is None or run.keep not in subsets else identify_subset(subsets[run.keep])


def find_misfit(standard: Standard, run: Run, train: Mapping[str, Any], evaluate: Mapping[str, Any] | None) -> str | None:
    """Return in which part the records of a run differ from those that this checkout would make; None if they fit.

    Parameters
    ----------
    standard : of the plan
    run : a run of the plan
    train, evaluate : its records; the latter is None if there is none, or none is needed
    """
    reasons = _list_training_misfits(standard, run, train)
    reason = next(reasons, None)
    if reason is None and evaluate is not None:
        reason = next((f"evaluation: {found}" for found in _list_evaluation_misfits(standard, run, train, evaluate)), None)
    return reason


def find_flaw(origin: object, stage: str) -> str | None:
    """Return the first field that is wrong in what a record says it was made from; None if all are there and of their types.

    Parameters
    ----------
    origin : ``made_from`` of the record
    stage : ``train`` or ``evaluate``
    """
    from pydantic import ValidationError

    from selectbench.records.rows import EvaluationOrigin, Origin

    if origin is None:
        return "made_from: null, so that nothing tells what the record was made from"
    try:
        make_adapter(Origin if stage == TRAIN else EvaluationOrigin).validate_python(origin)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        return f"{spell('.'.join(map(str, ('made_from', *problem['loc']))))}: {problem['msg']}"
    return None


def _list_training_misfits(standard: Standard, run: Run, train: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts in which a training differs, those that explain others first."""
    origin = train["made_from"]
    if (flaw := find_flaw(origin, TRAIN)) is not None:
        yield flaw
        return
    asked = standard.find_spec(TRAIN, run)
    yield from _compare_specs(origin["spec"], asked, train)
    choice = standard.find_chosen(run)
    if choice is not _NONE and digest_value(choice) != digest_value(origin["choice"]):
        yield "subset: other samples than the subset here" if standard.plan.has_subset(run) else _compare_samplers(origin["choice"], choice)
    contents = standard.find_contents(run.dataset)
    if contents is not None and origin["data"] != digest_value(contents["pool"]):
        yield f"data: {run.dataset}: another pool than the one prepared here"


def _list_evaluation_misfits(standard: Standard, run: Run, train: Mapping[str, Any], evaluate: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts in which an evaluation differs."""
    origin = evaluate["made_from"]
    if (flaw := find_flaw(origin, EVALUATE)) is not None:
        yield flaw
        return
    asked = standard.find_spec(EVALUATE, run)
    yield from _compare_specs(origin["spec"], asked, train)
    plan, tests = standard.plan, origin["tests"]
    wanted = {plan.id_test_set(run.dataset), *plan.run_test_sets(run)}
    if missing := sorted(wanted - set(tests)):
        yield f"test sets missing: {', '.join(missing)}"
    if others := sorted(set(tests) - wanted):
        yield f"test sets that are not asked for here: {', '.join(map(spell, others))}"
    contents = standard.find_contents(run.dataset)
    for name in sorted(wanted):
        if contents is not None and name in contents and tests[name] != digest_value(contents[name]):
            yield f"data: {run.dataset}: another test set {name} than the one prepared here"


def _compare_specs(made: Mapping[str, Any], asked: Mapping[str, Any], train: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields in which two specifications differ.

    Parameters
    ----------
    made : of the record, abridged
    asked : of this checkout, in full
    train : record of the training, which holds model and recipe in full if it succeeded
    """
    expected = abridge_spec(asked)
    for name in sorted({*made, *expected}, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        there, here = made.get(name, _NONE), expected.get(name, _NONE)
        if there is not _NONE and here is not _NONE and digest_value(there) == digest_value(here):
            continue
        if name in _ENTRIES and isinstance(train[name], Mapping) and digest_value(train[name]) == there:
            yield f"{name}: differs in {_find_difference(train[name], asked[name])}"
        elif name in _ENTRIES:
            yield f"{name}: another entry of the configuration than {asked[f'{name}_name']} here"
        elif name == "code":
            yield f"code: made by {_show(there)}, here {_show(here)}"
        else:
            yield f"{spell(name)}: {_show(there)}, here {_show(here)}"


def _compare_samplers(made: object, asked: object) -> str:
    """Return how the sampler of a record differs from that of this checkout."""
    if not isinstance(made, Mapping) or not isinstance(asked, Mapping):
        return "sampler: the record has none"
    return f"sampler: differs in {_find_difference(made, asked)}"


def _find_difference(made: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return the first field in which two entries differ, with both values."""
    for name in sorted({*made, *asked}):
        there, here = made.get(name, _NONE), asked.get(name, _NONE)
        if there is _NONE or here is _NONE or digest_value(there) != digest_value(here):
            if isinstance(there, Mapping) and isinstance(here, Mapping):
                return f"{spell(name)}.{_find_difference(there, here)}"
            return f"{spell(name)}: {_show(there)}, here {_show(here)}"
    return "nothing that is known"


def _show(value: object) -> str:
    return "absent" if value is _NONE else spell(shorten(str(value)))

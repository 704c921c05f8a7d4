"""The artefacts that are made from collected records alone, in the order in which they are made."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from selectbench.planning.jobs import list_jobs
from selectbench.planning.plan import Plan
from selectbench.planning.rules import to_json
from selectbench.planning.stage import Stage
from selectbench.stages._artefact import InputFiles, Make, OutputFiles
from selectbench.stages.build_front_page import BuildFrontPage, build_front_page
from selectbench.stages.build_page import BuildPage, build_page
from selectbench.stages.collect_subsets import CollectSubsets, write_subsets
from selectbench.stages.compare_subsets import CompareSubsets, write_overlaps
from selectbench.stages.draw_figure import DrawFigure, draw_figure
from selectbench.stages.judge_claims import JudgeClaims, judge_claims
from selectbench.stages.make_table import MakeTable, make_table
from selectbench.stages.map_states import MapStates, write_states

_MAKERS: tuple[tuple[type[Stage], Make], ...] = (
    (MakeTable, make_table),
    (DrawFigure, draw_figure),
    (JudgeClaims, judge_claims),
    (BuildPage, build_page),
    (BuildFrontPage, build_front_page),
)
_OF_SUBSETS = (CollectSubsets, CompareSubsets)  # made from subsets, not from collected records; a page without them lacks these parts
_OTHER_MAKERS: tuple[tuple[type[Stage], Make], ...] = (
    (CompareSubsets, write_overlaps),
    (CollectSubsets, write_subsets),
    (MapStates, write_states),
)


@dataclass(frozen=True)
class Artefact:
    """A table, figure, verdict or page.

    Parameters
    ----------
    job : that makes it
    spec : its specification
    inputs, outputs : its files
    make : writes the outputs
    """

    job: Stage
    spec: Mapping[str, object]
    inputs: InputFiles
    outputs: OutputFiles
    make: Make

    @property
    def record(self) -> Path:
        """The output that says what the artefact was made from."""
        return self.outputs[self.job.record]


def list_artefacts(plan: Plan) -> Iterator[Artefact]:
    """Yield the artefacts of a scale; each comes after those that it is made from."""
    for stage, make in _MAKERS:
        for job in stage.list_wanted(plan):
            artefact = describe_artefact(plan, job, make)
            yield replace(artefact, inputs=leave_out_missing(plan, job, artefact.inputs))


def list_checked(plan: Plan) -> Iterator[Artefact]:
    """Yield the artefacts of a scale, and what they show of subsets and searches, which is made from other files than records."""
    makers = dict(_OTHER_MAKERS)
    for job in list_jobs(plan).values():
        if (make := makers.get(type(job.stage))) is not None:
            yield describe_artefact(plan, job.stage, make)
    yield from list_artefacts(plan)


def describe_artefact(plan: Plan, job: Stage, make: Make) -> Artefact:
    """Return an artefact with all its files, and its specification as the command of its stage reads it."""
    inputs = {name: [Path(path) for path in paths] for name, paths in job.list_input_paths(plan).items()}
    outputs = {name: Path(path) for name, path in job.list_outputs(plan).items()}
    return Artefact(job, json.loads(to_json(job.specify(plan))), inputs, outputs, make)


def is_artefact(job: Stage) -> bool:
    """Tell whether a job makes an artefact that ``list_artefacts`` yields."""
    return isinstance(job, tuple(stage for stage, _ in _MAKERS))


def leave_out_missing(plan: Plan, job: Stage, inputs: InputFiles) -> InputFiles:
    """Return inputs without the comparisons of subsets that are missing, as they are where nothing but records was kept."""
    if not isinstance(job, BuildPage):
        return inputs
    optional = {Path(path) for stage in _OF_SUBSETS for paper in plan.config.papers for path in stage(paper).list_outputs(plan).values()}
    return {name: [path for path in paths if path.exists() or path not in optional] for name, paths in inputs.items()}


def remake_artefact(artefact: Artefact) -> None:
    """Write an artefact anew, in place; its record is deleted first, so that an interruption leaves no record of other files."""
    artefact.record.unlink(missing_ok=True)
    artefact.make(artefact.spec, artefact.inputs, artefact.outputs)

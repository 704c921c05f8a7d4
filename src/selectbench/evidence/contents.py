"""The files of a crate: the results of a scale and what of the project explains them, each with a title and what it was made from."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selectbench.errors import SelectbenchError, spell_count
from selectbench.planning.jobs import list_jobs
from selectbench.planning.stage import Output
from selectbench.stages.build_page import BuildPage
from selectbench.stages.cluster_texts import ClusterTexts
from selectbench.stages.collect_records import CollectRecords
from selectbench.stages.collect_subsets import CollectSubsets
from selectbench.stages.compare_subsets import CompareSubsets
from selectbench.stages.draw_figure import DrawFigure
from selectbench.stages.judge_claims import JudgeClaims
from selectbench.stages.make_table import MakeTable
from selectbench.stages.map_states import MapStates

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.planning.stage import Stage

ARTEFACTS: tuple[type["Stage"], ...] = (MakeTable, DrawFigure, JudgeClaims, BuildPage)
OPTIONAL = (".pdf", ".png")  # copies of figures that are not committed
WORKFLOW = "workflow/Snakefile"
PROJECT = {  # file of the project → what it is
    "README.md": "Introduction to the benchmark, with the verdicts and how to run it",
    "LICENSE": "Licence of the benchmark",
    "CITATION.cff": "How to cite the benchmark and the papers that it tests",
    ".zenodo.json": "Metadata that Zenodo reads from a release",
    "CHANGELOG.md": "Changes by version",
    "requirements.lock": "Every package of the environment, with version and hashes",
    "environment.yml": "The environment for conda",
    "pyproject.toml": "The package selectbench and the packages that it needs",
    "Snakefile": "Entry of the workflow, which sets its default target",
    WORKFLOW: "The Snakemake workflow that trains, evaluates and makes all results",
}
FOLDERS = {  # pattern of files → what they are
    "config/**/*.yaml": "Configuration of papers, scales, data sets, models, methods and recipes",
    "config/reported/*.csv": "Numbers that a paper prints, with the kind of evidence behind each",
    "config/README.md": "What the configuration files hold",
    "workflow/rules/*.smk": "Rules of the workflow",
    "workflow/schemas/*.yaml": "Schemas by which the configuration is checked",
}
FORMATS = {
    **{"csv": "CSV", "markdown": "Markdown", "latex": "LaTeX", "cells": "JSON with the runs behind every cell"},
    **{"pdf": "PDF", "png": "PNG", "svg": "SVG", "json": "JSON"},
}


class Content(NamedTuple):
    """A file of a crate.

    Parameters
    ----------
    source : where it lies
    name : its path in the crate
    title : what readers call it
    description : what it holds
    made_from : names of the files in the crate that it was made from
    """

    source: Path
    name: str
    title: str
    description: str
    made_from: tuple[str, ...] = ()


def list_contents(plan: "Plan", root: Path) -> list[Content]:
    """List the files of a scale's crate: results, then those of the project below ``root``.

    Raises
    ------
    SelectbenchError
        Files are missing, except the kinds of figures that are optional.
    """
    results, project = list_results(plan), list_project(root)
    refuse_missing(results, f"run `snakemake --cores 2 --config scale={plan.scale}` to make them")
    refuse_missing(project, "export in a complete checkout of selectbench")
    return [content for content in (*results, *project) if content.source.exists()]


def refuse_missing(contents: Iterable[Content], remedy: str) -> None:
    """Raise if files do not exist that a crate must have."""
    missing = [content.source for content in contents if content.source.suffix not in OPTIONAL and not content.source.is_file()]
    if missing:
        raise SelectbenchError(f"{missing[0]}: no such file ({spell_count(len(missing), 'file')} missing); {remedy}")


def list_results(plan: "Plan") -> list[Content]:
    """List tables, figures, verdicts and the page of a scale, the files that they are made from, and the records of clusters."""
    jobs = [job for stage in ARTEFACTS for job in stage.list_wanted(plan)]
    made = [Output(job, name) for job in jobs for name in job.writes]
    read = [output for job in jobs for output in list_inputs(plan, job)]
    clusters = [Output(job.stage, "record") for job in list_jobs(plan).values() if isinstance(job.stage, ClusterTexts)]
    collected = [Output(job, name) for job in CollectRecords.list_wanted(plan) for name in job.writes]
    return [describe_output(plan, output) for output in dict.fromkeys([*made, *read, *collected, *clusters])]


def list_inputs(plan: "Plan", job: "Stage") -> list[Output]:
    """List the files of other jobs that a job reads, each once."""
    return list(dict.fromkeys(output for outputs in job.list_inputs(plan).values() for output in outputs))


def describe_output(plan: "Plan", output: Output) -> Content:
    """Return a file of the results; those of artefacts name what they were made from, which is part of the crate too."""
    title, description = describe_job(plan, output.job)
    read = list_inputs(plan, output.job) if type(output.job) in ARTEFACTS else []
    return Content(
        source=find_file(plan, output),
        name=name_result(plan, output),
        title=f"{title} ({FORMATS[output.name]})" if output.name in FORMATS else title,
        description=description,
        made_from=tuple(name_result(plan, other) for other in read),
    )


def find_file(plan: "Plan", output: Output) -> Path:
    """Return where a file of the results lies."""
    return Path(output.job.find_output(plan, output.name))


def name_result(plan: "Plan", output: Output) -> str:
    """Return the path in the crate of a file of the results, wherever the results folder is."""
    return f"results/{plan.scale}/{find_file(plan, output).relative_to(plan.folder).as_posix()}"


def describe_job(plan: "Plan", job: "Stage") -> tuple[str, str]:
    """Return the title and a description of what a job makes."""
    papers, scale = plan.config.papers, plan.scale
    match job:
        case MakeTable(paper, table):
            title = papers[paper]["tables"][table]["title"]
            return f"Table: {title}", f"Table “{title}” of {papers[paper]['title']} at scale {scale}"
        case DrawFigure(paper, figure):
            title = papers[paper]["figures"][figure]["title"]
            return f"Figure: {title}", f"Figure “{title}” of {papers[paper]['title']} at scale {scale}"
        case JudgeClaims(paper):
            title = papers[paper]["title"]
            return f"Verdict on {title}", f"Verdicts on the claims of {title} at scale {scale}, with the comparisons behind them"
        case BuildPage():
            return "Results page", f"Claims, figures, tables, subsets and costs at scale {scale}, in one file that needs no network"
        case CollectRecords(paper):
            title = papers[paper]["title"]
            return f"Records of {title}", f"One record per run of {title} at scale {scale}, failed runs included, with provenance"
        case CompareSubsets(paper):
            return f"Overlaps of {papers[paper]['title']}", "Numbers of samples that the subsets of each pair of methods have in common"
        case CollectSubsets(paper):
            return f"Subsets of {papers[paper]['title']}", "Samples that each method keeps and drops, for the browser on the results page"
        case MapStates(paper):
            return f"States of {papers[paper]['title']}", "Sets of clusters that agents explored, mapped to the plane"
        case _:
            what = (type(job).__doc__ or job.name).partition("\n")[0].rstrip(".")
            return f"{what}: {', '.join(job.wildcards.values())}", f"{what} at scale {scale}, as measured by the stage {job.name}"


def list_project(root: Path) -> list[Content]:
    """List the files of the project that explain results: texts, environment, configuration and workflow."""
    return [Content(root / name, name, description, description) for name, description in _walk_project(root)]


def _walk_project(root: Path) -> Iterator[tuple[str, str]]:
    yield from PROJECT.items()
    for pattern, description in FOLDERS.items():
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), f"{description}: {path.name}"

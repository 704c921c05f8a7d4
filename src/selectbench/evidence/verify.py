"""Whether results add up: files are what their records say, each was made from what is there, and artefacts follow from records."""

import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selectbench.errors import RecordError, SelectbenchError, first_line, spell, spell_count
from selectbench.evidence.artefacts import Artefact, list_checked
from selectbench.evidence.damage import (
    Damage,
    Inventory,
    check_axes,
    check_origin,
    describe_repair,
    find_damage,
    find_missing,
    spell_config,
)
from selectbench.planning.jobs import Job
from selectbench.planning.plan import Plan
from selectbench.records.checks import check_row
from selectbench.records.files import DIGEST, digest_value, read_sealed
from selectbench.records.records import COLLECTION, EVALUATE, TRAIN, check_run, read_records, read_run, record_path, split_row
from selectbench.stages._origins import identify_subset
from selectbench.stages._subsets import find_subset
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.records.rows import Row

MALFORMED = (KeyError, TypeError, AttributeError, ValueError, IndexError, OSError)  # what files of the wrong shape raise
MAY_BE_ABSENT = (".pdf", ".png", ".npz", ".pt")  # copies of figures, arrays and weights, none of which are committed
_OF_THIS_CODE = ("code", DIGEST)  # fields of artefacts that change with the code although nothing else does


@dataclass
class Check:
    """The outcome of one kind of check.

    Parameters
    ----------
    title : what was checked
    agree : how many agree
    absent : how many could not be checked, because a file is not here
    problems : one line for each that differs
    remedy : a command, if one repairs all problems
    notes : further lines for people
    """

    title: str
    agree: int = 0
    absent: int = 0
    problems: list[str] = field(default_factory=list)
    remedy: str | None = None
    notes: list[str] = field(default_factory=list)

    def count(self, problem: str | None) -> None:
        """Count one that was checked: it agrees if there is no problem."""
        if problem is None:
            self.agree += 1
        else:
            self.problems.append(problem)


def check_files(plan: Plan, jobs: Mapping[str, Job], inventory: Inventory) -> Check:
    """Check that every file is what the record beside it says.

    A missing file is a difference if another file of the same job is here, unless it is of a kind that may be absent.
    """
    check = Check("files are what their records say")
    damages = find_damage(plan, jobs, inventory)
    inventory.save()
    for path, name in find_missing(plan, jobs):
        if path.suffix not in MAY_BE_ABSENT:
            damages.append(Damage(path, "missing, though other files of its job are here", tuple(map(Path, jobs[name].outputs)), name))
            continue
        if not check.absent:
            check.notes.append(f"not here, first: {path}; to make it: snakemake --cores 2{spell_config(plan)} -- {shlex.quote(str(path))}")
        check.absent += 1
    check.agree = len(inventory.read) - len({damage.path for damage in damages if str(damage.path) in inventory.read})
    check.problems = [f"{damage.path}: {damage.problem}" for damage in damages]
    check.remedy = describe_repair(plan, damages, jobs) if damages else None
    return check


def check_sources(plan: Plan, jobs: Mapping[str, Job], inventory: Inventory) -> Check:
    """Check that what is here was made from what is here: records name the digests of the files that their jobs read."""
    check = Check("files were made from the files that are here")
    stale: list[Damage] = []
    for name, job in jobs.items():
        record = Path(job.stage.find_output(plan, job.stage.record))
        if job.stage.run_record or not record.exists():
            continue
        try:
            named = read_sealed(record).get("made_from", {})
            for source, paths in job.stage.list_input_paths(plan).items():
                for path, digest in zip(map(Path, paths), named.get(source, []), strict=False):
                    if not path.exists():
                        check.absent += 1
                    elif inventory.find_digest(path) == digest:
                        check.agree += 1
                    else:
                        stale.append(Damage(record, f"made from another {path} than the one here", tuple(map(Path, job.outputs)), name))
        except (RecordError, *MALFORMED) as error:
            check.problems.append(name_problem(record, error))
    check.problems += [f"{damage.path}: {damage.problem}" for damage in stale]
    check.remedy = describe_repair(plan, stale, jobs) if stale else None
    for run in plan.runs.values():
        for problem in _compare_run_with_sources(plan, run.id):
            check.absent += problem == ""
            if problem != "":
                check.count(problem)
    return check


def describe_error(error: Exception) -> str:
    """Return what is wrong with a file, in one line."""
    return first_line(error) if isinstance(error, SelectbenchError) else f"malformed ({type(error).__name__}: {first_line(error)})"


def name_problem(name: object, error: Exception) -> str:
    """Return what is wrong with a file or a run, with its name once."""
    told = describe_error(error)
    return told if told.startswith(str(name)) else f"{name}: {told}"


def _compare_run_with_sources(plan: Plan, run_id: str) -> Iterator[str | None]:
    """Yield, for the data and the subset of a run, None if it was trained on them, "" if they are not here, else what differs."""
    folder, run = Path(plan.folder), plan.runs[run_id]
    if not record_path(folder, run_id, TRAIN).exists():
        return
    try:
        origin = read_run(folder, run_id, TRAIN)["made_from"]
        data, choice = origin["data"], origin["choice"]
    except (RecordError, *MALFORMED):
        return  # damage, which is reported as such
    manifest = Path(PrepareData(run.dataset).find_output(plan, "manifest"))
    yield _compare(run_id, manifest, lambda found: digest_value(found["splits"]["pool"]), data)
    if plan.has_subset(run):
        chooser, name = find_subset(plan, run)
        record = Path(chooser.find_output(plan, name)).with_suffix(".json")
        yield _compare(run_id, record, lambda found: identify_subset(found["subsets"][run.keep]), choice)


def _compare(run_id: str, path: Path, read: Callable[[Mapping[str, Any]], object], expected: object) -> str | None:
    """Return None if a file describes what is expected, "" if it is not here, else what differs."""
    if not path.exists():
        return ""
    try:
        return None if read(read_sealed(path)) == expected else f"{run_id}: trained on something else than {path} describes"
    except (RecordError, *MALFORMED) as error:
        return f"{run_id}: cannot be compared with {path}: {describe_error(error)}"


def read_rows(plan: Plan) -> "tuple[dict[str, Row], list[str]]":
    """Return the collected rows of all papers, and a line for each collection that is missing or cannot be read."""
    rows: dict[str, Row] = {}
    problems = []
    for paper in plan.config.papers:
        path = Path(plan.folder, paper, COLLECTION)
        try:
            rows |= read_records(path)
        except RecordError as error:
            problems.append(str(error))
    return rows, problems


def check_rows(plan: Plan) -> Check:
    """Check that the collected rows of every paper are whole, within their ranges, those of its runs, and the records of these."""
    check = Check("collected records are whole, within their ranges, and those of their runs")
    seen: dict[str, tuple[str, Row]] = {}
    old = 0
    for paper in plan.config.papers:
        path = Path(plan.folder, paper, COLLECTION)
        try:
            rows = read_records(path)
        except RecordError as error:
            check.problems.append(str(error))
            continue
        asked = set(plan.paper_runs(paper))
        for what, runs in (("has no row of", asked - rows.keys()), ("has a row that the paper does not ask for:", rows.keys() - asked)):
            check.problems += [f"{path}: {what} {spell(run)}" for run in sorted(runs)]
        for run_id, row in rows.items():
            first, other = seen.setdefault(run_id, (str(path), row))
            problem = _find_problem_of_row(plan, run_id, row)
            if problem is None and other != row:
                problem = f"{run_id}: {path} and {first} have different rows of it"
            if problem is None and row["records"] is None:
                old += 1
            else:
                check.count(problem)
    if old:
        check.absent += old
        check.notes.append(f"{spell_count(old, 'record')} of layout 1, which named no digests, cannot be traced to their sources")
    return check


def _find_problem_of_row(plan: Plan, run_id: str, row: "Row") -> str | None:
    """Return what is wrong with a collected row; None if nothing is."""
    folder = Path(plan.folder)
    paths = {stage: record_path(folder, run_id, stage) for stage in (TRAIN, EVALUATE)}
    try:
        check_row(run_id, row)
        check_axes(Path(run_id), row["run"])
        if row["records"] is None:  # converted from layout 1, of which no record of a run is kept
            return f"{run_id}: the row names no records, though {paths[TRAIN]} is here" if paths[TRAIN].exists() else None
        train, evaluate = split_row(row)
        for stage, record in ((TRAIN, train), (EVALUATE, evaluate)):
            if record is None:
                continue
            check_run(run_id, record, run_id, stage)
            check_origin(Path(run_id), record)
            if paths[stage].exists() and read_run(folder, run_id, stage)[DIGEST] != record[DIGEST]:
                return f"{run_id}: collected from another {paths[stage]} than the one here"
    except (RecordError, *MALFORMED) as error:
        return name_problem(run_id, error)
    return None


def check_artefacts(plan: Plan) -> Check:
    """Check that tables, figures, verdicts and pages are those that follow from the records, by making them again elsewhere."""
    check = Check("tables, figures, verdicts and pages follow from the records")
    with tempfile.TemporaryDirectory() as folder:
        for number, artefact in enumerate(list_checked(plan)):
            there = [path for path in artefact.outputs.values() if path.exists()]
            if not there or any(not path.exists() for paths in artefact.inputs.values() for path in paths):
                check.absent += 1
            else:
                check.count(_compare_artefact(artefact, Path(folder) / str(number)))
    if check.problems:
        check.remedy = f"selectbench report --scale {plan.scale}"
    return check


def _compare_artefact(artefact: Artefact, folder: Path) -> str | None:
    """Return how an artefact differs from the one that its inputs give; None if it does not."""
    outputs = {name: folder / path.name for name, path in artefact.outputs.items()}
    try:
        artefact.make(artefact.spec, artefact.inputs, outputs)
    except (SelectbenchError, *MALFORMED) as error:
        return f"{artefact.record}: cannot be made again: {describe_error(error)}"
    for name, path in artefact.outputs.items():
        if path.exists() and not is_same(path, outputs[name], artefact.record == path):
            return f"{path}: not what follows from the records"
    return None


def is_same(path: Path, other: Path, is_record: bool) -> bool:
    """Tell whether two files are equal; records of artefacts may differ in the code that made them."""
    try:
        if not is_record:
            return path.read_bytes() == other.read_bytes()
        first, second = ({name: value for name, value in read_sealed(file).items() if name not in _OF_THIS_CODE} for file in (path, other))
    except (OSError, RecordError):
        return False
    return first == second


def print_checks(checks: Iterable[Check], most: int = 10) -> bool:
    """Print what agrees, what differs and what is not here, kind by kind; return whether all that was checked agrees."""
    agrees = True
    for check in checks:
        agrees &= not check.problems
        absent = f", {check.absent} not here" if check.absent else ""
        print(f"{'differs' if check.problems else 'agrees':<8}{check.title}: {check.agree} agree, {len(check.problems)} differ{absent}")
        for problem in check.problems[:most]:
            print(f"        {problem}")
        if len(check.problems) > most:
            print(f"        … and {len(check.problems) - most} more")
        if check.remedy:
            print(f"        to repair: {check.remedy}")
        for note in check.notes:
            print(f"        {note}")
    return agrees

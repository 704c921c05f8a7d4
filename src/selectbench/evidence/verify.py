"""Whether results add up: files are what their records say, each was made from what is there, and artefacts follow from records."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selectbench.data.kinds import check_entry
from selectbench.errors import DataError, RecordError, SelectbenchError
from selectbench.evidence.artefacts import Artefact, list_artefacts
from selectbench.evidence.damage import check_axes, describe_repair, find_damage, find_missing, open_inventory
from selectbench.planning.jobs import Job
from selectbench.planning.plan import Plan
from selectbench.records.checks import check_row
from selectbench.records.files import DIGEST, digest_file, digest_value, read_sealed
from selectbench.records.records import COLLECTION, EVALUATE, TRAIN, check_run, read_records, read_run, record_path, split_row
from selectbench.stages._subsets import find_subset
from selectbench.stages.prepare_data import PrepareData

if TYPE_CHECKING:
    from selectbench.records.rows import Row

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


def check_files(plan: Plan, jobs: Mapping[str, Job]) -> Check:
    """Check that every file is what the record beside it says, reading all contents."""
    check = Check("files are what their records say")
    inventory = open_inventory(plan, contents=True)
    damages = find_damage(plan, jobs, inventory)
    inventory.save()
    missing = list(find_missing(plan, jobs))
    check.agree = len(inventory.records) + len(inventory.digests) - len({damage.path for damage in damages})
    check.absent = len(missing)
    check.problems = [f"{damage.path}: {damage.problem}" for damage in damages]
    check.remedy = describe_repair(plan, damages, jobs) if damages else None
    if missing:
        check.notes.append(
            f"not here, first: {missing[0][0]}; to make it: snakemake --cores 2 --config scale={plan.scale} -- {missing[0][0]}"
        )
    for dataset in plan.datasets():
        if Path(PrepareData(dataset).find_output(plan, "manifest")).exists():
            check.count(_find_problem_of_data(plan, dataset))
    return check


def _find_problem_of_data(plan: Plan, dataset: str) -> str | None:
    try:
        check_entry(dataset, plan.config.datasets[dataset], Path(plan.layout.resources), plan.test_sets(dataset))
    except DataError as error:
        return str(error)
    return None


def check_sources(plan: Plan, jobs: Mapping[str, Job]) -> Check:
    """Check that what is here was made from what is here: records name the digests of the files that their jobs read."""
    check = Check("files were made from the files that are here")
    for name, job in jobs.items():
        record = Path(job.stage.find_output(plan, job.stage.record))
        if job.stage.run_record or not record.exists():
            continue
        try:
            made_from = read_sealed(record).get("made_from", {})
        except RecordError:
            continue  # damage, which is reported as such
        for source, paths in job.stage.list_input_paths(plan).items():
            for path, digest in zip(map(Path, paths), made_from.get(source, []), strict=False):
                if not path.exists():
                    check.absent += 1
                else:
                    check.count(None if digest_file(path) == digest else f"{name}: made from another {path} than the one here")
    for run in plan.runs.values():
        for problem in _compare_run_with_sources(plan, run.id):
            check.absent += problem == ""
            if problem != "":
                check.count(problem)
    return check


def _compare_run_with_sources(plan: Plan, run_id: str) -> Iterator[str | None]:
    """Yield, for the data and the subset of a run, None if it was trained on them, "" if they are not here, else what differs."""
    folder, run = Path(plan.folder), plan.runs[run_id]
    if not record_path(folder, run_id, TRAIN).exists():
        return
    try:
        origin = read_run(folder, run_id, TRAIN)["made_from"]
    except RecordError:
        return
    manifest = Path(PrepareData(run.dataset).find_output(plan, "manifest"))
    yield from _compare(run_id, manifest, lambda found: digest_value(found["splits"]["pool"]), origin["data"])
    if plan.has_subset(run):
        chooser, name = find_subset(plan, run)
        record = Path(chooser.find_output(plan, name)).with_suffix(".json")
        chosen = origin["choice"][0] if isinstance(origin["choice"], list) else origin["choice"]
        yield from _compare(run_id, record, lambda found: found["subsets"][run.keep]["sha256"], chosen)


def _compare(run_id: str, path: Path, read: Any, expected: object) -> Iterator[str | None]:
    if not path.exists():
        yield ""
        return
    try:
        yield None if read(read_sealed(path)) == expected else f"{run_id}: trained on something else than {path} describes"
    except (RecordError, KeyError, TypeError):
        yield f"{run_id}: cannot be compared with {path}, which is damaged or describes something else"


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
    """Check that collected rows are whole, that their values are within their ranges, and that they are the records of their runs."""
    check = Check("collected records are whole, within their ranges, and those of their runs")
    folder = Path(plan.folder)
    rows, check.problems = read_rows(plan)
    for run_id, row in rows.items():
        try:
            check_row(run_id, row)
            check_axes(Path(run_id), row["run"])
            if row["records"] is None:  # of layout 1, which named no digests
                check.absent += 1
                continue
            train, evaluate = split_row(row)
            check_run(run_id, train, run_id, TRAIN)
            for stage, record in ((TRAIN, train), (EVALUATE, evaluate)):
                path = record_path(folder, run_id, stage)
                if record is not None and path.exists() and read_run(folder, run_id, stage)[DIGEST] != record[DIGEST]:
                    raise RecordError(f"{run_id}: collected from another {path} than the one here")
            if evaluate is not None:
                check_run(run_id, evaluate, run_id, EVALUATE)
        except RecordError as error:
            check.problems.append(str(error))
        else:
            check.agree += 1
    return check


def check_artefacts(plan: Plan) -> Check:
    """Check that tables, figures, verdicts and pages are those that follow from the records, by making them again elsewhere."""
    check = Check("tables, figures, verdicts and pages follow from the records")
    with tempfile.TemporaryDirectory() as folder:
        for artefact in list_artefacts(plan):
            if artefact.record.exists():
                check.count(_compare_artefact(artefact, Path(folder)))
            else:
                check.absent += 1
    if check.problems:
        check.remedy = f"selectbench report --scale {plan.scale}"
    return check


def _compare_artefact(artefact: Artefact, folder: Path) -> str | None:
    """Return how an artefact differs from the one that its inputs give; None if it does not."""
    outputs = {name: folder / str(number) / path.name for number, (name, path) in enumerate(artefact.outputs.items())}
    try:
        artefact.make(artefact.spec, artefact.inputs, outputs)
    except SelectbenchError as error:
        return f"{artefact.record}: cannot be made again: {error}"
    differing = [
        path for name, path in artefact.outputs.items() if path.exists() and not is_same(path, outputs[name], artefact.record == path)
    ]
    return f"{differing[0]}: not what follows from the records" if differing else None


def is_same(path: Path, other: Path, is_record: bool) -> bool:
    """Tell whether two files are equal; records of artefacts may differ in the code that made them."""
    if not is_record:
        return path.read_bytes() == other.read_bytes()
    contents: list[dict[str, Any]] = [json.loads(file.read_text(encoding="utf-8")) for file in (path, other)]
    first, second = ({name: value for name, value in content.items() if name not in _OF_THIS_CODE} for content in contents)
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

"""Runs made elsewhere: exported, and imported if they are what this checkout would make; nothing present is overwritten."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from selectbench.errors import RecordError, SelectbenchError, find_closest, spell_count
from selectbench.evidence.bundle import Bundle, Choice, check_whole, read_bundle, write_bundle
from selectbench.evidence.fitting import EVALUATORS, TRAINERS, Standard, find_flaw, find_misfit
from selectbench.evidence.marks import add_marks, digest_asked, find_newest, refresh_times
from selectbench.evidence.merging import Outcome, find_contrast, find_keys, merge_bundles
from selectbench.planning.plan import Plan
from selectbench.planning.stage import Stage
from selectbench.records.files import DIGEST, digest_file, digest_value, read_json, read_sealed, write_bytes, write_json
from selectbench.records.leases import free_lock, try_lock
from selectbench.records.records import (
    COLLECTION,
    EVALUATE,
    IMPORTED,
    TRAIN,
    WEIGHTS,
    check_weights,
    merge_record,
    read_records,
    read_run,
    record_path,
    split_row,
    write_import,
)
from selectbench.stages._origins import identify_subset, write_manifest
from selectbench.stages._subsets import find_subset
from selectbench.stages._target_stages import TargetStage

if TYPE_CHECKING:
    from selectbench.records.rows import Import, Records, Row

UNKNOWN, FAILED = "not a run", "failed"


def gather_runs(plan: Plan) -> Bundle:
    """Return every finished or failed run of a plan, with the selections that these runs were trained on.

    A run's own records count where they are there, otherwise what was collected.

    Raises
    ------
    SelectbenchError
        There are none, or a record is damaged.
    """
    rows = dict(_list_rows(plan))
    if not rows:
        raise SelectbenchError(f"{plan.folder}: no finished run of scale {plan.scale}; `snakemake --config scale={plan.scale}` makes them")
    known: dict[Stage, str] = {}
    choices = [choice for job in list_choosers(plan, rows) if (choice := _read_choice(plan, job, known)) is not None]
    return Bundle(plan.scale, rows, {choice.record: choice for choice in choices})


def list_choosers(plan: Plan, runs: Iterable[str]) -> list[Stage]:
    """List the selections from which runs take their subsets, each once."""
    return list(dict.fromkeys(find_subset(plan, plan.runs[run]).job for run in runs if plan.has_subset(plan.runs[run])))


def _list_rows(plan: Plan) -> "Iterator[tuple[str, Row]]":
    """Yield the rows of a plan's runs."""
    folder = Path(plan.folder)
    paths = [folder / paper / COLLECTION for paper in plan.config.papers]
    collected = {path: read_records(path) for path in paths if path.exists()}
    for run in sorted(plan.runs):
        has_training = record_path(folder, run, TRAIN).exists()
        if has_training and (record_path(folder, run, EVALUATE).exists() or read_run(folder, run, TRAIN)["status"] == "failed"):
            yield run, merge_record(folder, run)
        elif (row := _find_collected(run, collected)) is not None:
            yield run, row


def _find_collected(run: str, collected: "Mapping[Path, Records]") -> "Row | None":
    """Return the row of a run, which is the same in all collected records that have one; None if none has.

    Raises
    ------
    RecordError
        Two files have other rows of the run.
    """
    found = {path: rows[run] for path, rows in collected.items() if run in rows}
    first = next(iter(found), None)
    if first is None:
        return None
    other = next((path for path in found if found[path]["digest"] != found[first]["digest"]), None)
    if other is not None:
        raise RecordError(f"{first}, {other}: {run}: not the same row in both; `snakemake` collects the records of all papers again")
    return found[first]


def _read_choice(plan: Plan, job: Stage, known: dict[Stage, str]) -> Choice | None:
    """Return the files of a selection; None unless all are there."""
    outputs = {name: Path(path) for name, path in job.list_outputs(plan).items()}
    if not all(path.exists() for path in outputs.values()):
        return None
    files = {path.relative_to(plan.folder).as_posix(): path.read_bytes() for path in outputs.values()}
    return Choice(outputs[job.record].relative_to(plan.folder).as_posix(), files, digest_asked(plan, job, known))


def export_runs(plan: Plan, output: Path) -> Bundle:
    """Write every finished or failed run of a plan as a bundle."""
    if os.path.lexists(output):
        raise SelectbenchError(f"{output}: already exists; name another file, or delete it first")
    bundle = gather_runs(plan)
    write_bundle(bundle, output)
    return bundle


@dataclass(frozen=True)
class Arrival:
    """A run that will be imported.

    Parameters
    ----------
    run : its id
    train, evaluate : its records; the latter is None if the training failed
    imported : where they come from
    """

    run: str
    train: Mapping[str, Any]
    evaluate: Mapping[str, Any] | None
    imported: "Import"


@dataclass(frozen=True)
class Arrivals:
    """What an import will write.

    Parameters
    ----------
    runs : the runs
    choices : selection → its files
    """

    runs: Sequence[Arrival]
    choices: Mapping[Stage, Choice]


def import_files(plan: Plan, files: Sequence[Path], *, dry_run: bool = False) -> Outcome:
    """Add the runs of files to a results folder, with their selections, and write the manifests of the batches that are complete then.

    Nothing is written before every run of every file was checked.

    Parameters
    ----------
    plan : of the scale
    files : bundles, or files of collected records
    dry_run : whether to write nothing at all

    Raises
    ------
    SelectbenchError
        A file cannot be read or was edited, is of a scale other than this one and its base, or a workflow is running in the results folder.
    """
    bundles = [read_bundle(file) for file in files]
    for bundle in bundles:
        if bundle.scale not in (None, plan.scale, plan.config.scale.get("base")):
            raise SelectbenchError(f"{bundle.file}: scale: its runs are of {bundle.scale}, not of {plan.scale}; name it with --scale")
    if dry_run:
        return check_runs(plan, bundles)[0]
    lock = Path(plan.folder) / "state" / "workflow.lock"
    if not try_lock(lock):
        raise SelectbenchError(f"{plan.folder}: a workflow is running here; import once it has ended")
    try:
        outcome, arrivals = check_runs(plan, bundles)
        for choice in arrivals.choices.values():
            _place_choice(Path(plan.folder), choice)
        add_marks(plan, arrivals.choices)
        refresh_times(plan, list_choosers(plan, plan.runs))
        for arrival in arrivals.runs:
            _place_run(Path(plan.folder), arrival)
        add_marks(plan, write_manifests(plan))
    finally:
        free_lock(lock)
    return outcome


def check_runs(plan: Plan, bundles: Sequence[Bundle]) -> tuple[Outcome, Arrivals]:
    """Return what is to become of every run of some bundles, and what is to be written."""
    merged, among = merge_bundles(bundles)
    sources = {row["digest"]: bundle for bundle in reversed(bundles) for row in bundle.rows.values()}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    standard, arrivals = Standard(plan), []
    outcome = Outcome(conflicts=dict(among.conflicts))
    for name in sorted(set(merged.rows) - set(among.conflicts)):
        row = merged.rows[name]
        train, evaluate = split_row(row)
        source = sources[row["digest"]]
        refusal = UNKNOWN if name not in plan.runs else find_misfit(standard, plan.runs[name], train, evaluate)
        found = Present("refused", refusal) if refusal else compare_present(standard, row, source.file)
        if found is None:
            outcome.added.append(name)
            arrivals.append(Arrival(name, train, evaluate, _describe_import(source, row, now)))
        elif found.state == "refused":
            outcome.refused.setdefault(found.reason, []).append(name)
        elif found.state == "conflict":
            outcome.conflicts[name] = found.reason
        else:
            outcome.present.append(name)
    accepted = [merged.rows[name] for name in (*outcome.added, *outcome.present)]
    choices = list_placeable(plan, accepted, merged.choices, outcome)
    _explain_unknown(plan, outcome)
    return outcome, Arrivals(arrivals, choices)


def _describe_import(source: Bundle, row: "Row", now: str) -> "Import":
    """Return where a row comes from, and where it had come from before."""
    imported: Import = {"file": Path(source.file).name, "sha256": source.digest, "when": now}
    return {**imported, "before": row["imported"]} if "imported" in row else imported


def _explain_unknown(plan: Plan, outcome: Outcome) -> None:
    """Name the scale, and the run of the plan that is closest to the first unknown one, in the reason of unknown runs."""
    runs = outcome.refused.pop(UNKNOWN, None)
    if runs:
        closest = find_closest(runs[0], plan.runs)
        outcome.refused[f"{UNKNOWN} of scale {plan.scale}{f' (the closest to the first is {closest})' if closest else ''}"] = runs


class Present(NamedTuple):
    """How a run in a results folder relates to one that arrives.

    Parameters
    ----------
    state : ``refused`` if it was made from something else, ``conflict`` if it has another result, ``same`` otherwise
    reason : for people
    """

    state: str
    reason: str = ""


def compare_present(standard: Standard, row: "Row", source: str) -> Present | None:
    """Return how the run that is there already relates to a row; None if none is there.

    Parameters
    ----------
    standard : of the plan
    row : a row that fits the plan
    source : path of the file that the row is from
    """
    folder, run = Path(standard.plan.folder), row["run"]["id"]
    remedy = "delete the run's folder to replace it"
    path = record_path(folder, run, TRAIN)
    try:
        if not os.path.lexists(path):
            if (other := _find_other(folder, row)) is None:
                return None
            return Present("refused", f"{other}: another one than that of the run that arrives, without a {path.name}; {remedy}")
        train = read_run(folder, run, TRAIN)
        if (flaw := find_flaw(train["made_from"], TRAIN)) is not None:
            return Present("refused", f"{path}: {flaw}; {remedy}")
        if train["key"] != row["key"]:
            return Present("refused", f"here made from something else ({_contrast_origins(standard, train, row)}); {remedy}")
        if train["status"] == "ok" and row["evaluation"] is not None and not record_path(folder, run, EVALUATE).exists():
            return Present("refused", "trained here, but not evaluated yet; `snakemake` does that")
        here = merge_record(folder, run)
        check_whole(str(path.parent), here)
    except RecordError as error:
        return Present("refused", str(error))
    if None not in (pair := (find_keys(here)[1], find_keys(row)[1])) and pair[0] != pair[1]:
        return Present("refused", f"here evaluated with something else; {remedy}")
    difference = find_contrast(here, row, ("here", source))
    return Present("same") if difference is None else Present("conflict", difference)


def _find_other(folder: Path, row: "Row") -> Path | None:
    """Return the first file in the folder of a run that is not the one that belongs to a row; None if there is none."""
    place = record_path(folder, row["run"]["id"], TRAIN).parent
    named: Mapping[str, Any] = row["records"] or {}
    files: dict[str, tuple[str | None, Callable[[Path], str | None]]] = {
        f"{EVALUATE}.json": (named.get(EVALUATE), lambda path: read_sealed(path)[DIGEST]),
        f"{IMPORTED}.json": (named.get(TRAIN), lambda path: read_sealed(path).get(TRAIN)),
        WEIGHTS: ((row["sha256"] or {}).get(WEIGHTS), digest_file),
    }
    for name, (digest, find_digest) in files.items():
        path = place / name
        if os.path.lexists(path) and not (path.is_file() and find_digest(path) == digest):
            return path
    return None


def _contrast_origins(standard: Standard, train: Mapping[str, Any], row: "Row") -> str:
    """Return in which part a training that is here was made from something else than a row that fits the plan."""
    misfit = find_misfit(standard, standard.plan.runs[row["run"]["id"]], train, None)
    if misfit is not None:
        return misfit.replace(", here ", ", now ")
    here: Mapping[str, Any] = train["made_from"] or {}
    there: Mapping[str, Any] = row["made_from"] or {}
    return ", ".join(name for name in ("choice", "data", "start") if digest_value(here.get(name)) != digest_value(there.get(name)))


def list_placeable(plan: Plan, rows: "Iterable[Row]", choices: Mapping[str, Choice], outcome: Outcome) -> dict[Stage, Choice]:
    """Return the selections that runs were trained on, that are not here, and that this checkout would make in the same way.

    Parameters
    ----------
    plan : of the scale
    rows : the runs that fit
    choices : name of the record → the selections that arrive
    outcome : gets a note for those that are not placed
    """
    known: dict[Stage, str] = {}
    chosen: dict[Stage, list[Row]] = {}
    for row in rows:
        if plan.has_subset(plan.runs[row["run"]["id"]]):
            chosen.setdefault(find_subset(plan, plan.runs[row["run"]["id"]]).job, []).append(row)
    placed, left = {}, []
    for job, trained in chosen.items():
        outputs = [Path(path) for path in job.list_outputs(plan).values()]
        record = Path(job.find_output(plan, job.record)).relative_to(plan.folder).as_posix()
        if record not in choices or any(path.exists() for path in outputs):
            continue
        choice, names = choices[record], {path.relative_to(plan.folder).as_posix() for path in outputs}
        is_asked = choice.files.keys() == names and choice.asked == digest_asked(plan, job, known)
        if is_asked and all(_is_trained_on(row, choice) for row in trained):
            placed[job] = choice
        else:
            left.append(record)
    if left:
        outcome.notes.append(
            f"not placed, since this checkout selects otherwise: {spell_count(len(left), 'file')} of subsets, first {left[0]}"
        )
    return placed


def _is_trained_on(row: "Row", choice: Choice) -> bool:
    """Tell whether a run was trained on a subset of these."""
    subset, origin = choice.described["subsets"].get(row["run"]["keep"]), row["made_from"]
    return subset is not None and origin is not None and digest_value(identify_subset(subset)) == digest_value(origin["choice"])


def _place_choice(folder: Path, choice: Choice) -> None:
    """Write the files of a selection, with the time at which it was made, so that what was made from it elsewhere does not seem older."""
    made = min(datetime.fromisoformat(choice.described["provenance"]["finished"]).astimezone(UTC), datetime.now(UTC)).timestamp()
    for name, content in sorted(choice.files.items(), key=lambda item: item[0] == choice.record):
        write_bytes(folder / name, content)
        os.utime(folder / name, (made, made))


def _place_run(folder: Path, arrival: Arrival) -> None:
    """Write the records of a run, that of its training last: without it, the others do not count."""
    write_import(folder, arrival.run, arrival.train, arrival.imported)
    if arrival.evaluate is not None and not record_path(folder, arrival.run, EVALUATE).exists():
        write_json(record_path(folder, arrival.run, EVALUATE), arrival.evaluate)
    write_json(record_path(folder, arrival.run, TRAIN), arrival.train)


def write_manifests(plan: Plan) -> list[TargetStage]:
    """Write the manifests of all batches whose runs are finished and fit, those of trainings first, where they are missing or differ.

    Snakemake takes an output as up to date if it is newer than those of its inputs that are there.
    """
    standard, written = Standard(plan), []
    keys = _list_keys(standard)
    for made in (*TRAINERS, *EVALUATORS):
        known: dict[Stage, int] = {}
        for job in made.list_wanted(plan):
            runs = [run.id for run in job.list_runs(plan) if keys[TRAIN].get(run.id) is not None]
            if len(runs) < len(job.list_runs(plan)):
                continue
            finished = runs if made.run_record == TRAIN else [run for run in runs if run not in keys[FAILED]]
            if any(run not in keys[made.run_record] for run in finished):
                continue
            manifest = Path(job.find_output(plan, "manifest"))
            runs_there = {run: keys[made.run_record][run] for run in finished}
            is_newest = manifest.exists() and manifest.stat().st_mtime_ns >= find_newest(plan, job, known)
            if not is_newest or read_json(manifest).get("runs") != runs_there:
                write_manifest(manifest, made.run_record, runs_there, {})
                written.append(job)
    return written


def _list_keys(standard: Standard) -> dict[str, dict[str, str]]:
    """Return stage → run → key, of all records that are here, whole, and fit; failed trainings are listed under a name of their own too."""
    folder = Path(standard.plan.folder)
    found: dict[str, dict[str, str]] = {TRAIN: {}, EVALUATE: {}, FAILED: {}}
    for name, run in standard.plan.runs.items():
        if not record_path(folder, name, TRAIN).exists():
            continue
        with suppress(RecordError):  # a damaged record is none
            train = read_run(folder, name, TRAIN)
            if find_misfit(standard, run, train, None) is not None:
                continue
            found[TRAIN][name] = train["key"]
            if train["status"] != "ok":
                found[FAILED][name] = train["key"]
            elif record_path(folder, name, EVALUATE).exists():
                evaluate = read_run(folder, name, EVALUATE)
                check_weights(train, evaluate)
                if find_misfit(standard, run, train, evaluate) is None:
                    found[EVALUATE][name] = evaluate["key"]
    return found

"""Damage to a results folder: files that are not what the records beside them say.

Sizes and times are looked at first, and contents where these have changed.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from selectbench.data.kinds import check_entry, list_own_files
from selectbench.errors import RecordError, SelectbenchError, first_line, shorten
from selectbench.planning.jobs import Job
from selectbench.planning.plan import Plan
from selectbench.planning.runs import Run
from selectbench.planning.strict_yaml import read_yaml
from selectbench.records.files import digest_file, digest_value, read_sealed, write_sealed
from selectbench.records.records import EVALUATE, TRAIN, WEIGHTS, check_run, read_record, record_path
from selectbench.stages.prepare_data import PrepareData

Stamp = list[int]  # size, time of modification, time of any change, inode
_CHECKS = 2  # raise it when files are checked for more than before: what is known of them is then forgotten
_KEPT = ("key", "status", "sha256", "runs", "made_from", "method")
MOST_HASHED = 1 << 26  # bytes: larger files are hashed only on demand, since every job that reads one hashes it anyway


class Damage(NamedTuple):
    """A file that is not what it should be.

    Parameters
    ----------
    path : of the file
    problem : what is wrong with it
    remove : what to delete so that it is made again
    make : the file to request then
    """

    path: Path
    problem: str
    remove: tuple[Path, ...]
    make: str


@dataclass
class Inventory:
    """What is known of the files of a results folder, as long as their sizes and times stay the same.

    Parameters
    ----------
    path : of the file that keeps this knowledge between commands
    contents : whether to read every file once, whatever is known of it
    digests, records : path → stamp and SHA-256, and path → stamp and the fields that other files refer to
    data : manifest of a prepared data set → digest of the names, sizes and times of its files when they were last checked
    read : files that were read since the inventory was opened
    """

    path: Path
    contents: bool = False
    digests: dict[str, tuple[Stamp, str]] = field(default_factory=dict)
    records: dict[str, tuple[Stamp, dict[str, Any]]] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def find_digest(self, path: Path, *, whole: bool = False) -> str | None:
        """Return the SHA-256 of a file; None for a large one that is not hashed unless contents are asked for.

        Parameters
        ----------
        path : of the file
        whole : whether contents of large files are asked for as well

        Raises
        ------
        RecordError
            It cannot be read.
        """
        stamp, name = read_stamp(path), str(path)
        known = self.digests.get(name)
        if known is not None and self._is_current(name, stamp, known[0]):
            return known[1]
        if stamp[0] > MOST_HASHED and not (self.contents or whole):
            return None
        try:
            digest = digest_file(path)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror})") from None
        self.digests[name] = (stamp, digest)
        self.read.add(name)
        return digest

    def _is_current(self, name: str, stamp: Stamp, known: Stamp) -> bool:
        """Tell whether what is known of a file still holds."""
        return known == stamp and (not self.contents or name in self.read)

    def find_record(self, path: Path, run: tuple[str, str] | None = None) -> dict[str, Any]:
        """Return the fields of a sealed file that others refer to: those in ``_KEPT``, and the ``weights`` that an evaluation names.

        Parameters
        ----------
        path : of the file
        run : id and stage, if it is the record of a run

        Raises
        ------
        RecordError
            It was edited or damaged, or is the record of another run.
        """
        stamp, name = read_stamp(path), str(path)
        known = self.records.get(name)
        if known is not None and self._is_current(f"{name} as a record", stamp, known[0]):
            return known[1]
        record = read_sealed(path) if run is None else read_record(path)
        if run is not None:
            check_run(path, record, *run)
            check_axes(path, record["run"])
            check_origin(path, record)
        if not isinstance(record.get("sha256") or {}, dict):
            raise RecordError(f"{path}: sha256 is not an object; delete it and run again")
        found = {key: record[key] for key in _KEPT if record.get(key) is not None}
        if run is not None:  # what runs were made from takes much room, and only the training is compared
            origin = found.pop("made_from", None) or {}
            found |= {"training": origin.get("training"), "weights": origin.get("weights")}
        self.records[name] = (stamp, found)
        self.read.add(f"{name} as a record")
        return found

    def save(self) -> None:
        """Keep what is known of files that are still there, for the next command; a folder that cannot be written to is left alone."""
        digests = {name: known for name, known in self.digests.items() if os.path.lexists(name)}
        records = {name: known for name, known in self.records.items() if os.path.lexists(name)}
        try:
            write_sealed(self.path, {"checks": _CHECKS, "digests": digests, "records": records, "data": self.data})
        except OSError:
            return


def open_inventory(plan: Plan, *, contents: bool = False) -> Inventory:
    """Open what is known of a scale's results; an unreadable file, or one of other checks than these, counts as none."""
    path = Path(plan.folder) / "state" / "inventory.json"
    try:
        known = read_sealed(path)
    except RecordError:
        return Inventory(path, contents)
    if known.get("checks") != _CHECKS:
        return Inventory(path, contents)
    return Inventory(path, contents, dict(known["digests"]), dict(known["records"]), dict(known["data"]))


def read_stamp(path: Path) -> Stamp:
    """Return size, times and inode of a file, one of which changes whenever its content does."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def check_axes(path: Path, axes: Mapping[str, Any]) -> None:
    """Raise a ``RecordError`` unless the axes of a run's record are those that its id spells."""
    try:
        run = Run(**{name: value for name, value in axes.items() if name != "id"})
        spelt = run.id
    except (TypeError, ValueError) as error:
        raise RecordError(f"{path}: run: not the axes of a run ({first_line(error)}); delete it and run again") from None
    if spelt != axes["id"]:
        raise RecordError(f"{path}: run: its axes are those of {spelt}, not of {axes['id']}; delete it and run again")


def check_origin(path: Path, record: Mapping[str, Any]) -> None:
    """Raise a ``RecordError`` unless the record of a run has a key, what it was made from, and a reason exactly if it failed."""
    for name, kind in (("key", str), ("made_from", dict)):
        if not isinstance(record[name], kind):
            raise RecordError(f"{path}: {name}: {shorten(repr(record[name]))} is not {'text' if kind is str else 'an object'}")
    failure = record["failure"]
    has_reason = isinstance(failure, dict) and isinstance(failure.get("reason"), str)
    if not (has_reason if record["status"] == "failed" else failure is None):
        raise RecordError(f"{path}: failure: {shorten(repr(failure))} does not fit the status {record['status']!r}")


def find_damage(plan: Plan, jobs: Mapping[str, Job], inventory: Inventory) -> list[Damage]:
    """Return the damage to what jobs have made; files that are not there yet, or no longer, are none.

    Parameters
    ----------
    plan : of the scale
    jobs : first output → job
    inventory : what is known of the files
    """
    found: list[Damage] = []
    for name, job in jobs.items():
        record = Path(job.stage.find_output(plan, job.stage.record))
        if not record.exists():
            continue
        if job.stage.run_record:
            found += _check_batch(plan, name, job, inventory)
        else:
            found += _check_outputs(plan, name, job, record, inventory)
        if isinstance(job.stage, PrepareData) and (damage := _check_data(plan, job.stage, name, inventory)):
            found.append(damage)
    return [*found, *_find_exchanged(plan, jobs, inventory, found)]


def find_missing(plan: Plan, jobs: Mapping[str, Job]) -> Iterator[tuple[Path, str]]:
    """Yield the outputs of jobs that are missing although the job's record, or another output, is there, each with the first output."""
    for name, job in jobs.items():
        outputs = [Path(output) for output in job.outputs]
        if any(output.exists() for output in outputs):
            yield from ((output, name) for output in outputs if not output.exists())


def _check_outputs(plan: Plan, name: str, job: Job, record: Path, inventory: Inventory) -> Iterator[Damage]:
    """Yield the damage to the outputs of a job, according to its record."""
    outputs = tuple(Path(output) for output in job.outputs)
    try:
        found = inventory.find_record(record)
    except RecordError as error:
        yield Damage(record, _get_problem(error, record), outputs, name)
        return
    if (method := job.stage.wildcards.get("method")) and found.get("method", method) not in (method, plan.config.method_file(method)):
        yield Damage(record, f"it is the record of method {found['method']}, not of {method}", outputs, name)
        return
    described = found.get("sha256", {})
    for output in (output for output in outputs if output != record):
        expected = described.get(output.name)
        try:
            if expected is None and described:
                yield Damage(record, f"does not describe {output.name}, which it is beside", outputs, name)
            elif expected is not None and output.exists() and inventory.find_digest(output) not in (None, expected):
                yield Damage(output, f"edited or damaged: its SHA-256 is not the one in {record.name}", outputs, name)
        except RecordError as error:
            yield Damage(output, _get_problem(error, output), outputs, name)


def _check_data(plan: Plan, stage: PrepareData, name: str, inventory: Inventory) -> Damage | None:
    """Return the damage to a prepared data set and to images that stay in class folders, which are read only if a file changed."""
    manifest, entry = Path(name), plan.config.datasets[stage.dataset]
    own = list_own_files(stage.dataset, entry, Path(plan.layout.resources), plan.test_sets(stage.dataset))
    stamps = sorted([str(path), *map(str, read_stamp(path))] for path in (*stage.list_files(plan), *own))
    state, known = digest_value([stamps, plan.test_sets(stage.dataset)]), f"{manifest} as data"
    if inventory.data.get(str(manifest)) == state and (not inventory.contents or known in inventory.read):
        return None
    try:
        check_entry(stage.dataset, entry, Path(plan.layout.resources), plan.test_sets(stage.dataset))
    except SelectbenchError as error:
        file, _, problem = first_line(error).partition("; delete")[0].partition(": ")
        path = Path(file) if Path(file).is_relative_to(manifest.parent) else manifest
        return Damage(path, problem if path == Path(file) else first_line(error), (manifest,), name)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        return Damage(manifest, f"not the manifest of prepared data ({type(error).__name__})", (manifest,), name)
    inventory.data[str(manifest)] = state
    inventory.read.add(known)
    return None


def _check_batch(plan: Plan, name: str, job: Job, inventory: Inventory) -> Iterator[Damage]:
    """Yield the damage to the manifest of a batch and to the records and weights of its runs."""
    manifest, stage, folder = Path(name), str(job.stage.run_record), Path(plan.folder)
    try:
        found = inventory.find_record(manifest)
        runs = found.get("runs")
        if not isinstance(runs, dict):
            raise RecordError(f"{manifest}: not the manifest of a batch")
    except RecordError as error:
        yield Damage(manifest, _get_problem(error, manifest), (manifest,), name)
        return
    is_current = stage == EVALUATE and _is_made_from(found, "trained", job.inputs, inventory)
    for run_id, key in runs.items():
        path = record_path(folder, run_id, stage)
        try:
            if not path.exists():
                yield Damage(path, f"missing, though {manifest} says that it is done", (manifest,), name)
                continue
            record = inventory.find_record(path, (run_id, stage))
            if record["key"] != key:
                yield Damage(path, f"its key is not the one in {manifest}", (path, manifest), name)
            weights, expected = path.with_name(WEIGHTS), record.get("sha256", {}).get(WEIGHTS)
            if stage == TRAIN and expected and weights.exists() and inventory.find_digest(weights) not in (None, expected):
                yield Damage(weights, f"edited or damaged: its SHA-256 is not the one in {path.name}", (weights, path, manifest), name)
            if is_current and not _fits_training(folder, run_id, record, inventory):
                yield Damage(path, "not the evaluation of the training and weights beside it", (path, manifest), name)
        except (RecordError, OSError) as error:
            yield Damage(path, _get_problem(error, path), (path, manifest), name)


def _is_made_from(found: Mapping[str, Any], source: str, inputs: Iterable[str], inventory: Inventory) -> bool:
    """Tell whether the files of one input are those that a record names; if they are not, its job is yet to be done again."""
    named = (found.get("made_from") or {}).get(source)
    if named is None:  # imported, or damaged
        return True
    digests = {inventory.find_digest(path) for path in map(Path, inputs) if path.exists()}
    return set(named) <= digests


def _fits_training(folder: Path, run_id: str, evaluation: Mapping[str, Any], inventory: Inventory) -> bool:
    """Tell whether an evaluation names the key and the weights of its run's training; a damaged training is reported by its own batch."""
    path = record_path(folder, run_id, TRAIN)
    try:
        training = inventory.find_record(path, (run_id, TRAIN)) if path.exists() else None
    except RecordError:
        return True
    if training is None:
        return True
    return (evaluation.get("training"), evaluation.get("weights")) == (training.get("key"), training.get("sha256", {}).get(WEIGHTS))


def _find_exchanged(plan: Plan, jobs: Mapping[str, Job], inventory: Inventory, found: Iterable[Damage]) -> Iterator[Damage]:
    """Yield the records that name the inputs of another job of the same stage as theirs, and not those of their own job.

    A record that fits neither is none of these: after a change of the configuration, its job is yet to be done again. Batches are left
    out, since their records name their runs.
    """
    damaged = {path for damage in found for path in (damage.path, *damage.remove)}
    asked: dict[str, tuple[str, Any]] = {}
    makers: dict[tuple[str, str], str] = {}
    for name, job in jobs.items():
        record = Path(job.stage.find_output(plan, job.stage.record))
        if job.stage.run_record or not job.inputs or damaged.intersection([record, *map(Path, job.inputs)]) or not record.exists():
            continue
        inputs = digest_inputs(plan, job, inventory)
        asked[name] = (job.rule, inputs)
        makers.setdefault((job.rule, digest_value(inputs)), name)
    for name, (rule, inputs) in asked.items():
        record = Path(jobs[name].stage.find_output(plan, jobs[name].stage.record))
        origin = inventory.find_record(record).get("made_from")
        if not isinstance(origin, dict) or not origin or fits(origin, inputs):
            continue
        other = makers.get((rule, digest_value(origin)))
        if other is not None and other != name:
            yield Damage(record, f"made from the inputs of {other}, not from its own", tuple(map(Path, jobs[name].outputs)), name)


def digest_inputs(plan: Plan, job: Job, inventory: Inventory, *, whole: bool = False) -> dict[str, list[str | None]]:
    """Return input → SHA-256 of its files, None for one that is missing or cannot be read, or, unless ``whole`` is set, is large."""
    inputs = {name: map(Path, paths) for name, paths in job.stage.list_input_paths(plan).items()}
    return {name: [_find_digest(path, inventory, whole) for path in paths] for name, paths in inputs.items()}


def _find_digest(path: Path, inventory: Inventory, whole: bool) -> str | None:
    try:
        return inventory.find_digest(path, whole=whole) if path.exists() else None
    except RecordError:
        return None


def fits(origin: Mapping[str, Any], inputs: Mapping[str, list[str | None]]) -> bool:
    """Tell whether a record may have been made from these inputs; those without a digest may be any."""
    if origin.keys() != inputs.keys():
        return False
    same_length = all(isinstance(origin[name], list) and len(origin[name]) == len(digests) for name, digests in inputs.items())
    return same_length and all(
        digest in (None, named) for name, digests in inputs.items() for digest, named in zip(digests, origin[name], strict=True)
    )


def _get_problem(error: Exception, path: Path) -> str:
    """Return what an error says is wrong with a file, without the file's name and the usual remedy."""
    return first_line(error).removeprefix(f"{path}: ").partition("; delete")[0]


def describe_repair(plan: Plan, damages: Iterable[Damage], jobs: Mapping[str, Job]) -> str:
    """Return the command that repairs damage: it makes the files again, or restores them from git where no runs are here."""
    listed = list(damages)
    damaged = list(dict.fromkeys(str(damage.path) for damage in listed))
    has_runs = any(Path(name).exists() for name, job in jobs.items() if job.stage.run_record)
    if not has_runs and is_tracked(damaged):
        return f"git checkout -- {shlex.join(damaged)}"
    remove = list(dict.fromkeys(str(path) for damage in listed for path in damage.remove if os.path.lexists(path)))
    make = list(dict.fromkeys(damage.make for damage in listed))
    return f"rm -rf {shlex.join(remove)} && snakemake --cores 2{spell_config(plan)} -- all {shlex.join(make)}"


def is_tracked(paths: Sequence[str]) -> bool:
    """Tell whether git tracks all of these files."""
    command = ["git", "ls-files", "--error-unmatch", "--", *paths]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def spell_config(plan: Plan) -> str:
    """Return the option that makes ``snakemake`` run this plan, where it differs from ``config/config.yaml``; empty if it does not."""
    path = Path("config/config.yaml")
    usual: Mapping[str, Any] = read_yaml(path, path) if path.exists() else {}
    asked: Mapping[str, Any] = plan.config.main
    differing = {name: value for name, value in asked.items() if usual.get(name) != value}
    spelt = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in differing.items()]
    return f" --config {shlex.join(spelt)}" if spelt else ""


def refuse_damage(plan: Plan, jobs: Mapping[str, Job]) -> None:
    """Raise for damage to the results of a scale.

    Raises
    ------
    RecordError
        In one line that names the first damaged file and the command that repairs all of them.
    """
    inventory = open_inventory(plan)
    damages = find_damage(plan, jobs, inventory)
    inventory.save()
    if damages:
        first, others = damages[0], f" (and {len(damages) - 1} more)" if len(damages) > 1 else ""
        raise RecordError(f"{first.path}: {first.problem}{others}; to repair: {describe_repair(plan, damages, jobs)}")

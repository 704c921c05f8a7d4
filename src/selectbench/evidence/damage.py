"""Damage to a results folder: files that are not what the records beside them say.

Sizes and times are looked at first, and contents where these have changed.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from selectbench.errors import RecordError, first_line
from selectbench.planning.jobs import Job
from selectbench.planning.plan import Plan
from selectbench.planning.runs import Run
from selectbench.records.files import digest_file, read_sealed, write_sealed
from selectbench.records.records import EVALUATE, TRAIN, WEIGHTS, check_run, read_record, record_path

Stamp = list[int]  # size, time of modification, time of any change, inode
_KEPT = ("key", "status", "sha256", "runs", "made_from")
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
    read : files that were read since the inventory was opened
    """

    path: Path
    contents: bool = False
    digests: dict[str, tuple[Stamp, str]] = field(default_factory=dict)
    records: dict[str, tuple[Stamp, dict[str, Any]]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def find_digest(self, path: Path) -> str | None:
        """Return the SHA-256 of a file; None for a large one that is not hashed unless contents are asked for."""
        stamp, name = read_stamp(path), str(path)
        known = self.digests.get(name)
        if known is not None and self._is_current(name, stamp, known[0]):
            return known[1]
        if stamp[0] > MOST_HASHED and not self.contents:
            return None
        digest = digest_file(path)
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
        if not isinstance(record.get("sha256") or {}, dict):
            raise RecordError(f"{path}: sha256 is not an object; delete it and run again")
        found = {key: record[key] for key in _KEPT if record.get(key) is not None}
        if run is not None:  # what runs were made from takes much room, and only the weights are compared
            found["weights"] = (found.pop("made_from", None) or {}).get("weights")
        self.records[name] = (stamp, found)
        self.read.add(f"{name} as a record")
        return found

    def save(self) -> None:
        """Keep what is known, for the next command; a folder that cannot be written to is left alone."""
        try:
            write_sealed(self.path, {"digests": self.digests, "records": self.records})
        except OSError:
            return


def open_inventory(plan: Plan, *, contents: bool = False) -> Inventory:
    """Open what is known of a scale's results; an unreadable file counts as none."""
    path = Path(plan.folder) / "state" / "inventory.json"
    try:
        known = read_sealed(path)
        return Inventory(path, contents, dict(known["digests"]), dict(known["records"]))
    except (RecordError, KeyError, TypeError, ValueError):
        return Inventory(path, contents)


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
        check = _check_batch(plan, name, job, inventory) if job.stage.run_record else _check_outputs(name, job, record, inventory)
        found += check
    return [*found, *_find_exchanged(plan, jobs, inventory, found)]


def find_missing(plan: Plan, jobs: Mapping[str, Job]) -> Iterator[tuple[Path, str]]:
    """Yield the outputs of jobs that are missing although the job's record, or another output, is there, each with the first output."""
    for name, job in jobs.items():
        outputs = [Path(output) for output in job.outputs]
        if any(output.exists() for output in outputs):
            yield from ((output, name) for output in outputs if not output.exists())


def _check_outputs(name: str, job: Job, record: Path, inventory: Inventory) -> Iterator[Damage]:
    """Yield the damage to the outputs of a job, according to its record."""
    outputs = tuple(Path(output) for output in job.outputs)
    try:
        described = inventory.find_record(record).get("sha256", {})
    except RecordError as error:
        yield Damage(record, _get_problem(error, record), outputs, name)
        return
    for output in (output for output in outputs if output != record):
        expected = described.get(output.name)
        if expected is None:
            yield Damage(record, f"does not describe {output.name}, which it is beside", outputs, name)
        elif output.exists() and inventory.find_digest(output) not in (None, expected):
            yield Damage(output, f"edited or damaged: its SHA-256 is not the one in {record.name}", outputs, name)


def _check_batch(plan: Plan, name: str, job: Job, inventory: Inventory) -> Iterator[Damage]:
    """Yield the damage to the manifest of a batch and to the records and weights of its runs."""
    manifest, stage, folder = Path(name), str(job.stage.run_record), Path(plan.folder)
    try:
        runs = inventory.find_record(manifest).get("runs")
        if not isinstance(runs, dict):
            raise RecordError(f"{manifest}: not the manifest of a batch")
    except RecordError as error:
        yield Damage(manifest, _get_problem(error, manifest), (manifest,), name)
        return
    for run_id, key in runs.items():
        path = record_path(folder, run_id, stage)
        if not path.exists():
            yield Damage(path, f"missing, though {manifest} says that it is done", (manifest,), name)
            continue
        try:
            record = inventory.find_record(path, (run_id, stage))
        except RecordError as error:
            yield Damage(path, _get_problem(error, path), (path, manifest), name)
            continue
        if record["key"] != key:
            yield Damage(path, f"its key is not the one in {manifest}", (path, manifest), name)
        weights, expected = path.with_name(WEIGHTS), (record.get("sha256") or {}).get(WEIGHTS)
        if stage == TRAIN and expected and weights.exists() and inventory.find_digest(weights) not in (None, expected):
            yield Damage(weights, f"edited or damaged: its SHA-256 is not the one in {path.name}", (weights, path, manifest), name)
        if stage == EVALUATE and not _fits_training(folder, run_id, record, inventory):
            yield Damage(path, "not the evaluation of the trained weights beside it", (path, manifest), name)


def _fits_training(folder: Path, run_id: str, evaluation: Mapping[str, Any], inventory: Inventory) -> bool:
    """Tell whether an evaluation names the weights of its run's training; a damaged training is reported by its own batch."""
    path = record_path(folder, run_id, TRAIN)
    try:
        training = inventory.find_record(path, (run_id, TRAIN)) if path.exists() else None
    except RecordError:
        return True
    return training is None or evaluation["weights"] == (training.get("sha256") or {}).get(WEIGHTS)


def _find_exchanged(plan: Plan, jobs: Mapping[str, Job], inventory: Inventory, found: Iterable[Damage]) -> Iterator[Damage]:
    """Yield the records that name the inputs of another job of the same stage as theirs, and not those of their own job.

    A record that fits neither is none of these: after a change of the configuration, its job is yet to be done again.
    """
    damaged = {path for damage in found for path in (damage.path, *damage.remove)}
    for name, job in jobs.items():
        record = Path(job.stage.find_output(plan, job.stage.record))
        if damaged.intersection([record, *map(Path, job.inputs)]) or not record.exists():
            continue
        origin = inventory.find_record(record).get("made_from")
        if not origin or _fits(origin, _digest_inputs(plan, job, inventory)):
            continue
        others = (other for other, made in jobs.items() if made.rule == job.rule and _digest_inputs(plan, made, inventory) == origin)
        if (other := next(others, None)) is not None:
            yield Damage(record, f"made from the inputs of {other}, not from its own", tuple(map(Path, job.outputs)), name)


def _digest_inputs(plan: Plan, job: Job, inventory: Inventory) -> dict[str, list[str | None]]:
    """Return input → SHA-256 of its files, None for one that is missing or too large."""
    inputs = {name: map(Path, paths) for name, paths in job.stage.list_input_paths(plan).items()}
    return {name: [inventory.find_digest(path) if path.exists() else None for path in paths] for name, paths in inputs.items()}


def _fits(origin: object, inputs: Mapping[str, list[str | None]]) -> bool:
    """Tell whether a record may have been made from these inputs; those without a digest may be any."""
    if not isinstance(origin, dict) or origin.keys() != inputs.keys():
        return False
    same_length = all(isinstance(origin[name], list) and len(origin[name]) == len(digests) for name, digests in inputs.items())
    return same_length and all(
        digest in (None, named) for name, digests in inputs.items() for digest, named in zip(digests, origin[name], strict=True)
    )


def _get_problem(error: RecordError, path: Path) -> str:
    """Return what an error says is wrong with a file, without the file's name and the usual remedy."""
    return str(error).removeprefix(f"{path}: ").partition("; delete")[0]


def describe_repair(plan: Plan, damages: Iterable[Damage], jobs: Mapping[str, Job]) -> str:
    """Return the command that repairs damage: it makes the files again, or restores them from git where their inputs are not here."""
    listed = list(damages)
    remove = list(dict.fromkeys(str(path) for damage in listed for path in damage.remove if path.exists()))
    make = list(dict.fromkeys(damage.make for damage in listed))
    if any(not Path(file).exists() for name in make for file in jobs[name].inputs):
        return f"git checkout -- {shlex.join(dict.fromkeys(str(damage.path) for damage in listed))}"
    config = "" if plan.scale == read_default_scale() else f" --config scale={plan.scale}"
    return f"rm -f {shlex.join(remove)} && snakemake --cores 2{config} -- all {shlex.join(make)}"


def read_default_scale() -> str | None:
    """Return the scale that the workflow runs unless told otherwise."""
    from selectbench.planning.strict_yaml import read_yaml

    path = Path("config/config.yaml")
    return str(read_yaml(path, path).get("scale")) if path.exists() else None


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

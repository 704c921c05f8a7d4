"""Damage to batches: found from what manifests, records and weights say of each other, whatever sealed JSON they hold."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from artefact_fixtures import DIGITS, make_pair

from selectbench.evidence.damage import Damage, find_damage, open_inventory
from selectbench.planning.jobs import Job, list_jobs
from selectbench.planning.plan import Plan, load_plan
from selectbench.records.files import digest_file, digest_value, read_sealed, write_json, write_sealed, write_text
from selectbench.records.records import EVALUATE, TRAIN, WEIGHTS, read_record, record_path, write_record


class Batch(NamedTuple):
    """Two finished runs, and the manifests of their training and evaluation."""

    plan: Plan
    jobs: dict[str, Job]
    manifests: dict[str, Path]
    runs: list[str]

    def find(self, **options: bool) -> list[Damage]:
        return find_damage(self.plan, self.jobs, open_inventory(self.plan, **options))

    def path(self, stage: str, number: int = 0) -> Path:
        return record_path(Path(self.plan.folder), self.runs[number], stage)


def write_runs(folder: Path, seed: int) -> tuple[str, dict[str, str]]:
    """Write weights and the records of a run; return its id, and stage → key."""
    train, evaluate = make_pair(DIGITS, "random", "0.3", seed)
    run = train["run"]["id"]
    weights = record_path(folder, run, TRAIN).with_name(WEIGHTS)
    write_text(weights, f"weights {seed}")
    origin = evaluate["made_from"] | {"weights": digest_file(weights)}
    write_record(record_path(folder, run, TRAIN), train | {"sha256": {WEIGHTS: digest_file(weights)}})
    write_record(record_path(folder, run, EVALUATE), evaluate | {"made_from": origin, "key": digest_value(origin)})
    return run, {TRAIN: train["key"], EVALUATE: digest_value(origin)}


@pytest.fixture
def batch(root, tmp_path):
    plan = load_plan(root, {"scale": "smoke", "results": str(tmp_path), "papers": ["data_agent"]})
    jobs = list_jobs(plan)
    names = {stage: next(name for name, job in jobs.items() if job.stage.run_record == stage) for stage in (TRAIN, EVALUATE)}
    keys = dict(write_runs(Path(plan.folder), seed) for seed in (0, 1))
    for stage, name in names.items():
        write_sealed(Path(name), {"stage": stage, "runs": {run: key[stage] for run, key in keys.items()}, "made_from": {}})
    return Batch(plan, {name: jobs[name] for name in names.values()}, {stage: Path(name) for stage, name in names.items()}, list(keys))


def test_whole_batches_and_those_that_are_not_done_have_no_damage(batch):
    assert batch.find() == batch.find(contents=True) == []
    for path in (*batch.manifests.values(), batch.path(TRAIN), batch.path(EVALUATE)):
        path.unlink()
    assert batch.find() == []


def test_damage_to_a_run_names_its_files_and_the_manifest_that_makes_them_again(batch):
    path, manifest = batch.path(TRAIN, 1), batch.manifests[TRAIN]
    content = path.read_bytes()
    path.write_text("{", encoding="utf-8")
    (damage,) = batch.find()
    assert (damage.path, damage.remove, damage.make) == (path, (path, manifest), str(manifest))
    assert damage.problem.startswith("not valid JSON")
    path.unlink()
    assert batch.find() == [Damage(path, f"missing, though {manifest} says that it is done", (manifest,), str(manifest))]
    path.write_bytes(content)
    assert batch.find() == []


def test_records_and_weights_of_other_runs_are_told(batch):
    first, second = batch.path(TRAIN), batch.path(TRAIN, 1)
    kept = first.read_bytes(), second.read_bytes()
    first.write_bytes(kept[1])
    (damage,) = (damage for damage in batch.find() if damage.path == first)
    assert damage.problem == f"run.id is {batch.runs[1]!r} and should be {batch.runs[0]!r}, as its path says"
    first.write_bytes(kept[0])
    write_text(first.with_name(WEIGHTS), "weights 1")
    (damage,) = batch.find()
    assert (damage.path, damage.remove[:2]) == (first.with_name(WEIGHTS), (first.with_name(WEIGHTS), first))
    assert damage.problem == "edited or damaged: its SHA-256 is not the one in train.json"
    write_record(first, read_record(first) | {"sha256": {WEIGHTS: digest_file(first.with_name(WEIGHTS))}})
    (damage,) = batch.find()
    assert (damage.path, damage.problem) == (batch.path(EVALUATE), "not the evaluation of the training and weights beside it")
    first.with_name(WEIGHTS).unlink()  # as after an import
    assert [damage.path for damage in batch.find()] == [batch.path(EVALUATE)]


def test_axes_and_keys_that_do_not_fit_are_told(batch):
    path = batch.path(TRAIN)
    record = read_record(path)
    write_record(path, record | {"run": record["run"] | {"seed": 7}})
    (damage,) = batch.find()
    assert damage.path == path and damage.problem.startswith("run: its axes are those of ")
    for axes in ({"id": batch.runs[0]}, record["run"] | {"more": 1}):
        write_record(path, record | {"run": axes})
        (damage,) = batch.find()
        assert damage.path == path and damage.problem.startswith("run: not the axes of a run (") and "\n" not in damage.problem
    origin = record["made_from"] | {"data": "other"}
    write_record(path, record | {"made_from": origin, "key": digest_value(origin)})
    evaluation = (batch.path(EVALUATE), "not the evaluation of the training and weights beside it")
    told = [(damage.path, damage.problem) for damage in batch.find()]
    assert told == [(path, f"its key is not the one in {batch.manifests[TRAIN]}"), evaluation]


@pytest.mark.parametrize(
    "content",
    [{}, {"stage": "../..", "runs": None}, {"stage": TRAIN, "runs": [5]}, {"runs": 5}, {"runs": {}, "sha256": [1]}],
)
def test_manifests_that_list_no_runs_are_refused(batch, content):
    write_sealed(batch.manifests[TRAIN], content)
    (damage,) = batch.find()
    assert damage.path == batch.manifests[TRAIN] and damage.problem in ("not the manifest of a batch", "sha256 is not an object")
    write_json(batch.manifests[TRAIN], content)
    (damage,) = batch.find()
    assert damage.path == batch.manifests[TRAIN] and damage.problem.startswith("has no digest of itself")


@pytest.mark.parametrize("made_from", [None, 5, [], {"data": 5}, {"data": [None], "subsets": "x"}])
def test_manifests_made_from_anything_end_in_no_traceback(batch, made_from):
    write_sealed(batch.manifests[TRAIN], read_sealed(batch.manifests[TRAIN]) | {"made_from": made_from})
    assert batch.find() == []


@pytest.mark.parametrize("known", ["{", "[]", '{"digests": {}, "records": {}}', '{"digests": {"a": 5}, "records": 3, "digest": "0"}'])
def test_an_inventory_that_is_not_one_counts_as_none(batch, known):
    inventory = open_inventory(batch.plan)
    write_text(inventory.path, known)
    assert batch.find() == []
    inventory = open_inventory(batch.plan)
    assert (inventory.digests, inventory.records) == ({}, {})
    find_damage(batch.plan, batch.jobs, inventory)
    inventory.save()
    assert open_inventory(batch.plan).records.keys() == inventory.records.keys() != set()


def test_what_is_known_is_looked_at_again_once_a_file_has_changed_or_contents_are_asked_for(batch):
    inventory = open_inventory(batch.plan)
    find_damage(batch.plan, batch.jobs, inventory)
    assert inventory.read
    inventory.save()
    again = open_inventory(batch.plan)
    find_damage(batch.plan, batch.jobs, again)
    assert again.read == set()
    write_text(batch.path(TRAIN).with_name(WEIGHTS), "weights 0")
    again = open_inventory(batch.plan)
    find_damage(batch.plan, batch.jobs, again)
    assert again.read == {str(batch.path(TRAIN).with_name(WEIGHTS))}
    whole = open_inventory(batch.plan, contents=True)
    find_damage(batch.plan, batch.jobs, whole)
    assert whole.read == inventory.read


def test_an_evaluation_that_is_yet_to_be_done_again_is_no_damage(batch):
    """A training was repeated, for another recipe, and the workflow was stopped before the evaluation."""
    trained = {name: [digest_file(batch.manifests[TRAIN])] for name in ("trained",)}
    evaluated = read_sealed(batch.manifests[EVALUATE])
    write_sealed(batch.manifests[EVALUATE], evaluated | {"made_from": trained})
    jobs = {name: replace(job, inputs=(str(batch.manifests[TRAIN]),)) for name, job in batch.jobs.items()}
    current = batch._replace(jobs=jobs)
    assert current.find() == []
    weights = batch.path(TRAIN).with_name(WEIGHTS)
    write_text(weights, "other weights")
    record = read_record(batch.path(TRAIN))
    write_record(batch.path(TRAIN), record | {"sha256": {WEIGHTS: digest_file(weights)}})
    assert [damage.path for damage in current.find()] == [batch.path(EVALUATE)]
    manifest = read_sealed(batch.manifests[TRAIN])
    write_sealed(batch.manifests[TRAIN], manifest | {"made_from": {"subsets": ["0" * 64]}})
    assert current.find() == []


@pytest.mark.parametrize(
    ("field", "value"), [("key", None), ("made_from", None), ("made_from", []), ("failure", "because"), ("status", "failed"), ("sha256", 1)]
)
def test_records_of_another_shape_are_told_in_one_line(batch, field, value):
    path = batch.path(TRAIN)
    write_record(path, read_record(path) | {field: value})
    damages = [damage for damage in batch.find() if damage.path == path]
    assert len(damages) == 1
    assert len(damages[0].problem.splitlines()) == 1


def test_a_folder_in_the_place_of_a_file_is_told(batch):
    path = batch.path(EVALUATE)
    path.unlink()
    path.mkdir()
    assert [damage.path for damage in batch.find()] == [path]

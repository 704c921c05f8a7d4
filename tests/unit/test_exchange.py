"""Runs made elsewhere: they are added if they fit, refused with the reason if not, and nothing that is here is ever overwritten."""

import io
import json
import re
import subprocess
import sys
import zipfile
from copy import copy, deepcopy
from dataclasses import asdict
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selectbench import cli
from selectbench.errors import RecordError, SelectbenchError
from selectbench.evidence.bundle import ROWS, read_bundle, write_bundle
from selectbench.evidence.damage import find_damage, open_inventory
from selectbench.evidence.exchange import export_runs, gather_runs, import_files
from selectbench.evidence.fitting import Standard
from selectbench.evidence.marks import drop_outdated
from selectbench.evidence.merging import merge_files
from selectbench.planning.jobs import list_jobs
from selectbench.planning.layout import Layout
from selectbench.planning.plan import load_plan
from selectbench.records import files
from selectbench.records.checks import check_row
from selectbench.records.files import DIGEST, digest_array, digest_file, digest_value, seal, write_arrays, write_sealed
from selectbench.records.records import (
    COLLECTION,
    EVALUATE,
    TRAIN,
    merge_record,
    read_run,
    record_path,
    split_row,
    write_collection,
    write_record,
    write_run,
)
from selectbench.stages._origins import abridge_spec
from selectbench.stages._subsets import find_subset

ROOT = Path(__file__).parents[2]
FULL = "digits/none-to-convnet/equal_epochs/full/keep-1/seed-0"
SAMPLED = "digits/none-to-convnet/equal_epochs/infobatch/keep-0.5/seed-0"
RANDOM = "digits/none-to-convnet/equal_epochs/random/keep-0.5/seed-{}"
SPLITS = {"pool": {"num": 8}, "test": {"num": 4}, "mnist_shift": {"num": 4}}
PROVENANCE = {
    **{"code": "0", "command": "train", "commit": None, "dirty": None, "device": "cpu", "host": "h", "python": "3.11.7"},
    **{"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:00+00:00", "version": "0.1.0", "versions": {"torch": "2.9"}},
}


@cache
def load_smoke():
    """Plan four runs at scale smoke."""
    plan = load_plan(ROOT, {"scale": "smoke", "papers": ["data_agent"]})
    del plan.config.scale["repeats"]  # no table has all of its runs
    plan.runs = {run: plan.runs[run] for run in (FULL, SAMPLED, RANDOM.format(0), RANDOM.format(1))}
    assert set(plan._test_sets_of) > {run.cell for run in plan.runs.values()}
    return plan


def make_plan(folder: Path):
    """Return a plan of four runs, with results below a folder, that a test may change."""
    plan = copy(load_smoke())
    plan.config, plan.runs = deepcopy(plan.config), dict(plan.runs)
    plan.layout = Layout(str(folder), f"{folder}/smoke", str(folder / "data"))
    return plan


def take_ids(run) -> np.ndarray:
    return np.arange(8 if run.method == "full" else 4) + (run.method == "random") * run.seed


def make_run(plan, name: str, top1: float = 90.0, loss: float = 0.5, failed: str = "", minutes: int = 1, **changes) -> None:
    """Write the records, and the subset, of a run that fits a plan.

    Parameters
    ----------
    top1, loss : its result
    failed : a stage that fails
    minutes : how long after the start it was finished
    changes : values of the specification of the training that differ
    """
    run, standard, folder = plan.runs[name], Standard(plan), Path(plan.folder)
    sampler = None if plan.has_subset(run) else standard.find_chosen(run)
    ids = take_ids(run)
    if sampler is None:
        make_choice(plan, run)
    asked = standard.find_spec(TRAIN, run)
    spec = {**asked, **changes}
    tests = {test: digest_value(SPLITS[test]) for test in {plan.id_test_set(run.dataset), *plan.run_test_sets(run)}}
    origin = {
        "run": name,
        "spec": abridge_spec(spec),
        "choice": sampler or digest_array(ids),
        "data": digest_value(SPLITS["pool"]),
        "start": None,
    }
    provenance = {**PROVENANCE, "finished": f"2026-01-01T00:{minutes:02}:00+00:00"}
    shared = {"status": "ok", "failure": None, "provenance": provenance}
    failure = {"status": "failed", "failure": {"reason": "the loss is nan", "log_tail": "…"}}
    axes, weights = {"id": name, **asdict(run)}, digest_value([name, loss])
    trained = {
        **shared,
        **{"key": digest_value(origin), "made_from": origin, "num_pool": 8, "num_kept": len(ids), "best_epoch": None},
        **{"noise": None, "tokens": None, "warm_start": None, "model": spec["model"], "recipe": spec["recipe"]},
        "seeds": {"init": 1, "selection": 2, "streams": ["target", "digits", run.seed]},
        "sha256": {"model.pt": weights},
        "training": {
            **{"epochs": 8, "steps": 8, "micro_batch": None, "sample_visits": 32, "forward_visits": 32, "backward_visits": 32},
            **{"wall_s": 1.0 * minutes, "encode_s": 0.0, "final_loss": loss, "unreadable": 0, "peak_memory_mb": 1.0},
            **{"peak_device_memory_mb": None, "test_top1_by_epoch": []},
        },
        "selection": {
            **{"proxy_share": 0.0, "sources": {}, "score_s": 0.1, "select_s": 0.1, "wall_s": 0.2, "sample_visits": 0.0},
            **{"peak_memory_mb": None, "subset_sha256": None if sampler else digest_array(ids), "class_counts": None},
        },
    }
    if failed == TRAIN:
        trained = {**shared, **failure, "key": trained["key"], "made_from": origin}
    write_run(folder, TRAIN, axes, trained)
    if failed == TRAIN:
        return
    spec = abridge_spec(standard.find_spec(EVALUATE, run))
    origin = {"run": name, "spec": spec, "training": trained["key"], "weights": weights, "tests": tests}
    result = {"test": {test: {"top1": top1, "loss": 0.3, "num": 4, "unreadable": 0} for test in tests}, "wall_s": 0.1 * minutes}
    evaluated = {**shared, "key": digest_value(origin), "made_from": origin, **result}
    if failed == EVALUATE:
        evaluated |= failure | {"test": None, "wall_s": None}
    write_run(folder, EVALUATE, axes, evaluated)


def make_choice(plan, run) -> None:
    """Write the subset of a run and its record."""
    job, ids = find_subset(plan, run).job, take_ids(run)
    path, record = (Path(job.find_output(plan, name)) for name in ("subsets", "record"))
    write_arrays(path, {run.keep: ids})
    subsets = {run.keep: {"failure": None, "num_kept": len(ids), "sha256": digest_array(ids), "class_counts": [len(ids)], "cost": {}}}
    write_record(record, {"status": "ok", "subsets": subsets, "sha256": {path.name: digest_file(path)}, "provenance": PROVENANCE})


def make_all(plan, **options) -> None:
    for name in plan.runs:
        make_run(plan, name, **options)


def list_contents(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds, without what concerns this machine alone."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "/state/" not in path.as_posix()
    }


def write_rows(path: Path, rows) -> Path:
    write_collection(path, rows)
    return path


def reseal(row: dict) -> dict:
    """Return an edited row with the digests that it should have."""
    row = deepcopy(row)
    row["records"] = {TRAIN: None, EVALUATE: None}
    shared = {name: value for name, value in row.items() if name not in ("test", "evaluation", "records", "imported", DIGEST)}
    if row["evaluation"] is not None:
        shared |= {"status": "ok", "failure": None}
        row["records"][EVALUATE] = seal({"schema": row["schema"], "run": row["run"], "test": row["test"], **row["evaluation"]})[DIGEST]
    row["records"][TRAIN] = seal(shared)[DIGEST]
    return seal(row)


@pytest.fixture
def there(tmp_path):
    """A finished results folder elsewhere."""
    plan = make_plan(tmp_path / "there")
    make_all(plan)
    return plan


@pytest.fixture
def here(tmp_path):
    return make_plan(tmp_path / "here")


@pytest.fixture
def bundle(there, tmp_path) -> Path:
    export_runs(there, tmp_path / "runs.zip")
    return tmp_path / "runs.zip"


def test_the_rows_of_these_tests_are_such_as_stages_write(there):
    for name in there.runs:
        check_row(name, merge_record(Path(there.folder), name))


def test_runs_arrive_byte_for_byte_with_their_subsets_and_say_where_they_come_from(there, here, bundle):
    outcome = import_files(here, [bundle])
    assert (sorted(outcome.added), outcome.is_clean) == (sorted(here.runs), True)
    theirs, ours = list_contents(Path(there.folder)), list_contents(Path(here.folder))
    assert {name: ours[name] for name in theirs} == theirs
    assert {name.rpartition("/")[2] for name in set(ours) - set(theirs) if not name.startswith("batches/")} == {"imported.json"}
    row = merge_record(Path(here.folder), FULL)
    assert row["imported"]["file"] == "runs.zip"
    assert row["imported"]["sha256"] == digest_file(bundle)
    check_row("row", row)
    assert split_row(row) == split_row(merge_record(Path(there.folder), FULL))
    assert "imported" not in merge_record(Path(there.folder), FULL)


def test_manifests_of_complete_batches_are_those_that_the_stages_would_write(here, bundle):
    import_files(here, [bundle])
    for stage in (TRAIN, EVALUATE):
        (name,) = here.batches[stage]
        manifest = json.loads((Path(here.folder) / "batches" / stage / f"{name}.json").read_text(encoding="utf-8"))
        order = [run.id for run in here.batches[stage][name]]
        assert manifest["runs"] == {run: read_run(Path(here.folder), run, stage)["key"] for run in order}
    assert not find_damage(here, list_jobs(here), open_inventory(here))


def test_manifests_are_newer_than_what_they_are_made_from(here, bundle):
    import_files(here, [bundle])
    times = {name: (Path(here.folder) / name).stat().st_mtime_ns for name in list_contents(Path(here.folder))}
    subsets, (trained,), (evaluated,) = (
        [time for name, time in times.items() if name.startswith(place)] for place in ("subsets/", "batches/train/", "batches/evaluate/")
    )
    assert max(subsets) < trained < evaluated


def test_an_import_makes_nothing_newer_than_what_was_made_from_it_unless_data_are(here, bundle):
    import_files(here, [bundle])
    path = Path(find_subset(here, here.runs[FULL]).job.find_output(here, "subsets"))
    assert path.stat().st_mtime == datetime.fromisoformat(PROVENANCE["finished"]).timestamp()
    manifest = Path(here.layout.resources) / "digits/prepared/manifest.json"
    write_sealed(manifest, {"splits": SPLITS})
    assert import_files(here, [bundle]).is_clean
    (trained,), (evaluated,) = ((Path(here.folder) / "batches" / stage).rglob("0.json") for stage in (TRAIN, EVALUATE))
    times = [file.stat().st_mtime_ns for file in (manifest, path, trained, evaluated)]
    assert times == sorted(set(times))


def test_an_incomplete_batch_has_no_manifest(here, there, tmp_path):
    write_rows(tmp_path / "some.jsonl", [merge_record(Path(there.folder), FULL)])
    assert import_files(here, [tmp_path / "some.jsonl"]).added == [FULL]
    assert not (Path(here.folder) / "batches").exists()
    rest = [merge_record(Path(there.folder), name) for name in there.runs if name != FULL]
    import_files(here, [write_rows(tmp_path / "rest.jsonl", rest)])
    assert len(list((Path(here.folder) / "batches").rglob("0.json"))) == 2


def test_importing_twice_changes_nothing(here, bundle):
    import_files(here, [bundle])
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(here.folder).rglob("*.*") if path.is_file()}
    outcome = import_files(here, [bundle])
    assert (outcome.added, len(outcome.present), outcome.is_clean) == ([], 4, True)
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(here.folder).rglob("*.*") if path.is_file()}


def test_a_dry_run_tells_the_same_and_writes_nothing(here, bundle):
    outcome = import_files(here, [bundle], dry_run=True)
    assert not Path(here.folder).exists()
    assert outcome == import_files(here, [bundle])


def test_failed_runs_travel_too(here, there, tmp_path):
    make_run(there, FULL, failed=TRAIN)
    make_run(there, SAMPLED, failed=EVALUATE)
    export_runs(there, tmp_path / "runs.zip")
    assert len(import_files(here, [tmp_path / "runs.zip"]).added) == 4
    assert [merge_record(Path(here.folder), name)["status"] for name in (FULL, SAMPLED)] == ["failed", "failed"]
    (manifest,) = (Path(here.folder) / "batches/evaluate").rglob("0.json")
    assert FULL not in json.loads(manifest.read_text(encoding="utf-8"))["runs"]
    assert import_files(here, [tmp_path / "runs.zip"]).is_clean


def test_collected_records_are_exported_where_the_runs_own_are_gone(there, tmp_path):
    rows = [merge_record(Path(there.folder), name) for name in sorted(there.runs)]
    write_rows(Path(there.folder) / "data_agent" / COLLECTION, rows)
    record_path(Path(there.folder), FULL, TRAIN).unlink()
    assert gather_runs(there).rows == {row["run"]["id"]: row for row in rows}


def test_papers_that_collected_another_row_of_a_run_are_named(there):
    folder = Path(there.folder)
    there.config.papers["other"] = there.config.papers["data_agent"]
    paths = [folder / paper / COLLECTION for paper in ("data_agent", "other")]
    for path in paths:
        write_rows(path, [merge_record(folder, FULL)])
    record_path(folder, FULL, TRAIN).unlink()
    assert FULL in gather_runs(there).rows
    make_run(there, FULL, top1=91.5)
    write_rows(paths[1], [merge_record(folder, FULL)])
    assert FULL in gather_runs(there).rows
    record_path(folder, FULL, TRAIN).unlink()
    with pytest.raises(
        RecordError, match=r"data_agent/records\.jsonl\.gz, .*other/records\.jsonl\.gz: digits.*: not the same row"
    ) as caught:
        gather_runs(there)
    assert "\n" not in str(caught.value)


def test_the_same_runs_give_the_same_bytes(there, tmp_path):
    for name in ("a.zip", "b.zip"):
        export_runs(there, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_an_existing_file_is_not_overwritten(there, tmp_path):
    (tmp_path / "a.zip").write_text("mine", encoding="utf-8")
    for write in (lambda: export_runs(there, tmp_path / "a.zip"), lambda: merge_files([], tmp_path / "a.zip")):
        with pytest.raises(SelectbenchError, match=r"a\.zip: already exists"):
            write()
    assert (tmp_path / "a.zip").read_text(encoding="utf-8") == "mine"


def test_a_folder_without_runs_says_so(here, tmp_path):
    with pytest.raises(SelectbenchError, match="no finished run of scale smoke"):
        export_runs(here, tmp_path / "a.zip")


def test_an_import_keeps_the_origin_before(there, here, bundle, tmp_path):
    import_files(here, [bundle])
    export_runs(here, tmp_path / "again.zip")
    third = make_plan(tmp_path / "third")
    import_files(third, [tmp_path / "again.zip"])
    imported = merge_record(Path(third.folder), FULL)["imported"]
    assert (imported["file"], imported["before"]["file"]) == ("again.zip", "runs.zip")
    check_row("row", merge_record(Path(third.folder), FULL))


def test_a_run_that_was_trained_again_is_no_longer_imported(here, bundle):
    import_files(here, [bundle])
    make_run(here, FULL, loss=0.7)
    assert "imported" not in merge_record(Path(here.folder), FULL)
    assert "imported" in merge_record(Path(here.folder), SAMPLED)


# Refusals


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"code": "abc"}, r"code: made by abc, here [0-9a-f]{16}"),
        ({"arithmetic": "native"}, "arithmetic: native, here avx2"),
        ({"threads": 4}, "threads: 4, here 1"),
        ({"surprise": 1}, "surprise: 1, here absent"),
    ],
)
def test_a_run_made_in_another_way_is_refused_with_the_reason(there, here, tmp_path, changes, reason):
    make_run(there, FULL, **changes)
    check_refusal(there, here, tmp_path, reason)


def test_another_recipe_or_model_is_refused_with_its_first_difference(there, here, tmp_path):
    spec = Standard(there).find_spec(TRAIN, there.runs[FULL])
    make_run(there, FULL, recipe={**spec["recipe"], "epochs": 12})
    check_refusal(there, here, tmp_path, "recipe: differs in epochs: 12, here 8")
    make_run(there, FULL, recipe={**spec["recipe"], "augment": {**spec["recipe"]["augment"], "flip": True}})
    check_refusal(there, here, tmp_path / "b", r"recipe: differs in augment\.flip: True, here False")
    make_run(there, FULL, model={**spec["model"], "width": 3})
    check_refusal(there, here, tmp_path / "c", r"model: differs in width: 3, here \d+")


def test_another_sampler_is_refused(there, here, tmp_path):
    entry = there.config.methods["infobatch"]
    entry["parameters"] = {"anneal": 0.5}
    there.config.methods["infobatch"] = entry
    make_run(there, SAMPLED)
    here.config.methods["infobatch"] = {**entry, "parameters": {}}
    check_refusal(there, here, tmp_path, "sampler: differs in parameters.anneal: 0.5, here absent", SAMPLED)


def test_other_data_are_refused_where_they_are_prepared(there, here, tmp_path):
    manifest = Path(here.layout.resources) / "digits/prepared/manifest.json"
    write_sealed(manifest, {"splits": {**SPLITS, "pool": {"num": 9}}})
    check_refusal(there, here, tmp_path, "data: digits: another pool than the one prepared here", *there.runs)
    write_sealed(manifest, {"splits": {**SPLITS, "test": {"num": 9}}})
    check_refusal(there, here, tmp_path / "b", "evaluation: data: digits: another test set test than the one prepared here", *there.runs)
    write_sealed(manifest, {"splits": SPLITS})
    assert len(import_files(here, [tmp_path / "b/runs.zip"]).added) == 4


def test_another_subset_is_refused_where_one_is_here(there, here, tmp_path, bundle):
    make_choice(here, there.runs[RANDOM.format(1)])
    path = Path(find_subset(here, here.runs[RANDOM.format(1)]).job.find_output(here, "record"))
    record = json.loads(path.read_text(encoding="utf-8"))
    record["subsets"]["0.5"]["sha256"] = "other"
    write_record(path, record)
    before = path.read_bytes()
    outcome = import_files(here, [bundle])
    assert outcome.refused == {"subset: other samples than the subset here": [RANDOM.format(1)]}
    assert len(outcome.added) == 3
    assert path.read_bytes() == before


def test_missing_and_further_test_sets_are_refused(there, here, tmp_path):
    own = here._test_sets_of
    here._test_sets_of = {run.cell: {"mnist_shift"} for run in here.prepared_for.values()}
    check_refusal(there, here, tmp_path, "evaluation: test sets missing: mnist_shift", *there.runs)
    there._test_sets_of = here._test_sets_of
    here._test_sets_of = own
    make_all(there)
    check_refusal(there, here, tmp_path / "b", "evaluation: test sets that are not asked for here: mnist_shift", *there.runs)


def test_an_unknown_run_is_refused_with_the_closest_one(there, here, bundle):
    here.runs.pop(FULL)
    here.runs.pop(RANDOM.format(1))
    outcome = import_files(here, [bundle])
    (reason,) = outcome.refused
    assert reason == f"not a run of scale smoke (the closest to the first is {RANDOM.format(0)})"
    assert outcome.refused[reason] == [FULL, RANDOM.format(1)]
    assert outcome.describe("imported", "already here")[0] == f"refused: {reason}: 2 runs, first {FULL}"


def test_a_plan_of_an_unknown_run_names_the_closest_run_alone():
    plan = load_smoke()
    with pytest.raises(SelectbenchError, match="has no run 'nowhere'$"):
        plan.restrict(["nowhere"])
    with pytest.raises(SelectbenchError, match=f"; did you mean '{FULL}'\\?$"):
        plan.restrict([f"{FULL}0"])


def check_refusal(there, here, folder: Path, reason: str, *runs: str) -> None:
    """Raise unless these runs, or that of full data, are refused for a reason, and nothing is written of them."""
    folder.mkdir(exist_ok=True)
    export_runs(there, folder / "runs.zip")
    refused = import_files(here, [folder / "runs.zip"], dry_run=True).refused
    (found,) = refused
    assert re.fullmatch(reason, found), found
    assert set(refused[found]) == set(runs or [FULL])


def test_a_bundle_of_another_scale_is_refused(there, here, tmp_path):
    bundle = gather_runs(there)
    write_bundle(type(bundle)("tiny", bundle.rows), tmp_path / "tiny.zip")
    with pytest.raises(SelectbenchError, match=r"tiny\.zip: scale: its runs are of tiny, not of smoke; name it with --scale"):
        import_files(here, [tmp_path / "tiny.zip"])


def test_runs_of_the_scale_that_one_is_based_on_are_taken(there, here, tmp_path):
    bundle = gather_runs(there)
    write_bundle(type(bundle)("tiny", bundle.rows), tmp_path / "tiny.zip")
    here.config.scale["base"] = "tiny"
    assert len(import_files(here, [tmp_path / "tiny.zip"]).added) == len(there.runs)


# Runs that are here already


def test_another_result_with_the_same_key_is_a_conflict_and_both_are_shown(there, here, bundle):
    make_run(here, FULL, top1=91.5)
    before = list_contents(Path(here.folder) / "runs" / FULL)
    outcome = import_files(here, [bundle])
    assert outcome.conflicts == {FULL: f"test.test.top1: here 91.5, {bundle} 90.0"}
    assert list_contents(Path(here.folder) / "runs" / FULL) == before
    assert sorted(outcome.added) == sorted(set(here.runs) - {FULL})


def test_another_loss_or_a_failure_is_a_conflict_too(there, here, bundle):
    make_run(here, FULL, loss=0.25)
    make_run(here, SAMPLED, failed=TRAIN)
    outcome = import_files(here, [bundle], dry_run=True)
    assert outcome.conflicts == {
        FULL: f"training.final_loss: here 0.25, {bundle} 0.5",
        SAMPLED: f"status: here failed, {bundle} ok",
    }


def test_other_times_are_no_conflict(there, here, bundle):
    make_all(here, minutes=7)
    before = list_contents(Path(here.folder) / "runs")
    outcome = import_files(here, [bundle])
    assert (outcome.is_clean, len(outcome.present)) == (True, 4)
    assert list_contents(Path(here.folder) / "runs") == before


def test_a_run_that_is_here_but_made_from_something_else_stays(there, here, bundle):
    make_run(here, FULL, code="old")
    before = list_contents(Path(here.folder) / "runs" / FULL)
    outcome = import_files(here, [bundle])
    (reason,) = outcome.refused
    assert reason.startswith("here made from something else (code: made by old, now ")
    assert list_contents(Path(here.folder) / "runs" / FULL) == before


def test_a_damaged_run_that_is_here_stays(there, here, bundle):
    path = record_path(Path(here.folder), FULL, TRAIN)
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    outcome = import_files(here, [bundle])
    (reason,) = outcome.refused
    assert reason.startswith(f"{path}: not valid JSON")
    assert (len(outcome.added), not list((Path(here.folder) / "batches").rglob("0.json"))) == (3, True)
    assert path.read_text(encoding="utf-8") == "{"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda train: shorten_origin(train), r"train\.json: made_from\.spec: Field required; delete"),
        (lambda train: shorten_origin(train, "run", "spec", "choice", "start"), r"train\.json: made_from\.data: Field required; delete"),
        (lambda train: train.update(made_from=None), r"train\.json: made_from: null"),
        (lambda train: train.update(key=None), r"train\.json: key is not the digest of made_from"),
        (lambda train: train.update(status="failed"), r"seed-0: failure: null, though the status is 'failed'"),
        (lambda train: train.update(training={}), r"seed-0: training\.epochs: Field required"),
    ],
)
def test_a_record_that_is_here_and_not_whole_is_refused_in_one_line(change, reason, here, bundle):
    make_run(here, FULL)
    path = record_path(Path(here.folder), FULL, TRAIN)
    train = json.loads(path.read_text(encoding="utf-8"))
    change(train)
    write_sealed(path, train)
    before = list_contents(Path(here.folder) / "runs" / FULL)
    outcome = import_files(here, [bundle])
    ((found, runs),) = outcome.refused.items()
    assert (runs, len(outcome.added)) == ([FULL], 3)
    assert found.startswith(str(path.parent))
    assert re.search(reason, found), found
    assert "\n" not in found
    assert list_contents(Path(here.folder) / "runs" / FULL) == before


@pytest.mark.parametrize("name", ["evaluate.json", "imported.json", "model.pt"])
def test_files_of_another_run_without_a_record_of_its_training_stay(name, here, there, bundle):
    make_run(here, FULL, loss=0.7)
    path = record_path(Path(here.folder), FULL, TRAIN)
    written = {
        "evaluate.json": record_path(Path(here.folder), FULL, EVALUATE).read_bytes(),
        "imported.json": (json.dumps(seal({"file": "a.zip", TRAIN: "0"})) + "\n").encode(),
        "model.pt": b"weights",
    }
    for file in path.parent.iterdir():
        file.unlink()
    (path.parent / name).write_bytes(written[name])
    outcome = import_files(here, [bundle])
    ((reason, runs),) = outcome.refused.items()
    assert reason.startswith(f"{path.parent / name}: another one than that of the run that arrives, without a train.json")
    assert runs == [FULL]
    assert list_contents(path.parent) == {name: written[name]}


def test_an_import_that_was_interrupted_is_finished(here, bundle):
    import_files(here, [bundle])
    path = record_path(Path(here.folder), FULL, TRAIN)
    before = list_contents(path.parent)
    path.unlink()
    assert import_files(here, [bundle]).added == [FULL]
    after = list_contents(path.parent)
    assert {name: after[name] for name in before if name != "imported.json"} == {n: c for n, c in before.items() if n != "imported.json"}


def test_weights_that_are_those_of_the_run_that_arrives_are_kept(there, here, tmp_path):
    make_run(there, FULL)
    row = deepcopy(dict(merge_record(Path(there.folder), FULL)))
    digest = sha256(b"weights").hexdigest()
    row["sha256"] = {"model.pt": digest}
    row["evaluation"]["made_from"]["weights"] = digest
    row["evaluation"]["key"] = digest_value(row["evaluation"]["made_from"])
    path = record_path(Path(here.folder), FULL, TRAIN).with_name("model.pt")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    assert import_files(here, [write_rows(tmp_path / "rows.jsonl", [reseal(row)])]).added == [FULL]
    assert path.read_bytes() == b"weights"


def test_a_subset_that_this_checkout_would_select_otherwise_is_not_placed(there, here, tmp_path):
    there.config.methods["random"] = {**there.config.methods["random"], "parameters": {"other": 1}}
    export_runs(there, tmp_path / "runs.zip")
    outcome = import_files(here, [tmp_path / "runs.zip"])
    assert len(outcome.added) == 4
    (note,) = outcome.notes
    assert note.startswith("not placed, since this checkout selects otherwise: 2 files of subsets, first subsets/digits/none/random/seed-0")
    assert [path.name for path in (Path(here.folder) / "subsets/digits/none").iterdir()] == ["full"]


def test_an_import_waits_for_no_workflow(here, bundle, tmp_path):
    lock = Path(here.folder) / "state" / "workflow.lock"
    lock.parent.mkdir(parents=True)
    code = f"import fcntl, sys; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(SelectbenchError, match="a workflow is running here"):
            import_files(here, [bundle])
        holder.stdin.close()
    assert not (Path(here.folder) / "runs").exists()


# What is asked changes after an import


def test_imported_files_are_dropped_once_something_else_is_asked(here, bundle, tmp_path):
    import_files(here, [bundle])
    assert drop_outdated(here, list_jobs(here)) == []
    again = make_plan(tmp_path / "here")
    again.config.scale["resources"] = {**again.config.scale["resources"], "threads": 2}
    dropped = drop_outdated(again, list_jobs(again))
    assert not list((Path(here.folder) / "batches").rglob("0.json"))
    assert {name for name in dropped if "/batches/" in name} == {
        f"{here.folder}/batches/{stage}/digits/convnet/equal_epochs/0.json" for stage in (TRAIN, EVALUATE)
    }
    assert read_run(Path(here.folder), FULL, TRAIN)["status"] == "ok"
    assert drop_outdated(again, list_jobs(again)) == []


def test_an_imported_subset_is_dropped_with_the_batches_that_read_it(here, bundle, tmp_path):
    import_files(here, [bundle])
    again = make_plan(tmp_path / "here")
    again.config.methods["random"] = {**again.config.methods["random"], "parameters": {"other": 1}}
    drop_outdated(again, list_jobs(again))
    assert [path.name for path in (Path(here.folder) / "subsets/digits/none").iterdir() if any(path.iterdir())] == ["full"]
    assert not list((Path(here.folder) / "batches").rglob("0.json"))


def test_a_file_made_again_here_is_not_dropped(here, bundle, tmp_path):
    import_files(here, [bundle])
    (manifest,) = (Path(here.folder) / "batches/train").rglob("0.json")
    write_sealed(manifest, {"stage": TRAIN, "runs": {}})
    again = make_plan(tmp_path / "here")
    again.config.scale["resources"] = {**again.config.scale["resources"], "threads": 2}
    drop_outdated(again, list_jobs(again))
    assert manifest.exists()


# Merge


def test_merged_parts_are_the_whole_in_any_order(there, tmp_path, bundle):
    rows = [merge_record(Path(there.folder), name) for name in there.runs]
    parts = [write_rows(tmp_path / f"{index}.jsonl", rows[index : index + 2]) for index in range(3)]
    for index, order in enumerate(([0, 1, 2], [2, 0, 1])):
        assert merge_files([parts[place] for place in order], tmp_path / f"m{index}.zip").is_clean
    assert (tmp_path / "m0.zip").read_bytes() == (tmp_path / "m1.zip").read_bytes()
    merge_files([tmp_path / "m0.zip", bundle], tmp_path / "all.zip")
    merge_files([bundle], tmp_path / "one.zip")
    assert (tmp_path / "all.zip").read_bytes() == (tmp_path / "one.zip").read_bytes() == bundle.read_bytes()


def test_of_two_equal_results_the_first_finished_counts(there, tmp_path, bundle):
    make_all(there, minutes=5)
    export_runs(there, tmp_path / "later.zip")
    for names in (("later.zip", "runs.zip"), ("runs.zip", "later.zip")):
        outcome = merge_files([tmp_path / name for name in names], tmp_path / f"{names[0]}.m.zip")
        assert (len(outcome.present), outcome.is_clean) == (4, True)
        assert (tmp_path / f"{names[0]}.m.zip").read_bytes() == bundle.read_bytes()


def test_conflicts_of_a_merge_are_shown_and_nothing_is_written(there, tmp_path, bundle):
    make_run(there, FULL, top1=91.0)
    make_run(there, SAMPLED, code="old")
    export_runs(there, tmp_path / "b.zip")
    outcome = merge_files([bundle, tmp_path / "b.zip"], tmp_path / "m.zip")
    assert outcome.conflicts[FULL] == f"test.test.top1: {bundle} 90.0, {tmp_path}/b.zip 91.0"
    assert outcome.conflicts[SAMPLED].startswith("training made from something else: key ")
    assert not (tmp_path / "m.zip").exists()


def test_files_that_contradict_each_other_import_the_rest(there, here, tmp_path, bundle):
    make_run(there, FULL, top1=91.0)
    export_runs(there, tmp_path / "b.zip")
    outcome = import_files(here, [bundle, tmp_path / "b.zip"])
    assert outcome.conflicts == {FULL: f"test.test.top1: {bundle} 90.0, {tmp_path}/b.zip 91.0"}
    assert len(outcome.added) == 3
    assert not record_path(Path(here.folder), FULL, TRAIN).exists()


# Bad files


def shorten_origin(record: dict, *names: str) -> None:
    """Leave in what a record was made from only its run, or some fields, with the key that fits."""
    record["made_from"] = {name: record["made_from"][name] for name in names or ("run",)}
    record["key"] = digest_value(record["made_from"])


def fail_training(row: dict) -> None:
    """Make a row that of a failed training that gives no reason."""
    reached = {"schema", "run", "key", "made_from", "records", "provenance", DIGEST}
    row |= {**dict.fromkeys(set(row) - reached), "status": "failed"}


def fail_evaluation(row: dict) -> None:
    """Make a row that of a failed evaluation that gives no reason."""
    row["evaluation"] |= {"status": "failed", "failure": None, "wall_s": None}
    row |= {"status": "failed", "failure": None, "test": None}


EDITS = {
    "top1 out of range": (lambda row: row["test"]["test"].update(top1=140.0), r"test\.test\.top1: 140\.0"),
    "text for a number": (lambda row: row["training"].update(steps="many"), r"training\.steps: 'many'"),
    "a field too many": (lambda row: row.update(mine=1), "mine: Extra inputs are not permitted"),
    "a field missing": (lambda row: row.pop("seeds"), "seeds: Field required"),
    "another origin": (lambda row: row["made_from"].update(data="0"), "key is not the digest of made_from"),
    "no origin": (lambda row: row.update(made_from=None), "made_from: null"),
    "another evaluation": (lambda row: row["evaluation"]["made_from"].update(tests={}), "evaluation: key is not the digest of made_from"),
    "no evaluation": (lambda row: row.update(evaluation=None), "evaluation: "),
    "other axes": (lambda row: row["run"].update(seed=7), "run: its axes are those of .*seed-7"),
    "another id": (lambda row: row["run"].update(id="../../etc"), "run: its axes are those of digits"),
    "other weights": (lambda row: row["sha256"].update({"model.pt": "0"}), "the evaluation is not that of the trained weights"),
    "a line break": (lambda row: row["sha256"].update({"a\r\nb": None}), r"sha256\.a\\r\\nb"),
    "an origin with its run alone": (lambda row: shorten_origin(row), r"keep-1/seed-0: made_from\.spec: Field required"),
    "an evaluation's origin without tests": (
        lambda row: shorten_origin(row["evaluation"], "run", "spec", "training", "weights"),
        r"keep-1/seed-0: evaluation\.made_from\.tests: Field required",
    ),
    "no origin of the evaluation": (lambda row: row["evaluation"].update(made_from=None), r"evaluation\.made_from: null"),
    "no key": (lambda row: row.update(key=None), "keep-1/seed-0: key: None"),
    "a failure of training without reason": (lambda row: fail_training(row), "keep-1/seed-0: failure: null"),
    "a failure of evaluation without reason": (lambda row: fail_evaluation(row), r"keep-1/seed-0: evaluation\.failure: null"),
    "a failure": (lambda row: row.update(failure={"reason": "r", "log_tail": ""}), "failure: "),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_record_gets_one_line_that_names_file_and_field(edit, there, here, tmp_path):
    change, message = EDITS[edit]
    row = deepcopy(dict(merge_record(Path(there.folder), FULL)))
    change(row)
    path = tmp_path / "edited.jsonl"
    path.write_text(json.dumps(reseal(row)) + "\n", encoding="utf-8")
    with pytest.raises(RecordError, match=rf"edited\.jsonl: .*{message}") as caught:
        import_files(here, [path])
    assert "\n" not in str(caught.value)
    assert "delete" not in str(caught.value)
    assert not Path(here.folder).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no record"),
        ("{", "line 1 is not a record"),
        ("[1]", "line 1 is not a record"),
        ('{"schema": 1, "run": {"id": "a"}}', "record layout 1 is not 2"),
        ('{"schema": 9, "run": {"id": "a"}}', "record layout 9 is of a newer version"),
        ("\udcff", "not readable UTF-8 text"),
    ],
)
def test_a_foreign_file_gets_one_line(text, message, here, tmp_path):
    path = tmp_path / "foreign.jsonl"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecordError, match=rf"foreign\.jsonl: .*({message})") as caught:
        import_files(here, [path])
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_get_one_line(here, tmp_path):
    for name, message in (("gone.zip", "no such file"), ("gone.jsonl", "no such file"), (".", "a folder; name a zip file")):
        with pytest.raises(RecordError, match=message):
            import_files(here, [tmp_path / name])


def test_an_edited_line_is_named(there, here, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [merge_record(Path(there.folder), name) for name in there.runs])
    path.write_text(path.read_text(encoding="utf-8").replace('"top1": 90.0', '"top1": 95.0'), encoding="utf-8")
    with pytest.raises(RecordError, match=r"rows\.jsonl: line 1 \(digits.*\): edited or damaged"):
        import_files(here, [path])


def rewrite(bundle: Path, change) -> Path:
    """Write a bundle anew, with its members changed."""
    with zipfile.ZipFile(bundle) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(bundle.with_name("changed.zip"), "w") as archive:
        for name, content in change(members):
            archive.writestr(name, content)
    return bundle.with_name("changed.zip")


MEMBERS = {
    "traversal": (lambda members: [*members, ("../evil.json", b"{}")], r"'\.\./evil\.json': not a file of a bundle"),
    "absolute": (lambda members: [*members, ("/etc/evil.json", b"{}")], "not a file of a bundle"),
    "backslash": (lambda members: [*members, ("a\\..\\b.json", b"{}")], "not a file of a bundle|not named"),
    "hidden": (lambda members: [*members, ("subsets/.x/seed.json", b"{}")], "not a file of a bundle"),
    "foreign": (lambda members: [*members, ("readme.exe", b"")], "readme.exe': not a file of a bundle"),
    "unnamed": (lambda members: [*members, ("subsets/a.json", b"{}")], r"subsets/a\.json: not named by bundle\.json"),
    "missing": (lambda members: [member for member in members if member[0] != ROWS], r"records\.jsonl: missing from the zip file"),
    "no contents": (lambda members: members[1:], r"has no bundle\.json"),
    "edited contents": (
        lambda members: [("bundle.json", members[0][1].replace(b'"runs": 4', b'"runs": 5')), *members[1:]],
        "digest: edited",
    ),
    "other contents": (lambda members: [("bundle.json", b"[]"), *members[1:]], "digest: edited, or not a bundle"),
    "edited records": (
        lambda members: [(name, content.replace(b"90.0", b"91.0") if name == ROWS else content) for name, content in members],
        r"records\.jsonl: edited or damaged: its SHA-256",
    ),
    "edited subset": (
        lambda members: [(name, content[:-1] if name.endswith(".npz") else content) for name, content in members],
        r"subsets/.*npz: edited or damaged: its SHA-256",
    ),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_zip_file_that_is_no_bundle_gets_one_line(name, bundle, here, tmp_path):
    change, message = MEMBERS[name]
    with pytest.raises(RecordError, match=rf"changed\.zip: .*({message})") as caught:
        import_files(here, [rewrite(bundle, change)])
    assert "\n" not in str(caught.value)
    assert not Path(here.folder).exists()
    assert not (tmp_path / "evil.json").exists()


def change_choice(members, change):
    """Return the members of a bundle with the record of its first selection changed, and every digest as it should be."""
    found = dict(members)
    contents = json.loads(found["bundle.json"])
    name = sorted(contents["choices"])[0]
    record = json.loads(found[name])
    found[name.replace(".json", ".npz")] = change(record) or found[name.replace(".json", ".npz")]
    record["sha256"] = {"seed-0.npz": sha256(found[name.replace(".json", ".npz")]).hexdigest()}
    found[name] = json.dumps(seal(record)).encode()
    contents["sha256"] = {file: sha256(content).hexdigest() for file, content in found.items() if file != "bundle.json"}
    return list((found | {"bundle.json": json.dumps(seal(contents)).encode()}).items())


def pack_arrays(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("provenance") and None, r"seed-0\.json: not the record of a selection \(KeyError: 'provenance'\)"),
        (lambda record: record.update(subsets=[1]), r"seed-0\.json: not the record of a selection"),
        (lambda record: record.update(subsets={"1": {}}), r"seed-0\.json: not the record of a selection"),
        (lambda record: record.update(schema=1), r"seed-0\.json: record layout 1 is not 2"),
        (lambda record: pack_arrays(**{"1": np.arange(3)}), r"seed-0\.npz: does not hold the subsets that .*seed-0\.json describes"),
        (lambda record: pack_arrays(**{"1": np.array([{}])}), r"seed-0\.npz: not a readable \.npz of plain arrays"),
        (lambda record: b"no zip", r"seed-0\.npz: not a readable \.npz of plain arrays"),
    ],
)
def test_subsets_that_are_not_what_their_record_says_get_one_line(change, message, bundle, here):
    with pytest.raises(RecordError, match=message) as caught:
        import_files(here, [rewrite(bundle, lambda members: change_choice(members, change))])
    assert "\n" not in str(caught.value)
    assert import_files(here, [rewrite(bundle, lambda members: change_choice(members, lambda record: None))]).is_clean


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_gets_one_line(bundle, here):
    with pytest.raises(RecordError, match=r"records\.jsonl: twice in this zip file"):
        import_files(here, [rewrite(bundle, lambda members: [*members, members[1]])])


def test_a_bomb_is_not_unpacked(bundle, here, monkeypatch):
    monkeypatch.setattr(files, "MOST_UNPACKED", 1000)
    monkeypatch.setattr(files, "MOST_GROWTH", 1)
    with pytest.raises(RecordError, match=r"not a readable zip file \(.* bytes would become more than"):
        import_files(here, [bundle])


def test_a_truncated_zip_file_gets_one_line(bundle, here):
    content = bundle.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        bundle.write_bytes(content[:size])
        with pytest.raises(RecordError, match=r"runs\.zip: not a readable zip file"):
            import_files(here, [bundle])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a bundle, its bytes, one of its rows, and a plan without results, for many examples."""
    folder = tmp_path_factory.mktemp("finished")
    plan = make_plan(folder / "there")
    make_all(plan)
    export_runs(plan, folder / "runs.zip")
    return folder, (folder / "runs.zip").read_bytes(), dict(merge_record(Path(plan.folder), FULL)), make_plan(folder / "here")


def try_to(work):
    """Return a result and no lines, or None and the lines of the message of an error that a user can act on."""
    try:
        return work(), []
    except SelectbenchError as error:
        return None, str(error).splitlines()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flipped_byte_is_found_or_changes_nothing(finished, data):
    folder, content, _, _ = finished
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "flipped.zip").write_bytes(flipped)
    found, lines = try_to(lambda: read_bundle(folder / "flipped.zip"))
    assert found is None or found.rows == read_bundle(folder / "runs.zip").rows
    assert len(lines) <= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_value_in_a_row_leads_to_a_traceback(finished, data):
    folder, _, row, plan = finished
    row = deepcopy(row)
    place = row
    while True:
        name = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[name], dict) or not place[name] or data.draw(st.booleans()):
            break
        place = place[name]
    place[name] = data.draw(JSON)
    try:
        row = reseal(row)
    except (TypeError, KeyError, AttributeError):
        row = seal(row)
    (folder / "row.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    outcome, lines = try_to(lambda: import_files(plan, [folder / "row.jsonl"], dry_run=True))
    assert len(lines) <= 1
    assert outcome is None or all("\n" not in line for line in outcome.describe("imported", "already here"))


# Command line


@pytest.fixture
def run_command(there, here, monkeypatch, capsys, root):
    """Run a command in the folder of the project; the exit status and what it printed."""
    monkeypatch.chdir(root)

    def run(*arguments: object, plan=here) -> tuple[int, str, str]:
        monkeypatch.setattr(cli, "_load_plan", lambda arguments: plan)
        status = 0
        try:
            cli.main(["records", *map(str, arguments)])
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return run


def test_the_command_exports_merges_and_imports(run_command, there, tmp_path):
    assert run_command("export", "--output", tmp_path / "a.zip", plan=there) == (0, f"{tmp_path}/a.zip: 4 runs of scale smoke\n", "")
    status, output, _ = run_command("merge", tmp_path / "a.zip", "--output", tmp_path / "b.zip")
    assert (status, output) == (0, "4 runs in one file only, 0 in several, 0 refused, 0 conflicts\n")
    status, output, _ = run_command("import", tmp_path / "b.zip", "--dry-run")
    assert (status, output) == (0, "4 runs to import, 0 already here, 0 refused, 0 conflicts\n")
    status, output, _ = run_command("import", tmp_path / "b.zip")
    assert (status, output) == (0, "4 runs imported, 0 already here, 0 refused, 0 conflicts\n")


def test_refusals_and_conflicts_give_status_1_and_unreadable_files_status_2(run_command, there, here, bundle, tmp_path):
    make_run(here, FULL, top1=91.5)
    status, output, _ = run_command("import", bundle)
    assert (status, output.splitlines()[0]) == (1, f"conflict: {FULL}: test.test.top1: here 91.5, {bundle} 90.0")
    make_run(there, SAMPLED, code="old")
    export_runs(there, tmp_path / "old.zip")
    status, output, _ = run_command("import", tmp_path / "old.zip")
    assert (status, output.count("refused: ")) == (1, 1)
    bundle.write_bytes(b"no zip file")
    status, output, error = run_command("import", bundle)
    assert (status, output) == (2, "")
    assert error.startswith(f"error: {bundle}: not a readable zip file")


def test_importing_imports_no_torch():
    code = "import sys; from selectbench.evidence import exchange; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"

"""Accuracies on shifted test sets: restricted classes, any of several labels, matching clean accuracy, corruptions, damaged images."""

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from data_fixtures import ROOT, load_entries, place_shifted, write_imagenet
from torch import nn

from selectbench.data import corruptions
from selectbench.data.placed import list_classes
from selectbench.data.prepare import prepare_dataset
from selectbench.data.splits import GREY, SEVERITIES, ArraySplit, open_split
from selectbench.errors import DataError
from selectbench.records.files import digest_file, read_sealed, write_arrays, write_sealed
from selectbench.records.records import merge_record, read_record, record_path, write_record
from selectbench.stages import evaluate_targets, train_targets
from selectbench.stages._targets import identify_subset
from selectbench.training.evaluation import measure_test, measure_tests, score_logits
from selectbench.training.pools import open_pool


class Reader(nn.Module):
    """A net whose logits are the pixels of images of shape (C, 1, 1); counts the samples it sees."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward_features(self, images):
        self.seen += len(images)
        return images

    def forward_head(self, images, pre_logits):
        return images.mean(dim=(2, 3))

    def get_classifier(self):
        return nn.Identity()


def make_pool(folder, logits, labels, **settings):
    """A pool of images that ``Reader`` reads as these logits, integers in 0…255."""
    folder.mkdir()
    np.save(folder / "images.npy", np.array(logits, dtype=np.uint8)[:, :, None, None])
    np.save(folder / "labels.npy", np.array(labels))
    channels = np.shape(logits)[1]
    return open_pool(ArraySplit(folder), [0.0] * channels, [1 / 255] * channels, torch.device("cpu"), **settings)


def minus_log_share(logits, right, among):
    return -math.log(sum(math.exp(logits[i]) for i in right) / sum(math.exp(logits[i]) for i in among))


@pytest.mark.parametrize("test_set", ["imagenet_a", "imagenet_r"])
def test_a_best_class_outside_the_200_is_still_scored_inside(test_set):
    classes = torch.tensor(list(list_classes(load_entries()["imagenet1k"], test_set).values()))
    outside = sorted(set(range(1000)) - set(classes.tolist()))
    labels, others = classes[[0, 17, 199]], classes[[5, 100, 42]]
    logits = torch.zeros(3, 1000)
    logits[:, outside] = 9.0
    logits[range(3), labels] = 5.0
    right, losses = score_logits(logits, labels, classes)
    assert right.all()
    torch.testing.assert_close(losses, torch.full((3,), math.log(math.exp(5) + 199) - 5))
    assert not score_logits(logits, labels)[0].any()
    logits[range(3), others] = 6.0
    assert not score_logits(logits, labels, classes)[0].any()


def test_any_of_several_labels_is_right():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]]).repeat(4, 1)
    labels = torch.tensor([[1, 2, -1], [2, 3, -1], [0, 1, 2], [3, -1, -1]])
    right, losses = score_logits(logits, labels)
    assert right.tolist() == [True, False, True, False]
    expected = [minus_log_share([1, 3, 2, 0], which, range(4)) for which in ([1, 2], [2, 3], [0, 1, 2], [3])]
    assert losses.tolist() == pytest.approx(expected)
    one = torch.tensor([3, 1, 0, 2])
    assert torch.equal(score_logits(logits, one)[0], score_logits(logits, one[:, None])[0])
    torch.testing.assert_close(score_logits(logits, one)[1], nn.functional.cross_entropy(logits, one, reduction="none"))


def test_clean_accuracy_is_among_the_samples_and_logits_of_the_same_classes(tmp_path):
    clean_logits = [[1, 2, 3, 0], [0, 2, 3, 1], [0, 0, 3, 0], [3, 0, 4, 2], [5, 0, 1, 2]]
    pools = {
        "test": make_pool(tmp_path / "test", clean_logits, [1, 0, 2, 3, 0]),
        "few": make_pool(tmp_path / "few", [[1, 9, 9, 2], [4, 0, 0, 1]], [3, 3], classes=[0, 3]),
        "all": make_pool(tmp_path / "all", [[0, 0, 1, 0]], [2]),
        "unseen": make_pool(tmp_path / "unseen", [[1, 0, 0, 0]], [0]),
    }
    model = Reader()
    results = measure_tests(model, pools, "test", ["few", "test", "all"])
    assert model.seen == 5 + 2 + 1
    assert set(results) == {"test", "few", "all"}
    assert results["test"] == {"top1": 40.0, "loss": pytest.approx(results["test"]["loss"]), "num": 5, "unreadable": 0}
    assert results["test"] == measure_test(Reader(), pools["test"])
    assert set(results["few"]) == {"top1", "loss", "num", "unreadable", "clean_top1", "clean_num"}
    losses = [minus_log_share(row, [3], [0, 3]) for row in ([1, 9, 9, 2], [4, 0, 0, 1])]
    assert (results["few"]["top1"], results["few"]["loss"]) == (50.0, pytest.approx(np.mean(losses)))
    # The second, fourth and fifth have labels 0 and 3; among columns 0 and 3 they are predicted as 3, 0 and 0.
    assert (results["few"]["clean_num"], results["few"]["clean_top1"]) == (3, pytest.approx(100 / 3))
    assert (results["all"]["top1"], results["all"]["clean_top1"], results["all"]["clean_num"]) == (100.0, 40.0, 5)
    assert set(measure_tests(Reader(), pools, "test", ["few"])) == {"few"}


def test_a_clean_set_without_samples_of_the_classes_has_no_clean_accuracy(tmp_path):
    pools = {
        "test": make_pool(tmp_path / "test", [[1, 2, 3]], [0]),
        "few": make_pool(tmp_path / "few", [[1, 2, 3]], [2], classes=[1, 2]),
    }
    result = measure_tests(Reader(), pools, "test", ["few"])["few"]
    assert (result["clean_top1"], result["clean_num"]) == (None, 0)


def test_a_corrupted_set_is_told_by_corruption_and_severity(tmp_path):
    assert SEVERITIES == corruptions.SEVERITIES
    names = ["fog", "snow"]
    labels = np.tile([0, 1, 1], len(names) * SEVERITIES)
    right = np.array([3, 3, 2, 1, 0, 2, 2, 2, 1, 1])  # of three images, by (corruption, severity)
    predictions = np.where(np.tile(np.arange(3), 10) < np.repeat(right, 3), labels, 1 - labels)
    pools = {
        "test": make_pool(tmp_path / "test", [[1, 0]], [0]),
        "corrupted": make_pool(tmp_path / "corrupted", np.eye(2)[predictions], labels, corruptions=names),
    }
    result = measure_tests(Reader(), pools, "test", ["test", "corrupted"])["corrupted"]
    percent = [pytest.approx(100 * count / 3) for count in right]
    assert result["by_corruption"] == {"fog": percent[:5], "snow": percent[5:]}
    assert (result["top1"], result["num"]) == (pytest.approx(100 * right.sum() / 30), 30)
    assert (result["clean_top1"], result["clean_num"]) == (100.0, 1)


@pytest.fixture
def prepared(tmp_path):
    """A miniature ImageNet with all its test sets, prepared: the path of its manifest."""
    resources = tmp_path / "resources"
    entry = write_imagenet(resources)
    place_shifted(resources, entry)
    manifest = resources / "imagenet1k/prepared/manifest.json"
    write_sealed(manifest, prepare_dataset("imagenet1k", entry, resources, ["test", "imagenet_a", "imagenet_r", "imagenet_hard"]))
    return manifest


def find_image(manifest: Path, split: str, position: int) -> Path:
    opened = open_split(manifest.parent, split)
    return opened.root / opened.paths[position]


def test_an_unreadable_image_is_left_out_and_counted(prepared, caplog):
    def open_test():
        return open_pool(open_split(prepared.parent, "test"), [0.0] * 3, [1 / 255] * 3, torch.device("cpu"))

    whole = measure_test(Reader(), open_test())
    assert (whole["num"], whole["unreadable"]) == (6, 0)
    broken = find_image(prepared, "test", 3)
    broken.write_bytes(broken.read_bytes()[:500])
    pool = open_test()
    result = measure_test(Reader(), pool)
    assert (result["num"], result["unreadable"]) == (5, 1)
    logits = pool.load(np.arange(6)).float().mean(dim=(2, 3))
    assert (logits[3] == GREY).all()
    kept = [0, 1, 2, 4, 5]
    right, losses = score_logits(logits[kept], pool.labels[kept])
    assert (result["top1"], result["loss"]) == (pytest.approx(20.0 * right.sum().item()), pytest.approx(losses.mean().item(), rel=1e-4))
    pools = {"test": pool, "other": pool}
    assert measure_tests(Reader(), pools, "test", ["other"])["other"]["clean_num"] == 5
    assert caplog.messages == [f"{broken}: {caplog.messages[0].partition(': ')[2]}"]
    find_image(prepared, "test", 5).unlink()
    with pytest.raises(DataError, match=rf"{broken}: unreadable image .*; 2 of 6 images cannot be read"):
        measure_test(Reader(), pool)


KEEP = "0.5"


@pytest.fixture
def specification(prepared, tmp_path):
    """Specify two runs with one subset each and different test sets; returns the specification and the subset files."""
    recipe = yaml.safe_load((ROOT / "config/recipes.yaml").read_text(encoding="utf-8"))["digits"]
    runs = []
    for seed, (ids, test_sets) in enumerate(
        [([0, 3, 5, 8], ["imagenet_a", "test"]), ([1, 2, 6, 9], ["imagenet_hard", "imagenet_r", "test"])]
    ):
        subset = tmp_path / f"subset-{seed}.npz"
        write_arrays(subset, {KEEP: np.array(ids)})
        cost = {"failure": None, "cost": {}, "sha256": str(seed), "class_counts": []}
        made = {subset.name: digest_file(subset)}
        write_record(subset.with_suffix(".json"), {"status": "ok", "seed": 0, "subsets": {KEEP: cost}, "sha256": made})
        runs.append({"id": f"run-{seed}", "seed": seed, "keep": KEEP, "subset": str(subset), "sampler": None, "test_sets": test_sets})
    spec = {
        **{
            "dataset": "imagenet1k",
            "input_shape": [3, 224, 224],
            "num_classes": 3,
            "threads": 1,
            "gpu": 0,
            "role": "target",
            "id_test_set": "test",
        },
        **{"model_name": "convnet", "model": {"library": "selectbench", "name": "convnet", "width": 2}, "recipe_name": "digits"},
        "recipe": recipe | {"epochs": 2, "batch_size": 4},
        **{"regime": "equal_epochs", "runs": runs, "folder": str(tmp_path / "results"), "code": "code"},
    }
    return spec, [run["subset"] for run in runs]


def call(monkeypatch, stage, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *map(str, arguments)])
    stage.main()


def test_each_run_is_evaluated_on_its_own_test_sets_and_damage_is_in_its_record(prepared, specification, tmp_path, monkeypatch):
    spec, subsets = specification
    for split, position in (("pool", 5), ("pool", 7), ("imagenet_hard", 4)):
        find_image(prepared, split, position).write_bytes(b"no image")
    trained, evaluated = tmp_path / "trained.json", tmp_path / "evaluated.json"
    folder = Path(spec["folder"])
    call(
        *(monkeypatch, train_targets, "--spec", json.dumps(spec), "--data", prepared),
        *("--subsets", *subsets, "--manifest", trained),
    )
    assert [read_record(record_path(folder, run, "train"))["training"]["unreadable"] for run in ("run-0", "run-1")] == [1, 0]
    evaluate = (
        monkeypatch,
        evaluate_targets,
        "--spec",
        json.dumps(spec),
        "--data",
        prepared,
        "--trained",
        trained,
        "--manifest",
        evaluated,
    )
    call(*evaluate)
    first, second = (merge_record(folder, run)["test"] for run in ("run-0", "run-1"))
    assert set(first) == {"test", "imagenet_a"}
    assert set(second) == {"test", "imagenet_r", "imagenet_hard"}
    counts = {name: (result["num"], result["unreadable"], result.get("clean_num")) for name, result in (first | second).items()}
    assert counts == {"test": (6, 0, None), "imagenet_a": (6, 0, 4), "imagenet_r": (4, 0, 4), "imagenet_hard": (4, 1, 6)}
    assert second["imagenet_hard"]["clean_top1"] == second["test"]["top1"]
    record = read_record(record_path(folder, "run-0", "evaluate"))
    assert record["run"] == {"id": "run-0", "seed": 0, "keep": KEEP}
    # A test set requested for one run does not affect the results of the others.
    before = [record_path(folder, run, "evaluate").read_bytes() for run in ("run-0", "run-1")]
    spec["runs"][1]["test_sets"] = ["test"]
    call(*evaluate[:3], json.dumps(spec), *evaluate[4:])
    after = [record_path(folder, run, "evaluate").read_bytes() for run in ("run-0", "run-1")]
    assert after[0] == before[0] and after[1] != before[1]
    assert set(merge_record(folder, "run-1")["test"]) == {"test"}


def test_a_subset_of_damaged_images_is_a_failed_run_that_names_a_file(prepared, specification, tmp_path, monkeypatch):
    spec, subsets = specification
    for position in (0, 3):
        find_image(prepared, "pool", position).write_bytes(b"no image")
    call(monkeypatch, train_targets, "--spec", json.dumps(spec), "--data", prepared, "--subsets", *subsets, "--manifest", tmp_path / "m")
    damaged, whole = (read_record(record_path(Path(spec["folder"]), run, "train")) for run in ("run-0", "run-1"))
    assert (damaged["status"], whole["status"]) == ("failed", "ok")
    assert re.search(r"\.JPEG: unreadable image .*; 2 of (4|12) images cannot be read", damaged["failure"]["reason"])


def test_a_test_set_that_is_not_prepared_is_told(prepared, specification, tmp_path, monkeypatch):
    spec, _ = specification
    manifest = read_sealed(prepared)
    del manifest["splits"]["imagenet_r"]
    write_sealed(prepared, manifest)
    told = r"manifest.json: has no split 'imagenet_r'; did you mean 'imagenet_.*'\?; run `selectbench data prepare imagenet1k`$"
    with pytest.raises(DataError, match=told):
        call(monkeypatch, evaluate_targets, "--spec", json.dumps(spec), "--data", prepared, "--trained", "--manifest", tmp_path / "m")


def test_a_run_depends_on_its_subset_and_on_what_a_search_reports_but_not_on_seconds():
    searched = {"sha256": "a", "search": {"proxy_loss": 0.8, "trainings": 112, "trained_s": 3.0}}
    slower = {"sha256": "a", "search": searched["search"] | {"trained_s": 9.0}}
    other = {"sha256": "a", "search": searched["search"] | {"proxy_loss": 0.9}}
    assert identify_subset(searched) == identify_subset(slower) != identify_subset(other)
    assert identify_subset({"sha256": "a"}) == identify_subset({"sha256": "a", "cost": {"wall_s": 1.0}}) == "a"

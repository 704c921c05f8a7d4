"""Test sets placed by the user: ImageNet-A and -R in class folders, ImageNet-Hard in parquet files with lists of labels."""

import shutil
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pytest
from data_fixtures import HARD_LABELS, WNIDS, draw_picture, load_entries, place_shifted, write_hard, write_imagenet
from pyarrow import parquet

from selectbench.data.check import check_dataset
from selectbench.data.class_folders import read_class_list
from selectbench.data.images import load_image
from selectbench.data.placed import list_available, list_classes
from selectbench.data.prepare import prepare_dataset
from selectbench.data.splits import open_split
from selectbench.errors import DataError
from selectbench.records.files import write_sealed

SHIFTED = ["imagenet_a", "imagenet_r", "imagenet_hard"]
ALL = ["test", *SHIFTED]
NAME = "imagenet1k"


@pytest.fixture
def placed(tmp_path):
    """A miniature ImageNet with all its test sets: (entry, resources, raw folder)."""
    entry = write_imagenet(tmp_path)
    place_shifted(tmp_path, entry)
    return entry, tmp_path, tmp_path / NAME / "raw"


def prepare(entry, resources, test_sets=ALL):
    manifest = prepare_dataset(NAME, entry, resources, test_sets)
    write_sealed(resources / NAME / "prepared/manifest.json", manifest)
    return manifest


def read_error(function, *arguments) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refuse_everywhere(entry, resources, test_sets=ALL) -> str:
    """Return the error line that both the check before the first job and the preparation end with."""
    told = read_error(check_dataset, NAME, entry, resources, test_sets)
    assert read_error(prepare_dataset, NAME, entry, resources, test_sets) == told
    assert not (resources / NAME / "prepared").exists()
    return told


@pytest.mark.parametrize("test_set", ["imagenet_a", "imagenet_r"])
def test_label_maps_are_those_of_timm(test_set):
    info = files("timm.data") / "_info"
    classes = list_classes(load_entries()[NAME], test_set)
    assert list(classes) == (info / f"{test_set}_synsets.txt").read_text().split()
    assert list(classes.values()) == [int(line) for line in (info / f"{test_set}_indices.txt").read_text().split()]
    assert len(classes) == 200
    assert read_class_list("imagenet1k_classes.txt", 1000) == (info / "imagenet_synsets.txt").read_text().split()


def test_the_two_maps_share_86_classes():
    entry = load_entries()[NAME]
    assert len(list_classes(entry, "imagenet_a").keys() & list_classes(entry, "imagenet_r").keys()) == 86


def test_class_folders_keep_the_labels_of_all_classes(placed):
    entry, resources, _ = placed
    splits = prepare(entry, resources)["splits"]
    assert {name: (split["num"], split["classes"]) for name, split in splits.items()} == {
        "pool": (12, None),
        "test": (6, None),
        "imagenet_a": (6, [0, 2]),
        "imagenet_r": (4, [1, 2]),
        "imagenet_hard": (5, None),
    }
    assert splits["imagenet_a"]["class_counts"] == [3, 0, 3]
    split = open_split(resources / NAME / "prepared", "imagenet_a")
    assert split.labels.tolist() == [0, 0, 0, 2, 2, 2]
    assert split.paths[2:4] == [f"raw/imagenet-a/{WNIDS[0]}/2.jpg", f"raw/imagenet-a/{WNIDS[2]}/0.jpg"]
    images = split.load(np.arange(6))
    assert np.array_equal(images[3], load_image(resources / NAME / split.paths[3], None))
    check_dataset(NAME, entry, resources, ALL)


def test_label_lists_become_files_and_padded_labels(placed):
    entry, resources, raw = placed
    manifest = prepare(entry, resources)
    split = open_split(resources / NAME / "prepared", "imagenet_hard")
    assert split.labels.tolist() == [[2, -1], [0, 2], [1, -1], [0, 1], [2, -1]]
    assert split.labels.dtype == np.int64
    assert manifest["splits"]["imagenet_hard"]["class_counts"] == [2, 2, 3]
    assert split.paths[4] == "prepared/imagenet_hard/images/000004.png"
    rows = [row for path in sorted((raw / "imagenet-hard/data").iterdir()) for row in parquet.read_table(path)["image"].to_pylist()]
    assert [(split.root / path).read_bytes() for path in split.paths] == [row["bytes"] for row in rows]
    assert split.load(np.array([4, 0])).shape == (2, 3, 224, 224)
    shutil.rmtree(raw / "imagenet-hard")
    check_dataset(NAME, entry, resources, ALL)
    shutil.rmtree(split.root / "prepared/imagenet_hard/images")
    told = read_error(check_dataset, NAME, entry, resources, ALL)
    assert told.startswith(f"{split.root}/prepared/imagenet_hard/images: missing; delete ")


def test_preparing_twice_gives_the_same_manifest_and_leaves_no_old_images(placed):
    entry, resources, raw = placed
    manifest = prepare(entry, resources)
    assert prepare(entry, resources) == manifest
    path = next((raw / "imagenet-hard/data").glob("validation-00001-*"))
    path.unlink()
    entry["test_sets"]["imagenet_hard"]["size"] = 3
    changed = prepare(entry, resources)["splits"]["imagenet_hard"]
    assert changed["images_sha256"] != manifest["splits"]["imagenet_hard"]["images_sha256"]
    assert len(list((resources / NAME / "prepared/imagenet_hard/images").iterdir())) == changed["num"] == 3


def test_only_the_test_sets_asked_for_need_to_be_there(placed):
    entry, resources, raw = placed
    for test_set in ("imagenet_r", "imagenet_hard"):
        shutil.rmtree(raw / entry["test_sets"][test_set]["folder"])
    assert list_available(NAME, entry, resources) == ["test", "imagenet_a"]
    check_dataset(NAME, entry, resources, ["test", "imagenet_a"])
    assert list(prepare(entry, resources, ["test", "imagenet_a"])["splits"]) == ["pool", "test", "imagenet_a"]
    check_dataset(NAME, entry, resources, ["test", "imagenet_a"])
    assert "raw/imagenet-r: missing" in read_error(check_dataset, NAME, entry, resources, ["test", "imagenet_r"])
    told = read_error(prepare_dataset, NAME, entry, resources, ["imagenet_b"])
    assert told == "config/datasets.yaml: imagenet1k.test_sets: unknown 'imagenet_b'; did you mean 'imagenet_r'?"


@pytest.mark.parametrize("test_set", SHIFTED)
def test_a_missing_folder_is_named_with_what_to_place(placed, test_set):
    entry, resources, raw = placed
    settings = entry["test_sets"][test_set]
    shutil.rmtree(raw / settings["folder"])
    told = refuse_everywhere(entry, resources)
    assert told == f"{raw / settings['folder']}: missing; place or link it there yourself: {settings['note']}"


@pytest.mark.parametrize("test_set", ["imagenet_a", "imagenet_r"])
def test_a_wrong_class_folder_is_named_with_the_closest_class(placed, test_set):
    entry, resources, raw = placed
    folder = raw / entry["test_sets"][test_set]["folder"]
    (folder / WNIDS[2]).rename(folder / "n02123349")
    told = refuse_everywhere(entry, resources)
    assert told.startswith(
        f"{folder}: no class folder n02123394, unknown class folder n02123349 (did you mean 'n02123394'?); place or link it there "
    )


def test_folders_that_stay_are_checked_again_after_preparation(placed):
    entry, resources, raw = placed
    prepare(entry, resources)
    shutil.rmtree(raw / "imagenet-a" / WNIDS[0])
    assert f"imagenet-a: no class folder {WNIDS[0]}; place" in read_error(check_dataset, NAME, entry, resources, ALL)
    shutil.rmtree(raw / "val")
    assert "raw/val: missing" in read_error(check_dataset, NAME, entry, resources, ALL)


def test_incomplete_sets_are_told(placed):
    entry, resources, raw = placed
    path = raw / "imagenet-r" / WNIDS[1]
    (path / "0.jpg").unlink()
    assert refuse_everywhere(entry, resources).startswith(f"{raw}/imagenet-r: has 3 of 4 images; copy the missing ones")
    (path / "1.jpg").unlink()
    assert refuse_everywhere(entry, resources).startswith(f"{path}: holds no image")
    entry["test_sets"]["imagenet_hard"]["size"] = 10980
    told = refuse_everywhere(entry, resources, ["test", "imagenet_hard"])
    assert told.startswith(
        f"{raw}/imagenet-hard/data: has 5 of 10,980 images; place or link it there yourself: imagenet-hard/data/*.parquet"
    )


def test_a_class_that_the_data_set_lacks_is_told(placed):
    entry, resources, _ = placed
    (resources / "imagenet_a.txt").write_text(f"{WNIDS[0]}\nn02123349")
    told = refuse_everywhere(entry, resources)
    assert told == f"{resources}/imagenet_a.txt: 'n02123349' is not a class of the data set (did you mean 'n02123394'?)"


def rewrite(path, change):
    parquet.write_table(change(parquet.read_table(path)), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), ": not a readable parquet file (ArrowInvalid: Parquet "),
        (lambda path: rewrite(path, lambda table: table.rename_columns(["image", "labels", "origin", "name"])), ": has no column 'label'"),
        (lambda path: rewrite(path, lambda table: table.set_column(1, "label", pa.array([1, 2]))), ": column 'label' holds int64 instead"),
        (lambda path: rewrite(path, lambda table: table.set_column(0, "image", pa.array([b"", b""]))), ": column 'image' holds binary"),
        (lambda path: [file.unlink() for file in path.parent.iterdir()], None),
    ],
)
def test_unreadable_parquet_files_are_named_before_any_work(placed, damage, message):
    entry, resources, raw = placed
    path = next((raw / "imagenet-hard/data").glob("validation-00001-*"))
    damage(path)
    told = refuse_everywhere(entry, resources)
    assert told.startswith(f"{path}{message}" if message else f"{path.parent}: holds no .parquet file")


@pytest.mark.parametrize(
    ("labels", "content", "message"),
    [
        ([0, 3], b"image", "row 1 has the labels [0, 3], not some of 0…2"),
        ([-1], b"image", "row 1 has the labels [-1], not some"),
        ([], b"image", "row 1 has the labels [], not some"),
        ([2], b"", "row 1 holds no image"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(placed, labels, content, message):
    entry, resources, raw = placed
    contents = iter([b"image"] * 4 + [content])
    write_hard(raw / "imagenet-hard", [HARD_LABELS[0], [[0], labels]], lambda: next(contents))
    told = read_error(prepare_dataset, NAME, entry, resources, ALL)
    assert told.startswith(f"{raw}/imagenet-hard/data/validation-00001-of-00002-36efe923955f51bb.parquet: {message}")


def test_an_image_damaged_inside_a_parquet_file_only_counts(placed):
    entry, resources, raw = placed
    contents = [draw_picture(np.random.default_rng(i), "PNG") for i in range(5)]
    contents[2] = contents[2][:300]
    write_hard(raw / "imagenet-hard", HARD_LABELS, iter(contents).__next__)
    prepare(entry, resources)
    split = open_split(resources / NAME / "prepared", "imagenet_hard")
    split.load(np.arange(5))
    assert split.find_unreadable(np.arange(5)) == [2]

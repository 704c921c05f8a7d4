"""Own images are checked like published data: names, counts and contents, whatever they are called and however they were saved."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from data_fixtures import WNIDS, encode_image, prepare_published, write_imagenet
from PIL import Image

from selectbench.data.check import check_dataset
from selectbench.data.class_folders import index_folder, read_class_list, read_class_subset
from selectbench.data.images import load_image
from selectbench.data.splits import open_split
from selectbench.errors import DataError, SelectbenchError
from selectbench.records.files import read_sealed, write_sealed
from selectbench.stages._training import open_prepared

NAME = "imagenet1k"


def prepare(entry, resources):
    """Prepare the data set, and return its manifest."""
    manifest = resources / NAME / "prepared/manifest.json"
    write_sealed(manifest, prepare_published(NAME, entry, resources))
    return read_sealed(manifest)


@pytest.fixture
def own(tmp_path):
    """Images in class folders, prepared: (entry, resources folder, the first image of the pool)."""
    entry = write_imagenet(tmp_path)
    prepare(entry, tmp_path)
    return entry, tmp_path, tmp_path / NAME / "raw/train" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG"


def repaint(path):
    """Draw another image."""
    path.write_bytes(encode_image(np.full((240, 300, 3), 77, dtype=np.uint8), "JPEG"))


def change_a_byte(path):
    """Change the last byte of a file, but neither its size nor the time of its content."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap(path):
    """Exchange two images of one class by their names."""
    other = path.with_name(f"{WNIDS[0]}_1.JPEG")
    path.rename(path.with_name("kept")), other.rename(path), path.with_name("kept").rename(other)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (repaint, r"_0.JPEG: not what was prepared; put it back, or delete .*manifest.json and run again"),
        (change_a_byte, r"_0.JPEG: not what was prepared; put it back"),
        (swap, r"_0.JPEG: not what was prepared .and 1 more.; put it back"),
        (lambda path: path.unlink(), r"_0.JPEG: missing; copy it again, or delete"),
        (
            lambda path: path.rename(path.with_name("first.JPEG")),
            r"_0.JPEG: missing; new: raw/train/.*/first.JPEG; copy it again",
        ),
        (
            lambda path: path.with_name("more.png").write_bytes(path.read_bytes()),
            r"more.png: added since the data set was pre",
        ),
        (lambda path: path.rename(path.parents[1] / WNIDS[1] / path.name), r"_0.JPEG: missing; new: raw/train/.*/.*_0.JPEG; copy it"),
    ],
)
def test_a_change_of_an_image_is_noticed(own, change, message, full):
    entry, resources, path = own
    check_dataset(NAME, entry, resources, ["test"], full)
    change(path)
    with pytest.raises(DataError, match=message) as caught:
        check_dataset(NAME, entry, resources, ["test"], full)
    assert "\n" not in str(caught.value)


def test_images_are_counted_and_looked_at_before_they_are_prepared(own):
    entry, resources, path = own
    (resources / NAME / "prepared/manifest.json").unlink()
    check_dataset(NAME, entry, resources, ["test"], full=True)
    save_frames(path.with_name("two.gif"))
    with pytest.raises(DataError, match="train: has 13 of 12 images; copy the missing ones or remove the extra ones"):
        check_dataset(NAME, entry, resources, ["test"])
    path.unlink()
    check_dataset(NAME, entry, resources, ["test"])
    with pytest.raises(DataError, match="two.gif: has 2 frames instead of one picture"):
        check_dataset(NAME, entry, resources, ["test"], full=True)


def test_the_remedy_prepares_what_is_there_now_under_another_digest(own):
    entry, resources, path = own
    before = read_sealed(resources / NAME / "prepared/manifest.json")["splits"]
    repaint(path)
    after = prepare(entry, resources)["splits"]
    check_dataset(NAME, entry, resources, ["test"], full=True)
    assert before["pool"]["contents_sha256"] != after["pool"]["contents_sha256"]
    assert before["test"] == after["test"]
    path.write_bytes(path.read_bytes())
    assert prepare(entry, resources)["splits"] == after


def test_files_are_read_again_only_if_their_size_or_time_changed_unless_all_are_asked_for(own, monkeypatch):
    entry, resources, path = own
    read = []
    monkeypatch.setattr("selectbench.data.contents.digest_file", lambda file: read.append(file.name) or "0" * 64)
    check_dataset(NAME, entry, resources, ["test"])
    assert read == []
    with pytest.raises(DataError, match="not what was prepared"):
        check_dataset(NAME, entry, resources, ["test"], full=True)
    assert len(read) == 12
    monkeypatch.undo()
    os.utime(path, ns=(1, 1))
    check_dataset(NAME, entry, resources, ["test"])  # read, found to be the same, and remembered with its new time
    monkeypatch.setattr("selectbench.data.contents.digest_file", lambda file: pytest.fail(f"{file} was read"))
    check_dataset(NAME, entry, resources, ["test"])


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PK"), lambda path: np.savez(path, stamps=[1])])
def test_lost_contents_are_told_and_made_again(own, damage):
    entry, resources, _ = own
    damage(resources / NAME / "prepared/pool/contents.npz")
    with pytest.raises(DataError, match=r"pool/contents.npz: missing or altered; delete .*manifest.json and run again"):
        check_dataset(NAME, entry, resources, ["test"])
    prepare(entry, resources)
    check_dataset(NAME, entry, resources, ["test"])


def test_a_job_that_starts_later_refuses_other_images(own):
    _, resources, path = own
    manifest = resources / NAME / "prepared/manifest.json"
    other = path.with_name(f"{WNIDS[0]}_1.JPEG")
    for damage in (lambda: other.write_bytes(b"no image"), other.unlink):
        damage()
        pool = open_prepared(manifest, "pool", torch.device("cpu"))  # images that cannot be read are counted when they are
        assert len(pool) == 12
    repaint(path)
    with pytest.raises(DataError, match=rf"_0.JPEG: not what was prepared; put it back, or delete {manifest} and run again"):
        open_prepared(manifest, "pool", torch.device("cpu"))
    assert len(open_prepared(manifest, "test", torch.device("cpu"))) == 6


# ---- names


NAMES = ["plain", "two words", "a,b", "'quoted'", '"double"', "new\nline", "tab\tand\rreturn", "line\u2028separator", "next\x85line"]
NAMES += ["ü", "日本", "%20"]
NAMES += [unicodedata.normalize("NFD", "é"), os.fsdecode(b"not-utf8-\xff")]


def test_files_keep_their_labels_whatever_they_are_called(own):
    entry, resources, _ = own
    for label, wnid in enumerate(WNIDS):
        folder = resources / NAME / "raw/train" / wnid
        for file in folder.iterdir():
            file.unlink()
        for name in NAMES:
            Image.new("L", (256, 256), 80 * label + 5).save(folder / f"{name}.png")
    entry["pool_size"] = 3 * len(NAMES)
    prepare(entry, resources)
    check_dataset(NAME, entry, resources, ["test"], full=True)
    pool = open_split(resources / NAME / "prepared", "pool")
    images = pool.load(np.arange(len(pool)))
    assert pool.unreadable == {}
    np.testing.assert_array_equal(images[:, 0, 0, 0], 80 * pool.labels + 5)
    (folder / "new\nline.png").write_bytes(b"no image")
    pool.load(np.arange(len(pool)))
    (problem,) = pool.unreadable.values()
    assert "\n" not in problem


def test_names_of_classes_may_hold_spaces(tmp_path):
    listed = tmp_path / "classes.txt"
    listed.write_bytes("\ufeffgolden retriever\r\nborder collie\r\n\r\n".encode())
    names = read_class_list(str(listed), 2)
    assert names == ["border collie", "golden retriever"]
    assert read_class_subset(str(listed), names) == {"border collie": 0, "golden retriever": 1}
    for damage in (lambda: listed.write_bytes(b"\xe9t\xe9\n"), listed.unlink):
        damage()
        with pytest.raises(DataError, match="classes.txt: not a readable list of classes .*; write one class per line, in UTF-8"):
            read_class_list(str(listed), 2)


def test_what_pillow_reads_is_an_image_and_hidden_files_are_none(tmp_path):
    folder = tmp_path / "train/a"
    folder.mkdir(parents=True)
    endings = ["bmp", "gif", "jfif", "jpeg", "JPG", "pgm", "png", "ppm", "tif", "tiff", "webp"]
    for ending in endings:
        Image.new("L", (8, 8), 200).save(folder / f"1.{ending}")
        (folder / f"._1.{ending}").write_bytes(b"\0\5\x16\7")
    (folder / ".DS_Store").write_bytes(b"\0")
    paths, _ = index_folder(folder.parent, {"a": 0}, len(endings))
    assert sorted(paths) == sorted(f"a/1.{ending}" for ending in endings)
    for path in paths:
        assert abs(int(load_image(folder.parent / path, None).mean()) - 200) <= 1
    (folder / "2.heic").write_bytes(b"\0")
    (folder / "notes.txt").write_bytes(b"\0")
    with pytest.raises(DataError, match=r"train: has 11 of 12 images .ignored: a/2.heic, a/notes.txt.; copy the missing ones"):
        index_folder(folder.parent, {"a": 0}, 12)


# ---- pixels


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (256, 1))
    eight = np.rint(ramp / 257).astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "eight.png")
    expected = load_image(tmp_path / "eight.png", None)
    for ending in ("png", "tif"):
        Image.fromarray(ramp).save(tmp_path / f"ramp.{ending}")
        np.testing.assert_array_equal(load_image(tmp_path / f"ramp.{ending}", None), expected)
    assert expected.min() < 20 and expected.max() > 235


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_camera_was(tmp_path, orientation):
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((320, 256))
    undo = {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}
    undo |= {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    for draws in (None, np.full(5, 0.3)):
        np.testing.assert_array_equal(load_image(tmp_path / "turned.png", draws), load_image(tmp_path / "upright.png", draws))


def save_frames(path):
    Image.new("L", (8, 8)).save(path, save_all=True, append_images=[Image.new("L", (8, 8), 99)])


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("two.gif", save_frames, "has 2 frames instead of one picture; save each that you need as a file of its own"),
        ("two.tif", save_frames, "has 2 frames instead of one picture"),
        ("two.webp", save_frames, "has 2 frames instead of one picture"),
        ("two.png", save_frames, "has 2 frames instead of one picture"),
        (
            "deep.tif",
            lambda path: Image.new("F", (8, 8)).save(path),
            "has values of 32 bits .mode F., which have no fixed range",
        ),
        ("whole.tif", lambda path: Image.new("I", (8, 8)).save(path), "has values of 32 bits .mode I., which have no fixed range"),
    ],
)
def test_what_is_no_single_picture_of_8_or_16_bits_is_refused_before_the_work(own, name, save, message):
    entry, resources, path = own
    save(path.with_name(name))
    with pytest.raises(DataError, match=rf"{name}: {message}"):
        load_image(path.with_name(name), None)
    path.unlink()
    with pytest.raises(SelectbenchError, match=rf"{name}: {message}"):
        prepare(entry, resources)


def test_a_picture_with_a_preview_is_one(tmp_path):
    first = Image.new("RGB", (8, 8), (200, 0, 0))
    first.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert load_image(tmp_path / "phone.jpg", None)[0].mean() > 190

import re
import shutil

import numpy as np
import pytest
from data_fixtures import WNIDS, encode_image, load_entries, prepare_published, write_imagenet
from PIL import Image

from selectbench.data.class_folders import read_class_list
from selectbench.data.fetch import fetch_dataset
from selectbench.data.images import crop_centre, crop_randomly
from selectbench.data.sources import check_raw
from selectbench.data.splits import GREY, open_split, refuse_damage
from selectbench.errors import DataError


@pytest.fixture
def imagenet(tmp_path):
    return write_imagenet(tmp_path), tmp_path


def gradient(width, height):
    """Red increases to the right, green downwards."""
    red = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    green = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([red, green, np.zeros_like(red)], axis=-1).astype(np.uint8))


def test_class_list_is_imagenet():
    names = read_class_list(load_entries()["imagenet1k"]["sources"][0]["class_list"], 1000)
    assert (names[0], names[-1], len(set(names))) == ("n01440764", "n15075141", 1000)


def test_index_and_manifest(imagenet):
    entry, resources = imagenet
    check_raw("imagenet1k", entry, resources)
    assert fetch_dataset("imagenet1k", entry, resources, None) == resources / "imagenet1k/raw"
    (resources / "imagenet1k/raw/train" / WNIDS[0] / "notes.txt").write_text("no image")
    manifest = prepare_published("imagenet1k", entry, resources)
    pool = open_split(resources / "imagenet1k/prepared", "pool")
    assert pool.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert pool.root == resources / "imagenet1k"
    assert pool.paths[:5] == [f"raw/train/{WNIDS[i // 4]}/{WNIDS[i // 4]}_{i % 4}.JPEG" for i in range(5)]
    assert manifest["splits"]["test"]["class_counts"] == [2, 2, 2]
    assert manifest["mean"] == [0.485, 0.456, 0.406]
    first = {path: path.read_bytes() for path in (resources / "imagenet1k/prepared").rglob("*") if path.is_file()}
    assert prepare_published("imagenet1k", entry, resources) == manifest
    assert {path: path.read_bytes() for path in first} == first


def test_loading(imagenet):
    entry, resources = imagenet
    prepare_published("imagenet1k", entry, resources)
    pool = open_split(resources / "imagenet1k/prepared", "pool")
    images = pool.load(np.array([5, 0, 5]))
    assert images.shape == (3, 3, 224, 224)
    assert images.dtype == np.uint8
    assert np.array_equal(images[0], images[2])
    with Image.open(pool.root / pool.paths[0]) as image:
        assert np.array_equal(images[1], np.asarray(crop_centre(image)).transpose(2, 0, 1))
    draws = np.random.default_rng(0).random((3, 5))
    drawn = pool.load(np.array([5, 0, 5]), draws)
    assert np.array_equal(drawn, pool.load(np.array([5, 0, 5]), draws))
    assert np.array_equal(drawn[:1], pool.load(np.array([5]), draws[:1]))
    assert not np.array_equal(drawn[0], drawn[2])
    assert pool.load(np.array([], dtype=int)).shape == (0, 3, 224, 224)


def test_central_crop_is_central():
    for size in ((512, 256), (256, 512), (100, 130)):
        pixels = np.asarray(crop_centre(gradient(*size)), dtype=float)
        assert pixels.shape == (224, 224, 3)
        assert pixels[..., 0].mean() == pytest.approx(127.5, abs=1.5)
        assert pixels[..., 1].mean() == pytest.approx(127.5, abs=1.5)


def test_random_crop_follows_its_draws():
    image = gradient(400, 400)
    almost = np.nextafter(1, 0)
    whole = np.asarray(crop_randomly(image, np.array([almost, 0.5, 0, 0, 0.7])), dtype=float)
    assert whole[0, 0, 0] < 3 < 252 < whole[-1, -1, 0]
    flipped = np.asarray(crop_randomly(image, np.array([almost, 0.5, 0, 0, 0.2])), dtype=float)
    assert np.array_equal(flipped, whole[:, ::-1])
    corner = np.asarray(crop_randomly(image, np.array([0, 0.5, almost, 0, 0.7])), dtype=float)
    side = np.sqrt(0.08)
    assert corner[0, 0, 0] / 255 == pytest.approx(1 - side, abs=0.01)
    assert corner[-1, -1, 1] / 255 == pytest.approx(side, abs=0.01)
    wide = np.asarray(crop_randomly(image, np.array([0, almost, 0, 0, 0.7])), dtype=float)
    assert wide[-1, -1, 0] / wide[-1, -1, 1] == pytest.approx(4 / 3, abs=0.05)
    assert crop_randomly(gradient(1, 300), np.full(5, 0.5)).size == (224, 224)


def test_grey_and_transparent_images_become_rgb(imagenet):
    entry, resources = imagenet
    prepare_published("imagenet1k", entry, resources)
    pool = open_split(resources / "imagenet1k/prepared", "pool")
    for mode in ("L", "RGBA", "P"):
        gradient(300, 300).convert(mode).save(pool.root / pool.paths[2], "PNG")
        assert pool.load(np.array([2])).shape == (1, 3, 224, 224)


def test_an_unreadable_image_is_grey_named_once_and_forgotten_when_it_is_whole_again(imagenet, caplog):
    entry, resources = imagenet
    prepare_published("imagenet1k", entry, resources)
    pool = open_split(resources / "imagenet1k/prepared", "pool")
    path = pool.root / pool.paths[3]
    content = path.read_bytes()
    for damage in (
        lambda: path.write_bytes(content[: len(content) // 2]),
        lambda: path.write_bytes(b"no image"),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(encode_image(np.zeros((1, 101, 3), dtype=np.uint8), "PNG")),
        path.unlink,
    ):
        whole = pool.load(np.arange(5))
        assert pool.unreadable == {} and pool.find_unreadable(np.arange(12)) == []
        damage()
        caplog.clear()
        for draws in (None, np.full((5, 5), 0.5)):
            images = pool.load(np.arange(5), draws)
            assert (images[3] == GREY).all()
        assert np.array_equal(pool.load(np.arange(5))[[0, 1, 2, 4]], whole[[0, 1, 2, 4]])
        assert pool.find_unreadable(np.arange(12)) == [3] and pool.find_unreadable(np.array([0, 7])) == []
        (message,) = caplog.messages
        assert re.fullmatch(rf"{path}: (no such file|unreadable image \(.*\)); copy it again from the published archive", message)
        assert pool.unreadable == {3: message}
        path.write_bytes(content)


def test_systematic_damage_ends_the_run(imagenet):
    entry, resources = imagenet
    prepare_published("imagenet1k", entry, resources)
    pool = open_split(resources / "imagenet1k/prepared", "pool")
    for position in (8, 5):
        (pool.root / pool.paths[position]).write_bytes(b"no image")
    told = rf"^{pool.root / pool.paths[5]}: unreadable image .*; 2 of 12 images cannot be read, too many to go on$"
    with pytest.raises(DataError, match=told):
        pool.load(np.arange(12))
    problems = {position: f"image {position}" for position in range(12)}
    refuse_damage(problems, 1200)
    refuse_damage({}, 0)
    with pytest.raises(DataError, match=r"^image 0; 12 of 1,199 images cannot be read"):
        refuse_damage(problems, 1199)
    with pytest.raises(DataError, match=r"^image 0; 1 of 1 images"):
        refuse_damage({0: "image 0"}, 1)


def test_wrong_class_folders_are_named(imagenet):
    entry, resources = imagenet
    raw = resources / "imagenet1k/raw"
    (raw / "val" / WNIDS[2]).rename(raw / "val/cats")
    told = rf"{raw}/val: no class folder n02123394, unknown class folder cats; place or link the train and val folders there yourself"
    for function in (check_raw, prepare_published):
        with pytest.raises(DataError, match=told):
            function("imagenet1k", entry, resources)
    with pytest.raises(DataError, match=told):
        fetch_dataset("imagenet1k", entry, resources, "user")
    shutil.rmtree(raw / "train")
    with pytest.raises(DataError, match=rf"{raw}/train: missing; place or link"):
        check_raw("imagenet1k", entry, resources)


def test_empty_and_incomplete_classes_are_told(imagenet):
    entry, resources = imagenet
    folder = resources / "imagenet1k/raw/train" / WNIDS[1]
    (folder / f"{WNIDS[1]}_0.JPEG").unlink()
    with pytest.raises(DataError, match=r"raw/train: has 11 of 12 images; copy the missing ones"):
        prepare_published("imagenet1k", entry, resources)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=rf"{folder}: holds no image"):
        prepare_published("imagenet1k", entry, resources)


def test_class_list_of_the_wrong_length_is_told(imagenet):
    entry, resources = imagenet
    with pytest.raises(DataError, match=r"classes.txt: lists 3 different classes instead of 4"):
        check_raw("imagenet1k", entry | {"classes": 4}, resources)

import shutil

import numpy as np
import pytest
from data_fixtures import WNIDS, load_entries, write_imagenet
from PIL import Image

from selectbench.data.class_folders import read_class_list
from selectbench.data.fetch import fetch_dataset
from selectbench.data.images import crop_centre, crop_randomly
from selectbench.data.prepare import prepare_dataset
from selectbench.data.sources import check_raw
from selectbench.data.splits import open_split
from selectbench.errors import DataError


@pytest.fixture
def imagenet(tmp_path):
    return write_imagenet(tmp_path), tmp_path


def gradient(width, height):
    """Red grows to the right, green downwards."""
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
    manifest = prepare_dataset("imagenet1k", entry, resources)
    pool = open_split(resources / "imagenet1k/prepared", "pool")
    assert pool.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert pool.paths[:5] == [*(f"{WNIDS[0]}/{WNIDS[0]}_{i}.JPEG" for i in range(4)), f"{WNIDS[1]}/{WNIDS[1]}_0.JPEG"]
    assert manifest["splits"]["test"]["class_counts"] == [2, 2, 2]
    assert manifest["mean"] == [0.485, 0.456, 0.406]
    first = {path: path.read_bytes() for path in (resources / "imagenet1k/prepared").rglob("*") if path.is_file()}
    assert prepare_dataset("imagenet1k", entry, resources) == manifest
    assert {path: path.read_bytes() for path in first} == first


def test_loading(imagenet):
    entry, resources = imagenet
    prepare_dataset("imagenet1k", entry, resources)
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
    prepare_dataset("imagenet1k", entry, resources)
    pool = open_split(resources / "imagenet1k/prepared", "pool")
    for mode in ("L", "RGBA", "P"):
        gradient(300, 300).convert(mode).save(pool.root / pool.paths[2], "PNG")
        assert pool.load(np.array([2])).shape == (1, 3, 224, 224)


def test_unreadable_images_are_named(imagenet):
    entry, resources = imagenet
    prepare_dataset("imagenet1k", entry, resources)
    pool = open_split(resources / "imagenet1k/prepared", "pool")
    path = pool.root / pool.paths[3]
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"no image", b""):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=rf"{path}: unreadable image \(.*\); copy it again"):
            pool.load(np.arange(5))
    path.unlink()
    with pytest.raises(DataError, match=rf"{path}: no such file; copy it again"):
        pool.load(np.arange(5), np.full((5, 5), 0.5))


def test_wrong_class_folders_are_named(imagenet):
    entry, resources = imagenet
    raw = resources / "imagenet1k/raw"
    (raw / "val" / WNIDS[2]).rename(raw / "val/cats")
    told = rf"{raw}/val: no class folder n02123394, unknown class folder cats; place or link the train and val folders there yourself"
    for function in (check_raw, prepare_dataset):
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
        prepare_dataset("imagenet1k", entry, resources)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=rf"{folder}: holds no image"):
        prepare_dataset("imagenet1k", entry, resources)


def test_class_list_of_the_wrong_length_is_told(imagenet):
    entry, resources = imagenet
    with pytest.raises(DataError, match=r"classes.txt: lists 3 different classes instead of 4"):
        check_raw("imagenet1k", entry | {"classes": 4}, resources)

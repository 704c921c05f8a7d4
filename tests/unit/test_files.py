"""Files are written whole, with the rights that the user's mask asks for, or not at all, and a full disk is one line."""

import os
import re
import stat
import subprocess
import sys

import pytest

from selectbench.records.files import write_text

FULL = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from selectbench.data.fetch import download_url
from selectbench.data.label_lists import unpack_rows
from selectbench.llm.values import CountedValues
from selectbench.records.files import append_line, write_array, write_arrays, write_atomically, write_bytes, write_text
from selectbench.records.progress import report_run
from selectbench.signals import Signals
from selectbench.stages._command import run_stage
from selectbench.stages._states import save_state
from selectbench.training.engine import Checkpoint
from selectbench.training.epochs import Progress
path, model = Path("folder/file"), torch.nn.Linear(100, 100)
optimiser = torch.optim.SGD(model.parameters())
WRITERS = {
    "text": lambda: write_text(path, "x" * 10_000),
    "bytes": lambda: write_bytes(path, b"x" * 10_000),
    "array": lambda: write_array(path, np.zeros(10_000)),
    "arrays": lambda: write_arrays(path, {"x": np.zeros(10_000)}),
    "signals": lambda: Signals(labels=np.zeros(10_000, dtype=np.int64)).save(path),
    "weights": lambda: write_atomically(path, lambda stream: torch.save({"x": torch.zeros(10_000)}, stream)),
    "state": lambda: save_state(path, {"x": torch.zeros(10_000)}),
    "checkpoint": lambda: Checkpoint(path, "key").save(model, optimiser, Progress()),
    "memo": lambda: CountedValues(lambda chosen: {"loss": 0.5}, memo=path, key="x" * 10_000),
    "measurements": lambda: CountedValues(lambda chosen: {"loss": 0.5}, memo=path, key="key")(range(10_000)),
    "line": lambda: append_line(path, "x" * 10_000),
    "progress": lambda: report_run(Path(), "folder", Path("x" * 10_000), "done"),
    "images": lambda: unpack_rows(Path(), Path("folder"), 10),
    "download": lambda: download_url(Path("published").absolute().as_uri(), path, 10_000),
}
Path("published").write_bytes(b"x" * 10_000)
if sys.argv[1] == "images":
    import pyarrow as pa, pyarrow.parquet
    Path("data").mkdir()
    rows = pa.table({"image": [{"bytes": b"x" * 10_000, "path": "a.jpg"}], "label": [[1]]})
    pyarrow.parquet.write_table(rows, "data/rows.parquet")
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
run_stage(WRITERS[sys.argv[1]])
"""
PLACES = {"images": "folder/000000.jpg", "progress": "state/progress/folder.txt"}
WRITERS = ["text", "bytes", "array", "arrays", "signals", "weights", "state", "checkpoint", "memo", "measurements", "line", "progress"]


def run_code(code, folder, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("writer", [*WRITERS, "images", "download"])
def test_a_stage_that_cannot_write_says_so_in_one_line(tmp_path, writer):
    """The largest size that a file may have stands for a full disk; both are told by the same call."""
    result, place = run_code(FULL, tmp_path, writer), PLACES.get(writer, "folder/file")
    assert result.returncode == 2
    told = re.fullmatch(rf"error: {place}: (File too large|only part of it could be written); it takes ([\d,]+) bytes.*\n", result.stderr)
    assert told and int(told[2].replace(",", "")) >= 10_000, result.stderr
    left = [path for path in (tmp_path / place).parent.iterdir() if path.stat().st_size]
    assert [path.read_text(encoding="utf-8") for path in left] == (['"key"\n'] if writer == "measurements" else [])


@pytest.mark.parametrize(("writer", "size"), [("state", 1000), ("checkpoint", 1000), ("text", 5000)])
def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path, writer, size):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"y" * size)
    assert run_code(FULL, tmp_path, writer).returncode == 2
    assert [path.read_bytes() for path in (tmp_path / "folder").iterdir()] == [b"y" * size]


FILLED = """
from pathlib import Path
import numpy as np
from selectbench.records.files import append_line, write_array, write_text
from selectbench.stages._command import run_stage
write_text(Path("{disk}/before"), "x" * 20_000)
append_line(Path("{disk}/lines"), "first")
run_stage(lambda: {what})
"""
DISK_BYTES = 64 << 10


@pytest.mark.parametrize(
    ("what", "name", "size"),
    [
        ("write_text(Path('{disk}/file'), 'x' * 100_000)", "file", 100_000),
        ("write_array(Path('{disk}/file'), np.zeros(10_000))", "file", 80_128),
        ("append_line(Path('{disk}/lines'), 'x' * 100_000)", "lines", 100_001),
    ],
)
def test_a_full_disk_is_told_with_what_the_file_takes_and_what_is_free(tmp_path, what, name, size):
    """A real file system, which only this test sees."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size={DISK_BYTES} none "$1" && shift && "$@"; status=$?; cat "{disk}/lines"; ls -A "{disk}"; exit $status'
    bare = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", str(disk)]
    if subprocess.run([*bare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    code = FILLED.format(disk=disk, what=what.format(disk=disk))
    result = subprocess.run([*bare, sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 2, result.stderr
    told = re.fullmatch(rf"error: {disk}/{name}: .*; it takes ([\d,]+) bytes, ([\d,]+) bytes are free\n", result.stderr)
    assert told, result.stderr
    takes, free = (int(number.replace(",", "")) for number in told.groups())
    assert takes == size and 0 < free < DISK_BYTES
    assert result.stdout == "first\nbefore\nlines\n"


@pytest.mark.parametrize("writer", ["np.savez(stream, x=values, y=values[:3])", "np.save(stream, values)", "torch.save(kept, stream)"])
def test_bytes_are_counted_as_they_are_written(tmp_path, writer):
    import numpy as np
    import torch

    from selectbench.records.files import count_bytes, write_atomically

    values = np.arange(1000.0)
    names = {"np": np, "torch": torch, "values": values, "kept": {"x": torch.from_numpy(values)}}
    write = eval(f"lambda stream: {writer}", names)
    write_atomically(tmp_path / "file", write)
    assert count_bytes(write) == (tmp_path / "file").stat().st_size


def test_other_errors_of_writing_are_passed_on(tmp_path):
    from selectbench.records.files import write_atomically

    def fail(_stream):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        write_atomically(tmp_path / "file", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_whose_file_is_in_the_way_says_so_in_one_line(tmp_path):
    (tmp_path / "folder").write_text("", encoding="utf-8")
    result = run_code(FULL, tmp_path, "text")
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

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from selectbench.artefacts.overlaps import compare_subsets
from selectbench.records.files import digest_file, read_sealed
from selectbench.stages import compare_subsets as stage


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def test_overlap_by_hand():
    # k = 4 of 10; a: seeds share {1, 2}; a and b share {1, 2, 3} at seed 0 and {9} at seed 1; c has only one seed, nothing in common
    subsets = {
        "a": {0: ids(1, 2, 3, 4), 1: ids(9, 2, 1, 8)},
        "b": {1: ids(9, 5, 6, 7), 0: ids(3, 2, 1, 0), 2: ids(9, 5, 3, 2)},
        "c": {0: ids(5, 6, 7, 8)},
    }
    found = compare_subsets(subsets, "0.4", 10)
    assert found["chance"] == 0.4
    assert found["methods"] == ["a", "b", "c"]
    # b against itself: {0, 1} share nothing, {0, 2} share 2 and 3, {1, 2} share 5 and 9
    assert found["overlap"] == [[0.5, 0.5, 0.0], [0.5, pytest.approx(1 / 3), 0.0], [0.0, 0.0, None]]


def test_methods_without_a_common_seed_are_not_compared():
    found = compare_subsets({"a": {0: ids(1, 2)}, "b": {1: ids(1, 2)}}, "0.5", 4)
    assert found["overlap"] == [[None, None], [None, None]]


def test_overlaps_equal_those_of_sets_on_random_subsets():
    draw = np.random.default_rng(7)
    subsets = {name: {seed: draw.choice(50, 20, replace=False) for seed in range(3)} for name in "abc"}
    found = compare_subsets(subsets, "0.4", 50)["overlap"]
    for row, left in enumerate("abc"):
        for column, right in enumerate("abc"):
            pairs = [(one, two) for one in range(3) for two in range(3) if (one < two if left == right else one == two)]
            shares = [len(set(subsets[left][one]) & set(subsets[right][two])) / 20 for one, two in pairs]
            assert found[row][column] == pytest.approx(np.mean(shares))


@pytest.fixture
def spec(tmp_path):
    np.savez(tmp_path / "a0.npz", **{"0.2": ids(0, 1), "0.4": ids(0, 1, 2, 3)})
    np.savez(tmp_path / "a1.npz", **{"0.2": ids(0, 2)})
    np.savez(tmp_path / "b0.npz", **{"0.2": ids(1, 9)})

    def run(seed: int, name: str | None) -> dict:
        return {"seed": seed, "subset": name and str(tmp_path / name)}

    methods = {"a": [run(0, "a0.npz"), run(1, "a1.npz")], "b": [run(0, "b0.npz"), run(1, None)], "c": [run(0, "gone.npz")]}
    groups = [{"dataset": "digits", "keep": keep, "num_pool": 10, "methods": methods} for keep in ("0.2", "0.4")]
    return {"paper": "rl_selector", "groups": groups, "code": "0"}


def test_runs_without_a_subset_are_left_out(spec):
    small, large = stage.compare_subsets(spec)
    assert small == {"dataset": "digits", "keep": "0.2", "chance": 0.2, "methods": ["a", "b"], "overlap": [[0.5, 0.5], [0.5, None]]}
    assert large == {"dataset": "digits", "keep": "0.4", "chance": 0.4, "methods": ["a"], "overlap": [[None]]}


def test_the_command_writes_what_the_library_returns(spec, tmp_path):
    subsets = sorted(map(str, tmp_path.glob("*.npz")))
    command = [sys.executable, "-m", "selectbench.stages.compare_subsets", "--subsets", *subsets]
    contents = []
    for name in ("one.json", "two.json"):
        done = subprocess.run(
            [*command, "--overlaps", tmp_path / name], capture_output=True, text=True, check=False, input=json.dumps(spec)
        )
        assert (done.returncode, done.stderr) == (0, "")
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    written = read_sealed(tmp_path / "one.json")
    assert (written["paper"], written["overlaps"], written["code"]) == ("rl_selector", stage.compare_subsets(spec), spec["code"])
    assert written["made_from"] == {"subsets": [digest_file(Path(path)) for path in subsets]}


def test_a_corrupt_file_ends_with_one_line(spec, tmp_path):
    (tmp_path / "a0.npz").write_bytes(b"PK")
    command = [sys.executable, "-m", "selectbench.stages.compare_subsets", "--subsets"]
    done = subprocess.run(
        [*command, "--overlaps", tmp_path / "out.json"], capture_output=True, text=True, check=False, input=json.dumps(spec)
    )
    assert done.returncode == 2
    assert "a0.npz" in done.stderr and done.stderr.count("\n") == 1

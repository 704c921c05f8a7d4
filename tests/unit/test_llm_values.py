"""Proxy trainings are measured once, counted, and survive a kill."""

import json
import signal
import subprocess
import sys

import pytest

from selectbench.errors import RunFailedError
from selectbench.llm.values import BudgetSpentError, CountedValues

SEARCH = """
import os, signal, sys
from pathlib import Path
from selectbench.llm.values import CountedValues
memo, kill_at = Path(sys.argv[1]), int(sys.argv[2])
done = 0
def measure(chosen):
    global done
    done += 1
    if done == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    print(chosen, flush=True)
    return {"loss": float(sum(chosen)) / 7}
values = CountedValues(measure, 8, memo, "key")
for first in range(8):
    values((first, first + 1, 3))
print("total", values.count, min(found["loss"] for _, found in values.history))
"""


def make(asked, **settings):
    def measure(chosen):
        asked.append(chosen)
        return {"loss": float(len(chosen))}

    return CountedValues(measure, **settings)


def test_a_set_is_measured_once_whatever_its_order_and_repeats():
    asked = []
    values = make(asked)
    assert values([8, 1, 8])["loss"] == values((1, 8))["loss"] == values({8, 1})["loss"] == 2.0
    assert values(())["loss"] == 0.0
    assert asked == [(1, 8), ()] and values.count == 2
    assert [chosen for chosen, _ in values.history] == asked


def test_only_new_sets_spend_the_budget():
    values = make([], limit=2)
    for chosen in ((1,), (2,), (1,), (2,)):
        values(chosen)
    with pytest.raises(BudgetSpentError):
        values((3,))
    assert values((1,))["loss"] == 1.0 and values.count == 2


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_fails_and_is_not_remembered(tmp_path, loss):
    memo = tmp_path / "memo.jsonl"
    values = CountedValues(lambda chosen: {"loss": loss}, memo=memo, key="k")
    with pytest.raises(RunFailedError, match=r"the proxy trained on clusters \[1, 4\] has the validation loss (nan|inf)"):
        values((4, 1))
    assert values.count == 0 and memo.read_text() == '"k"\n'


def test_a_killed_search_repeats_nothing_and_finds_the_same(tmp_path):
    def run(memo, kill_at):
        return subprocess.run([sys.executable, "-c", SEARCH, str(memo), str(kill_at)], capture_output=True, text=True, check=False)

    unbroken = run(tmp_path / "a.jsonl", 0)
    killed = run(tmp_path / "b.jsonl", 5)
    assert killed.returncode == -signal.SIGKILL
    resumed = run(tmp_path / "b.jsonl", 0)
    assert killed.stdout + resumed.stdout == unbroken.stdout
    assert len(killed.stdout.splitlines()) == 4
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()


@pytest.mark.parametrize("torn", [b'[[9], {"loss', b"\x00\xff", b'[[9], {"loss": 1.0}]'])
def test_a_torn_last_line_costs_only_itself(tmp_path, torn):
    memo = tmp_path / "memo.jsonl"
    make([], memo=memo, key="k")((1, 2))
    memo.write_bytes(memo.read_bytes() + torn)
    asked = []
    values = make(asked, memo=memo, key="k")
    values((1, 2)), values((9,))
    assert asked == [(9,)]
    assert [json.loads(line) for line in memo.read_text().splitlines()] == ["k", [[1, 2], {"loss": 2.0}], [[9], {"loss": 1.0}]]


def test_a_memo_of_another_key_starts_afresh(tmp_path):
    memo, asked = tmp_path / "deep" / "memo.jsonl", []
    make([], memo=memo, key="old")((1,))
    make(asked, memo=memo, key="new")((1,))
    assert asked == [(1,)]
    memo.write_bytes(b"")
    make(asked, memo=memo, key="new")((1,))
    assert len(asked) == 2


def test_remembered_sets_count_when_they_are_asked_for(tmp_path):
    memo, asked = tmp_path / "memo.jsonl", []
    for chosen in ((1,), (2,)):
        make([], memo=memo, key="k")(chosen)
    values = make(asked, memo=memo, key="k", limit=1)
    assert values.count == 0
    values((2,))
    assert values.count == 1 and asked == []
    with pytest.raises(BudgetSpentError):
        values((1,))

"""Rows of benchmarks are refused if something else ran while they were measured."""

import pytest
from benchmarks.quiet import Machine, find_noise, read_machine, time_quietly

BEFORE = Machine(busy=100.0, stolen=5.0, own=10.0, wall=1000.0)


@pytest.mark.parametrize(
    ("busy", "stolen", "load", "spread", "reason"),
    [
        (104.0, 5.0, 0.0, 0.1, ""),
        (105.0, 5.0, 0.0, 0.1, "other processes used 25% of a processor"),
        (104.0, 5.2, 0.0, 0.1, "5% of a processor was stolen"),
        (104.0, 5.0, 1.2, 0.1, "the load average was 1.2 too high"),
        (104.0, 5.0, 0.0, 0.3, "repeats differ by 30%"),
        (108.0, 5.0, 0.0, 0.3, "repeats differ by 30%; other processes used 100% of a processor"),
    ],
)
def test_noise_is_named(busy, stolen, load, spread, reason):
    after = Machine(busy=busy, stolen=stolen, own=14.0, wall=1004.0)
    assert find_noise(BEFORE, after, load, spread) == reason


def test_a_call_is_timed_and_answers():
    answer, timing = time_quietly(lambda: sum(range(1000)), 1)
    assert answer == 499_500
    assert timing.seconds > 0
    assert timing.spread >= 0


def test_the_machine_moves_forward():
    before, after = read_machine(), read_machine()
    assert after.wall >= before.wall
    assert after.busy >= before.busy

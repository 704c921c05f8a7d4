"""CPU seconds of a call, as median and spread of repeats, with a reason to refuse them if the machine was not quiet."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

REPEATS, LEAST_S = 5, 0.1  # calls shorter than this are repeated within a measurement
LARGEST_SPREAD, LARGEST_STEAL, LARGEST_OTHER, LARGEST_LOAD = 0.2, 0.01, 0.1, 0.5
_TICKS = os.sysconf("SC_CLK_TCK")  # units of /proc/stat per second


@dataclass(frozen=True)
class Timing:
    """How long a call takes.

    Parameters
    ----------
    seconds : median CPU seconds of all threads
    spread : largest minus smallest, relative to the median
    refused : why the measurement does not count; empty if it does
    """

    seconds: float
    spread: float
    refused: str


@dataclass(frozen=True)
class Machine:
    """Seconds since the machine was started, and CPU seconds of this process and its children.

    Parameters
    ----------
    busy, stolen : CPU seconds of all processes, and those that a hypervisor gave to other machines
    own, wall : CPU seconds of this process and its children, and seconds of the clock
    """

    busy: float
    stolen: float
    own: float
    wall: float


def time_quietly(call: Callable[[], Any], threads: int) -> tuple[Any, Timing]:
    """Return the result of a call and its timing; a first call, which loads and compiles, does not count.

    Parameters
    ----------
    call : a function without arguments
    threads : how many it may use
    """
    call()
    clock = time.process_time()
    answer = call()
    number = max(1, round(LEAST_S / max(time.process_time() - clock, 1e-6)))
    seconds, before = [], read_machine()
    for _ in range(REPEATS):
        clock = time.process_time()
        for _ in range(number):
            call()
        seconds.append((time.process_time() - clock) / number)
    middle = median(seconds)
    spread = (max(seconds) - min(seconds)) / middle
    return answer, Timing(middle, spread, find_noise(before, read_machine(), os.getloadavg()[0] - threads, spread))


def read_machine() -> Machine:
    """Read ``/proc/stat`` and the times of this process."""
    user, nice, system, _, _, irq, softirq, steal = (int(number) / _TICKS for number in Path("/proc/stat").read_text().split()[1:9])
    own = os.times()
    spent = own.user + own.system + own.children_user + own.children_system
    return Machine(user + nice + system + irq + softirq, steal, spent, time.monotonic())


def find_noise(before: Machine, after: Machine, load: float, spread: float) -> str:
    """Return what disturbed a measurement, or an empty text.

    Parameters
    ----------
    before, after : the machine at both ends
    load : load average beyond the threads of the measurement
    spread : of the repeats, relative to their median
    """
    wall = max(after.wall - before.wall, 1e-9)
    other = (after.busy - before.busy - (after.own - before.own)) / wall
    stolen = (after.stolen - before.stolen) / wall
    checks = {
        f"repeats differ by {spread:.0%}": spread > LARGEST_SPREAD,
        f"{stolen:.0%} of a processor was stolen": stolen > LARGEST_STEAL,
        f"other processes used {other:.0%} of a processor": other > LARGEST_OTHER,
        f"the load average was {load:.1f} too high": load > LARGEST_LOAD,
    }
    return "; ".join(reason for reason, is_so in checks.items() if is_so)

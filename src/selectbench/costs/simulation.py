"""List schedules of tasks with durations and dependencies: of the tasks that can start, the one with the longest path to the end does."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selectbench.errors import SelectbenchError, spell_count


@dataclass(frozen=True)
class Task:
    """Something that takes time and processors.

    Parameters
    ----------
    seconds : how long it takes
    needs : names of the tasks that must finish before it starts
    gpus, cores : what it occupies while it runs
    """

    seconds: float
    needs: Sequence[str] = ()
    gpus: int = 0
    cores: int = 1


@dataclass(frozen=True)
class Schedule:
    """When every task starts, and how well that uses the processors.

    Parameters
    ----------
    starts : task → seconds after the beginning
    makespan : seconds until the last task finishes
    critical_path : seconds of the longest chain of tasks, which no number of processors shortens
    gpu_seconds, core_seconds : work, summed over tasks
    """

    starts: Mapping[str, float]
    makespan: float
    critical_path: float
    gpu_seconds: float
    core_seconds: float


def measure_tails(tasks: Mapping[str, Task]) -> dict[str, float]:
    """Return task → seconds from its start to the end of the longest chain that it begins.

    Raises
    ------
    SelectbenchError
        A task needs one that does not exist, or dependencies form a cycle.
    """
    order = sort_tasks(tasks)
    tails = dict.fromkeys(tasks, 0.0)
    for name in reversed(order):
        tails[name] += tasks[name].seconds
        for need in tasks[name].needs:
            tails[need] = max(tails[need], tails[name])
    return tails


def sort_tasks(tasks: Mapping[str, Task]) -> list[str]:
    """Return the names of tasks so that each comes after those that it needs (see ``measure_tails`` for errors)."""
    waiting = {name: len(set(task.needs)) for name, task in tasks.items()}
    followers = list_followers(tasks)
    order = [name for name, count in waiting.items() if not count]
    for name in order:
        for follower in followers[name]:
            waiting[follower] -= 1
            if not waiting[follower]:
                order.append(follower)
    if len(order) < len(tasks):
        raise SelectbenchError(f"dependencies form a cycle; {next(name for name in tasks if waiting[name])} can never start")
    return order


def list_followers(tasks: Mapping[str, Task]) -> dict[str, list[str]]:
    """Return task → the tasks that need it.

    Raises
    ------
    SelectbenchError
        A task needs one that does not exist.
    """
    followers: dict[str, list[str]] = {name: [] for name in tasks}
    for name, task in tasks.items():
        for need in set(task.needs):
            if need not in followers:
                raise SelectbenchError(f"{name} needs {need}, which is not a task")
            followers[need].append(name)
    return followers


def simulate(tasks: Mapping[str, Task], gpus: int, cores: int | None = None) -> Schedule:
    """Schedule tasks: whenever processors are free, start the one with the longest tail among tasks that fit and whose needs have finished.

    Parameters
    ----------
    tasks : name → task
    gpus : GPUs available
    cores : cores available; None for no limit

    Raises
    ------
    SelectbenchError
        A task needs more processors than are available or a task that does not exist, or dependencies form a cycle.
    """
    for name, task in tasks.items():
        for kind, wanted, there in (("GPU", task.gpus, gpus), ("core", task.cores, cores)):
            if there is not None and wanted > there:
                available = f"only {there} {'is' if there == 1 else 'are'}" if there else "none is"
                raise SelectbenchError(f"{name} needs {spell_count(wanted, kind)}, but {available} available")
    tails, followers = measure_tails(tasks), list_followers(tasks)
    waiting = {name: len(set(task.needs)) for name, task in tasks.items()}
    ready: dict[tuple[int, int], list[tuple[float, str]]] = {}  # processors that tasks need → a heap of these tasks, longest tail first
    running: list[tuple[float, str]] = []
    starts: dict[str, float] = {}
    now, free_gpus, free_cores = 0.0, gpus, cores

    def add(name: str) -> None:
        heapq.heappush(ready.setdefault((tasks[name].gpus, tasks[name].cores), []), (-tails[name], name))

    for name, count in waiting.items():
        if not count:
            add(name)
    while ready or running:
        fitting = [asked for asked in ready if asked[0] <= free_gpus and (free_cores is None or asked[1] <= free_cores)]
        if fitting:
            asked = min(fitting, key=lambda asked: ready[asked][0])
            _, name = heapq.heappop(ready[asked])
            if not ready[asked]:
                del ready[asked]
            starts[name] = now
            free_gpus, free_cores = free_gpus - asked[0], None if free_cores is None else free_cores - asked[1]
            heapq.heappush(running, (now + tasks[name].seconds, name))
            continue
        now, name = heapq.heappop(running)
        free_gpus, free_cores = free_gpus + tasks[name].gpus, None if free_cores is None else free_cores + tasks[name].cores
        for follower in followers[name]:
            waiting[follower] -= 1
            if not waiting[follower]:
                add(follower)
    return Schedule(
        starts=starts,
        makespan=now,
        critical_path=max(tails.values(), default=0.0),
        gpu_seconds=sum(task.seconds * task.gpus for task in tasks.values()),
        core_seconds=sum(task.seconds * task.cores for task in tasks.values()),
    )

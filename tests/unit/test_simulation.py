"""List schedules against makespans computed by hand and against their lower bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectbench.costs.simulation import Task, measure_tails, simulate
from selectbench.errors import SelectbenchError, spell_count


def chain(*seconds, gpus=0):
    names = [f"t{number}" for number in range(len(seconds))]
    return {
        name: Task(length, needs=names[place - 1 : place] if place else (), gpus=gpus)
        for place, (name, length) in enumerate(zip(names, seconds, strict=True))
    }


def test_a_chain_takes_its_sum_on_any_machine():
    tasks = chain(3, 1, 4)
    assert measure_tails(tasks) == {"t0": 8, "t1": 5, "t2": 4}
    for cores in (1, 5, None):
        schedule = simulate(tasks, gpus=0, cores=cores)
        assert (schedule.makespan, schedule.critical_path) == (8, 8)
        assert schedule.starts == {"t0": 0, "t1": 3, "t2": 4}


def test_independent_tasks_share_gpus():
    tasks = {f"t{length}": Task(length, gpus=1) for length in (5, 4, 3, 2, 1, 1.5)}
    assert simulate(tasks, gpus=1).makespan == 16.5  # one GPU does all the work
    two = simulate(tasks, gpus=2)
    # longest first: 5 | 4 → 3 after 4 (ends 7) | 2 after 5 (ends 7) → 1.5 after 7 | 1 after 7
    assert two.starts == {"t5": 0, "t4": 0, "t3": 4, "t2": 5, "t1.5": 7, "t1": 7}
    assert two.makespan == 8.5
    assert simulate(tasks, gpus=6).makespan == 5
    assert two.gpu_seconds == 16.5


def test_the_longest_way_to_the_end_goes_first():
    tasks = {"short": Task(2), "head": Task(1), "tail": Task(4, needs=["head"])}
    assert simulate(tasks, gpus=0, cores=1).starts == {"head": 0, "tail": 1, "short": 5}
    assert simulate(tasks, gpus=0, cores=2).makespan == 5


def test_a_task_waits_for_all_its_needs_and_for_its_kind_of_processor():
    tasks = {
        "a": Task(2, gpus=1, cores=2),
        "b": Task(3, gpus=1, cores=2),
        "score": Task(1, needs=["a", "b"], cores=1),
        "free": Task(4, cores=2),
    }
    schedule = simulate(tasks, gpus=1, cores=4)
    # b (3 + 1 to the end) before a; free fits beside b; a starts at 3; score waits for a
    assert schedule.starts == {"b": 0, "free": 0, "a": 3, "score": 5}
    assert schedule.makespan == 6
    assert simulate(tasks, gpus=1, cores=2).starts == {"b": 0, "free": 3, "a": 7, "score": 9}


def test_a_task_of_two_gpus_is_not_started_on_one():
    tasks = {"pair": Task(5, gpus=2), "one": Task(1, gpus=1), "other": Task(1, gpus=1)}
    assert simulate(tasks, gpus=2).starts == {"pair": 0, "one": 5, "other": 5}
    with pytest.raises(SelectbenchError, match="pair needs 2 GPUs, but only 1 is available"):
        simulate(tasks, gpus=1)
    with pytest.raises(SelectbenchError, match="one needs 1 GPU, but none is available"):
        simulate({"one": tasks["one"]}, gpus=0)


def test_cycles_and_unknown_tasks_are_reported():
    with pytest.raises(SelectbenchError, match="dependencies form a cycle; a can never start"):
        simulate({"a": Task(1, needs=["b"]), "b": Task(1, needs=["a"]), "c": Task(1)}, gpus=0)
    with pytest.raises(SelectbenchError, match="a needs b, which is not a task"):
        simulate({"a": Task(1, needs=["b"])}, gpus=0)


def test_nothing_takes_no_time():
    schedule = simulate({}, gpus=8)
    assert (schedule.makespan, schedule.critical_path, schedule.gpu_seconds) == (0, 0, 0)


@st.composite
def task_graphs(draw):
    names = [f"t{number}" for number in range(draw(st.integers(1, 12)))]
    return {
        name: Task(
            draw(st.integers(0, 9)),
            needs=draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else [],
            gpus=draw(st.integers(0, 2)),
            cores=draw(st.integers(1, 3)),
        )
        for place, name in enumerate(names)
    }


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(task_graphs(), st.integers(2, 4), st.integers(3, 5))
def test_schedules_keep_every_rule_and_bound(tasks, gpus, cores):
    schedule = simulate(tasks, gpus, cores)
    starts = schedule.starts
    ends = {name: starts[name] + task.seconds for name, task in tasks.items()}
    assert all(ends[need] <= starts[name] for name, task in tasks.items() for need in task.needs)
    for moment in starts.values():
        running = [task for name, task in tasks.items() if starts[name] <= moment < ends[name]]
        assert sum(task.gpus for task in running) <= gpus
        assert sum(task.cores for task in running) <= cores
    assert schedule.makespan == max(ends.values())
    bounds = (schedule.critical_path, schedule.gpu_seconds / gpus, schedule.core_seconds / cores)
    assert max(bounds) <= schedule.makespan <= sum(task.seconds for task in tasks.values())
    assert simulate(tasks, 99, None).makespan == schedule.critical_path


def test_messages_use_singular_and_plural():
    assert [spell_count(number, "run") for number in (0, 1, 2, 1123)] == ["0 runs", "1 run", "2 runs", "1,123 runs"]

"""What a results page says of the machines that its records were made on."""

import pytest

from selectbench.artefacts.machines import ELSEWHERE, describe_machines

HERE = {
    "arithmetic": "avx2",
    "processor": "Maker A",
    "device": "cpu",
    "python": "3.11.7",
    "versions": {"numpy": "2.4.6", "torch": "2.13.0"},
}


def make_records(*origins, evaluated=()):
    """Make one record per origin; the evaluation of the n-th has the n-th origin of ``evaluated``, or fails."""
    evaluations = [{"wall_s": 1.0, "provenance": HERE | origin} for origin in evaluated]
    evaluations += [None] * (len(origins) - len(evaluations))
    return {
        f"run-{number}": {
            "provenance": {name: value for name, value in (HERE | origin).items() if value is not None},
            "evaluation": evaluation,
        }
        for number, (origin, evaluation) in enumerate(zip(origins, evaluations, strict=True))
    }


def test_records_of_one_machine_with_pinned_arithmetic_need_no_warning():
    found = describe_machines(make_records({}, {}, {}, evaluated=[{}, {}]))
    assert found.records == 5 and found.warnings == [] and found.elsewhere == ELSEWHERE
    assert dict(found.facts) == {
        "Arithmetic": "AVX2",
        "Processors": "Maker A",
        "Devices": "CPU",
        "Versions": "Python 3.11.7; numpy 2.4.6; torch 2.13.0",
    }


def test_no_records_say_nothing():
    found = describe_machines({})
    assert found.records == 0 and found.warnings == []


@pytest.mark.parametrize(
    ("arithmetic", "said", "fact"),
    [
        ("native", "used whatever instructions the processor offers (native arithmetic).", "native"),
        ("sse4", "used SSE4, which is meant for comparisons.", "SSE4"),
        (None, "do not say which instructions were used.", "not recorded"),
        ("unheard of", "do not say which instructions were used.", "not recorded"),
    ],
)
def test_records_without_pinned_arithmetic_are_warned_of(arithmetic, said, fact):
    everywhere = describe_machines(make_records(*[{"arithmetic": arithmetic}] * 3))
    assert everywhere.warnings == [f"3 of 3 records {said}"]
    assert dict(everywhere.facts)["Arithmetic"] == fact
    some = describe_machines(make_records({}, {}, {"arithmetic": arithmetic}))
    assert some.warnings[0] == f"1 of 3 records {said}"
    assert some.warnings[1].startswith("This page mixes machines: its records are of 2 arithmetic settings.")
    assert dict(some.facts)["Arithmetic"] == f"AVX2 (2), {fact} (1)"


def test_records_of_a_gpu_are_warned_of():
    found = describe_machines(make_records({"device": "GPU X"}, evaluated=[{"device": "GPU X"}]))
    assert found.warnings == ["2 of 2 records were made on a GPU (GPU X), whose arithmetic is not pinned."]
    mixed = describe_machines(make_records({"device": "GPU X"}, evaluated=[{}]))
    assert [warning.split(":")[0] for warning in mixed.warnings] == [
        "1 of 2 records were made on a GPU (GPU X), whose arithmetic is not pinned.",
        "This page mixes machines",
    ]
    held = {"device": "GPU X", "arithmetic": "deterministic", "gpu": {"varying": []}}
    assert describe_machines(make_records(held, evaluated=[held])).warnings == []
    varying = held | {"gpu": {"varying": ["cumsum_cuda_kernel"]}}
    assert describe_machines(make_records(held, evaluated=[varying])).warnings == [
        "1 of 2 records used GPU kernels that have no deterministic version (cumsum_cuda_kernel)."
    ]


def test_a_page_of_several_machines_says_so():
    records = make_records({}, {}, {"processor": "Maker B"}, {"versions": {"numpy": "2.4.6", "torch": "2.12.0"}, "python": "3.12.1"})
    found = describe_machines(records)
    assert found.warnings == [
        "This page mixes machines: its records are of 2 processors, 2 versions of Python, 2 versions of torch. "
        "Part of a difference between runs may come from that."
    ]
    assert dict(found.facts)["Processors"] == "Maker A (3), Maker B (1)"
    assert dict(found.facts)["Versions"] == "Python 3.11.7 (3), 3.12.1 (1); numpy 2.4.6; torch 2.13.0 (3), 2.12.0 (1)"


def test_a_training_and_its_evaluation_on_different_machines_are_mixed():
    found = describe_machines(make_records({}, evaluated=[{"processor": "Maker B"}]))
    assert len(found.warnings) == 1 and "2 processors" in found.warnings[0]


def test_old_records_name_no_processor_and_lacking_libraries_are_not_a_mix():
    assert dict(describe_machines(make_records({"processor": None})).facts)["Processors"] == "not recorded"
    assert describe_machines(make_records({}, {"versions": {"numpy": "2.4.6"}})).warnings == []

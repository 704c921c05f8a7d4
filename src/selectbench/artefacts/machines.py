"""The machines that records were made on, with a warning if these are of several kinds or if arithmetic was not pinned."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from selectbench.errors import spell_count
from selectbench.records.arithmetic import AVX2, DETERMINISTIC, NATIVE, SSE4
from selectbench.records.rows import Provenance, Records

CPU, UNKNOWN = "CPU", "not recorded"
PINNED = "AVX2"
NAMES = {AVX2: PINNED, SSE4: "SSE4", NATIVE: "native", DETERMINISTIC: "AVX2, deterministic on GPUs"}
UNPINNED = {
    "native": "used whatever instructions the processor offers (native arithmetic)",
    "SSE4": "used SSE4, which is meant for comparisons",
    UNKNOWN: "do not say which instructions were used",
}
ELSEWHERE = "On another machine, numbers may differ in the last digits, and single runs by a few points; see docs/evidence.md."

Count = Mapping[str, int]  # what → number of records


class Machines(NamedTuple):
    """What the records of a page were made with.

    Parameters
    ----------
    records : how many there are: one per training and one per evaluation
    facts : (name, text) pairs
    warnings : one sentence each; none if all records were made in the same way, with pinned arithmetic
    elsewhere : what follows for another machine
    """

    records: int
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    elsewhere: str = ELSEWHERE


def describe_machines(records: Records) -> Machines:
    """Return the arithmetic, processors, devices and versions of all records, with warnings.

    Parameters
    ----------
    records : run id → record
    """
    origins = list(list_origins(records))
    arithmetic = Counter(NAMES.get(origin.get("arithmetic", ""), UNKNOWN) for origin in origins)
    processors = Counter(origin.get("processor", UNKNOWN) for origin in origins)
    devices = Counter(CPU if origin["device"] == "cpu" else origin["device"] for origin in origins)
    versions = count_versions(origins)
    counted = {"arithmetic setting": arithmetic, "processor": processors, "device": devices}
    mixed = [spell_count(len(count), noun) for noun, count in counted.items() if len(count) > 1]
    mixed += [f"{len(count)} versions of {name}" for name, count in versions.items() if len(count) > 1]
    facts = [
        ("Arithmetic", format_count(arithmetic)),
        ("Processors", format_count(processors)),
        ("Devices", format_count(devices)),
        ("Versions", "; ".join(f"{name} {format_count(count)}" for name, count in versions.items())),
    ]
    warnings = [*warn_unpinned(arithmetic, len(origins)), *warn_varying(origins), *warn_mixed(mixed)]
    return Machines(len(origins), facts, warnings)


def list_origins(records: Records) -> Iterator[Provenance]:
    """Yield the provenance of every training and of every evaluation."""
    for record in records.values():
        yield record["provenance"]
        evaluation = record.get("evaluation")
        if evaluation:
            yield evaluation["provenance"]


def count_versions(origins: Sequence[Provenance]) -> dict[str, Count]:
    """Return Python and library → version → number of records; records that do not name a library are left out."""
    versions: dict[str, Counter[str]] = {}
    for origin in origins:
        python = {"Python": origin["python"]} if "python" in origin else {}
        for name, version in {**python, **origin["versions"]}.items():
            versions.setdefault(name, Counter())[version] += 1
    return dict(versions)


def warn_unpinned(arithmetic: Count, num: int) -> Iterator[str]:
    """Yield a sentence for every kind of arithmetic that is not a pinned one.

    Parameters
    ----------
    arithmetic : number of records by kind
    num : number of all records
    """
    for kind, said in UNPINNED.items():
        if kind in arithmetic:
            yield f"{arithmetic[kind]:,} of {spell_count(num, 'record')} {said}."


def warn_varying(origins: Sequence[Provenance]) -> Iterator[str]:
    """Yield a sentence for records of GPUs without deterministic arithmetic, and one for those where some kernels had no such version."""
    on_gpus = [origin for origin in origins if origin["device"] != "cpu"]
    unpinned = [origin["device"] for origin in on_gpus if "varying" not in origin.get("gpu", {})]
    if unpinned:
        names = ", ".join(dict.fromkeys(unpinned))
        yield f"{len(unpinned):,} of {spell_count(len(origins), 'record')} were made on a GPU ({names}), whose arithmetic is not pinned."
    varying = [kernels for origin in on_gpus if (kernels := origin.get("gpu", {}).get("varying"))]
    if varying:
        names = ", ".join(sorted({name for kernels in varying for name in kernels}))
        used = f"used GPU kernels that have no deterministic version ({names})"
        yield f"{len(varying):,} of {spell_count(len(origins), 'record')} {used}."


def warn_mixed(mixed: Sequence[str]) -> Iterator[str]:
    """Yield a sentence if records are of several kinds, given what they are several of."""
    if mixed:
        yield f"This page mixes machines: its records are of {', '.join(mixed)}. Part of a difference between runs may come from that."


def format_count(count: Count) -> str:
    """Return what all records share, or each kind with the number of its records, most frequent first."""
    if len(count) == 1:
        return next(iter(count))
    return ", ".join(f"{name} ({num:,})" for name, num in sorted(count.items(), key=lambda item: (-item[1], item[0])))

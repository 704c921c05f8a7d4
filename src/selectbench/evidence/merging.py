"""Merging: runs of several bundles as one, whatever their order; two results of one run are a conflict that nothing resolves silently."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from selectbench.errors import SelectbenchError, spell, spell_count
from selectbench.evidence.bundle import Bundle, Choice, read_bundle, write_bundle
from selectbench.records.files import DIGEST, digest_value
from selectbench.stages._origins import identify_subset

if TYPE_CHECKING:
    from selectbench.records.rows import Row


@dataclass
class Outcome:
    """What became of the runs of an import or of a merge.

    Parameters
    ----------
    added : runs that were imported or merged
    present : runs that were there already, with the same result
    refused : reason → runs that do not fit
    conflicts : run → the two results of the same training or evaluation, or the difference between two
    notes : what else should be known
    """

    added: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was refused and nothing is in conflict."""
        return not self.refused and not self.conflicts

    def describe(self, added: str, present: str) -> list[str]:
        """Return the lines that tell people.

        Parameters
        ----------
        added, present : what became of such runs, as in ``imported`` and ``already here``
        """
        refused = sum(map(len, self.refused.values()))
        counts = [f"{spell_count(len(self.added), 'run')} {added}", f"{len(self.present):,} {present}"]
        counts += [f"{refused:,} refused", spell_count(len(self.conflicts), "conflict")]
        lines = [f"refused: {reason}: {_spell_runs(runs)}" for reason, runs in self.refused.items()]
        lines += [f"conflict: {spell(run)}: {difference}" for run, difference in self.conflicts.items()]
        return [*lines, *self.notes, ", ".join(counts)]


def _spell_runs(runs: Sequence[str]) -> str:
    return f"{spell_count(len(runs), 'run')}, {'first' if len(runs) > 1 else 'namely'} {spell(runs[0])}"


def find_contrast(first: "Row", second: "Row", names: tuple[str, str]) -> str | None:
    """Return how the results of two rows of a run differ; None if they agree. Times, memory and provenance do not count.

    Parameters
    ----------
    first, second : the rows
    names : where each is from, for the message
    """
    found = [_list_results(row) for row in (first, second)]
    for name in dict.fromkeys([*found[0], *found[1]]):
        values = [results.get(name) for results in found]
        if values[0] != values[1]:
            return f"{name}: {names[0]} {values[0]}, {names[1]} {values[1]}"
    return None


def _list_results(row: "Row") -> dict[str, object]:
    """Return what a run found, under flat names."""
    training = row["training"]
    results: dict[str, object] = {"status": row["status"], "num_kept": row["num_kept"]}
    results["training.final_loss"] = None if training is None else training["final_loss"]
    results["choice"] = None if row["selection"] is None else row["selection"]["subset_sha256"]
    for test, outcome in (row["test"] or {}).items():
        results |= {f"test.{test}.{name}": value for name, value in outcome.items()}
    return results


def find_keys(row: "Row") -> tuple[str, str | None]:
    """Return the keys of training and evaluation; that of the evaluation leaves out the training, and its weights, which are a result."""
    evaluation = row["evaluation"]
    if evaluation is None or evaluation["made_from"] is None:
        return row["key"], None
    return row["key"], digest_value({name: value for name, value in evaluation["made_from"].items() if name not in ("training", "weights")})


def merge_bundles(bundles: Sequence[Bundle]) -> tuple[Bundle, Outcome]:
    """Return the runs of several bundles as one, and what became of each.

    Of two records of a run with the same result, the one that was finished first counts, so that the order of bundles does not matter.

    Raises
    ------
    SelectbenchError
        The bundles are of different scales.
    """
    scales = sorted({bundle.scale for bundle in bundles if bundle.scale is not None})
    if len(scales) > 1:
        named = ", ".join(f"{bundle.file} of {bundle.scale}" for bundle in bundles if bundle.scale is not None)
        raise SelectbenchError(f"bundles of different scales cannot be merged: {named}")
    outcome = Outcome()
    rows, sources = {}, {}
    for bundle in bundles:
        for run, row in bundle.rows.items():
            if run not in rows:
                rows[run], sources[run] = row, bundle.file
                continue
            names = (sources[run], bundle.file)
            difference = _find_other_key(rows[run], row, names) or find_contrast(rows[run], row, names)
            if difference is not None:
                outcome.conflicts.setdefault(run, difference)
            else:
                outcome.present += [run] if run not in outcome.present else []
            rows[run], sources[run] = min((rows[run], sources[run]), (row, bundle.file), key=lambda pair: _order(pair[0]))
    outcome.added = sorted(set(rows) - set(outcome.conflicts) - set(outcome.present))
    choices = _merge_choices(bundles, outcome)
    return Bundle(scales[0] if scales else None, rows, choices), outcome


def _find_other_key(first: "Row", second: "Row", names: tuple[str, str]) -> str | None:
    """Return which of two rows of a run were made from something else; None if both were made from the same."""
    for part, one, other in zip(("training", "evaluation"), find_keys(first), find_keys(second), strict=True):
        if one != other and None not in (one, other):
            return f"{part} made from something else: key {str(one)[:12]}… in {names[0]}, {str(other)[:12]}… in {names[1]}"
    return None


def _order(row: "Row") -> tuple[str, str]:
    return row["provenance"]["finished"], row["digest"]


def _merge_choices(bundles: Sequence[Bundle], outcome: Outcome) -> dict[str, Choice]:
    """Return the selections of all bundles; of two that chose the same samples, the one with more keep fractions counts."""
    merged: dict[str, tuple[Choice, str]] = {}
    for bundle in bundles:
        for record, choice in bundle.choices.items():
            kept = merged.get(record)
            if kept is None:
                merged[record] = (choice, bundle.file)
                continue
            subsets = [found.described["subsets"] for found in (kept[0], choice)]
            for keep in sorted(subsets[0].keys() & subsets[1].keys()):
                if digest_value(identify_subset(subsets[0][keep])) != digest_value(identify_subset(subsets[1][keep])):
                    outcome.conflicts[record] = f"keep {keep}: {kept[1]} and {bundle.file} hold other samples"
            merged[record] = min(kept, (choice, bundle.file), key=lambda pair: _order_choice(pair[0]))
    return {record: choice for record, (choice, _) in sorted(merged.items())}


def _order_choice(choice: Choice) -> tuple[int, str]:
    described = choice.described
    return -len(described["subsets"]), described[DIGEST]


def merge_files(files: Sequence[Path], output: Path) -> Outcome:
    """Write the runs of several files as one bundle, unless some are in conflict."""
    if os.path.lexists(output):
        raise SelectbenchError(f"{output}: already exists; name another file, or delete it first")
    bundle, outcome = merge_bundles([read_bundle(file) for file in files])
    if outcome.is_clean:
        write_bundle(bundle, output)
    return outcome

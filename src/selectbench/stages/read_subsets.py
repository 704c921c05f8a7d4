"""Read the subsets that other code has chosen for a method, one for each keep fraction."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from selectbench.planning.entries import DeclaredCost
from selectbench.planning.stage import Inputs, Output, SizeNetwork, Stage, fingerprint_stage
from selectbench.records.files import write_arrays
from selectbench.records.provenance import CPU, describe_provenance
from selectbench.stages._command import parse_arguments, run_stage, write_made
from selectbench.stages.prepare_data import PrepareData
from selectbench.stages.select_subsets import describe_subset, size_subsets

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


class Spec(TypedDict):
    """Which subsets are read from which file.

    Parameters
    ----------
    file, sha256 : where they are listed, and the digest of it
    cost : of choosing one of them, as their author reports it
    method : id of the method
    dataset, keeps, seed : of the subsets
    code : fingerprint of the code
    """

    file: str
    sha256: str
    cost: DeclaredCost
    method: str
    dataset: str
    keeps: list[str]
    seed: int
    code: str


@dataclass(frozen=True)
class ReadSubsets(Stage):
    """The subsets that other code has chosen for one seed of a method, at all keep fractions."""

    dataset: str
    proxy: str
    method: str
    seed: str

    name = "read_subsets"
    reads = ("data",)
    writes = {
        "subsets": "{results}/subsets/{dataset}/{proxy}/{method}/seed-{seed}.npz",
        "record": "{results}/subsets/{dataset}/{proxy}/{method}/seed-{seed}.json",
    }
    log = "{results}/logs/read_subsets/{dataset}/{proxy}/{method}/seed-{seed}.log"

    @classmethod
    def constrain(cls, plan: "Plan") -> dict[str, str]:
        """Restrict ``method`` to those whose subsets other code chooses."""
        return {"method": "|".join(plan.config.list_given()) or "$"}

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return the prepared data set."""
        return {"data": [Output(PrepareData(self.dataset), "manifest")]}

    def specify(self, plan: "Plan") -> Spec:
        """Return the file, and the keep fractions that runs need."""
        entry = plan.config.methods[self.method]
        return {
            "file": entry["subsets"],
            "sha256": plan.config.given[self.method].sha256,
            "cost": entry["cost"],
            "method": self.method,
            "dataset": self.dataset,
            "keeps": plan.list_keeps(self.dataset, self.proxy, self.method, self.seed),
            "seed": int(self.seed),
            "code": fingerprint_stage(self.name),
        }

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int:
        """Count the ids of all subsets."""
        return size_subsets(plan, self.dataset, plan.list_keeps(self.dataset, self.proxy, self.method, self.seed))


def main() -> None:
    """Write the ids of every keep fraction, then their record; a subset that the file lacks is a failure of its own."""
    from selectbench.data.splits import read_array
    from selectbench.data.subset_files import Place, check_subset, read_subset_file
    from selectbench.errors import DataError
    from selectbench.policy import parse_keep
    from selectbench.records.files import digest_file

    arguments = parse_arguments(__doc__, ReadSubsets.reads, ReadSubsets.writes)
    spec: Spec = arguments.spec
    (data,) = arguments.data
    started = datetime.now(UTC)
    file, labels = Path(spec["file"]), read_array(data.parent / "pool" / "labels.npy")
    given = read_subset_file(file, spec["file"])
    if digest_file(file) != spec["sha256"]:
        raise DataError(f"{file}: has changed since the workflow was planned; start it again")
    cost = {
        "proxy_share": 0.0,
        "sources": {},
        "score_s": 0.0,
        "select_s": spec["cost"]["wall_s"],
        **spec["cost"],
        "peak_memory_mb": None,
        "declared": True,
    }
    subsets, described = {}, {}
    for keep in spec["keeps"]:
        place = Place(spec["dataset"], parse_keep(keep), spec["seed"])
        ids = given.get(place)
        if ids is None:
            lacking = f"{file} has no subset for {place}"
            described[keep] = {"failure": lacking, "num_kept": 0, "sha256": None, "class_counts": None, "cost": cost}
            continue
        check_subset(spec["file"], place, ids, len(labels))
        subsets[keep] = ids
        described[keep] = {**describe_subset(ids, labels[ids], labels.max() + 1), "cost": cost}
    write_arrays(arguments.subsets, subsets)
    write_made(
        arguments,
        {
            "status": "ok",
            "method": spec["method"],
            "file": {"name": spec["file"], "sha256": spec["sha256"]},
            "seed": spec["seed"],
            "num_pool": len(labels),
            "subsets": described,
            "provenance": describe_provenance(spec["code"], CPU, started),
        },
    )


if __name__ == "__main__":
    run_stage(main)

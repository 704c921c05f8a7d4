"""Prepare a data set: verify the fetched files and decode them once into arrays in canonical order."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from selectbench.costs.visits import size_test_set
from selectbench.data.entries import CorpusEntry, DatasetEntry
from selectbench.planning.stage import Inputs, SizeNetwork, Stage, fingerprint_stage
from selectbench.records.files import write_sealed
from selectbench.stages._command import parse_arguments, run_stage

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan


class Spec(TypedDict):
    """Which data set is prepared.

    Parameters
    ----------
    dataset : id of the data set
    test_sets : the test sets that runs need
    entry : its entry in the configuration
    arithmetic : ``avx2``, ``sse4``, ``native`` or ``deterministic``
    code : fingerprint of the code
    """

    dataset: str
    test_sets: list[str]
    entry: DatasetEntry | CorpusEntry
    arithmetic: str
    code: str


@dataclass(frozen=True)
class PrepareData(Stage):
    """The preparation of a data set."""

    dataset: str

    name = "prepare_data"
    writes = {"manifest": "{resources}/{dataset}/prepared/manifest.json"}
    record = "manifest"
    log = "{results}/logs/prepare/{dataset}.log"

    def list_inputs(self, plan: "Plan") -> Inputs:
        """Return nothing, because fetched files are not outputs of another job."""
        return {}

    def specify(self, plan: "Plan") -> Spec:
        """Return the entry of the data set and the test sets that runs need."""
        return {
            "dataset": self.dataset,
            "test_sets": plan.test_sets(self.dataset),
            "entry": plan.config.datasets[self.dataset],
            "arithmetic": plan.arithmetic,
            "code": fingerprint_stage(self.name, files=self._list_class_files(plan)),
        }

    def _list_class_files(self, plan: "Plan") -> tuple[str, ...]:
        """List the files of the package that say which folder holds which class."""
        entry = plan.config.datasets[self.dataset]
        named = [holder["class_list"] for holder in (*entry["sources"], *entry["test_sets"].values()) if "class_list" in holder]
        return tuple(f"data/{name}" for name in sorted(set(named)))

    def list_files(self, plan: "Plan") -> Iterator[Path]:
        """Yield all files of the folder that the manifest describes."""
        yield from (path for path in Path(self.find_output(plan, "manifest")).parent.rglob("*") if path.is_file())

    def estimate_bytes(self, plan: "Plan", size_network: SizeNetwork) -> int | None:
        """Count one byte per value of an image; texts, and images that stay in their folders, are not counted."""
        entry = plan.config.datasets[self.dataset]
        if "task" in entry or any(source["layout"] == "class_folders" for source in entry["sources"]):
            return None
        samples = entry["pool_size"] + sum(size_test_set(entry, name) for name in plan.test_sets(self.dataset))
        return samples * math.prod(entry["input_shape"])


def main() -> None:
    """Write the prepared arrays, then the manifest that names their checksums."""
    from selectbench.data.kinds import prepare_entry

    arguments = parse_arguments(__doc__, PrepareData.reads, PrepareData.writes)
    spec: Spec = arguments.spec
    manifest: Path = arguments.manifest
    resources = manifest.parents[2]
    write_sealed(manifest, prepare_entry(spec["dataset"], spec["entry"], resources, spec["test_sets"]))


if __name__ == "__main__":
    run_stage(main)

"""What runs were made from, as their records and the manifests of batches say it; nothing here imports torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selectbench.records.files import digest_value, write_sealed


def abridge_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all runs of a batch share of its specification, with digests in place of the entries that records hold in full."""
    shared = {name: value for name, value in spec.items() if name not in ("runs", "folder")}
    return {**shared, **{name: digest_value(shared[name]) for name in ("model", "recipe")}}


def identify_subset(subset: Mapping[str, Any]) -> object:
    """Return the part of a subset's record that a run depends on: its digest, and what a search reports, which the run's record shows."""
    if not subset.get("search"):
        return subset["sha256"]
    return [subset["sha256"], {name: value for name, value in subset["search"].items() if name != "trained_s"}]


def write_manifest(manifest: Path, stage: str, keys: Mapping[str, str], made_from: Mapping[str, list[str]]) -> None:
    """Write the manifest of a batch.

    Parameters
    ----------
    manifest : its path
    stage : ``train`` or ``evaluate``
    keys : run → key of its record
    made_from : input → SHA-256 of its files; empty for imported runs
    """
    write_sealed(manifest, {"stage": stage, "runs": dict(keys), "made_from": dict(made_from)})

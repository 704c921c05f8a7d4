"""Collect a paper's records into one file: all that its tables, figures and verdicts are made of."""

from pathlib import Path

from selectbench.records.records import merge_record, write_collection
from selectbench.stages._artefact import parse_artefact_arguments
from selectbench.stages._command import run_stage


def main() -> None:
    """Write one line a run, sorted by id."""
    arguments = parse_artefact_arguments(__doc__, inputs=("evaluated",), outputs=("records",))
    spec = arguments.spec
    write_collection(arguments.records, (merge_record(Path(spec["folder"]), run) for run in spec["runs"]))


if __name__ == "__main__":
    run_stage(main)

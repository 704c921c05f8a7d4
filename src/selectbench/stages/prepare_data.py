"""Prepare a data set: verify what was fetched and decode it once to arrays in canonical order."""

from selectbench.data.prepare import prepare_dataset
from selectbench.data.texts import prepare_texts
from selectbench.records.files import write_json
from selectbench.stages._command import parse_arguments, run_stage


def main() -> None:
    """Write the prepared arrays, then the manifest that names their checksums."""
    arguments = parse_arguments(__doc__, inputs=(), outputs=("manifest",))
    spec, manifest = arguments.spec, arguments.manifest
    resources = manifest.parents[2]
    prepare = prepare_texts if "task" in spec["entry"] else prepare_dataset
    write_json(manifest, prepare(spec["dataset"], spec["entry"], resources, spec["test_sets"]))


if __name__ == "__main__":
    run_stage(main)

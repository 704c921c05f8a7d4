"""Arguments of the stages that make artefacts, whose specifications name every run and are too long for a command line."""

import argparse
import json
import sys
from collections.abc import Collection
from pathlib import Path

from selectbench.stages._command import resume_collection


def parse_artefact_arguments(description: str, inputs: Collection[str], outputs: Collection[str]) -> argparse.Namespace:
    """Read the specification as JSON from standard input, ``--<input> PATH…`` for each input and ``--<output> PATH`` for each output."""
    resume_collection()
    parser = argparse.ArgumentParser(description=f"{description} The specification is read from standard input.", allow_abbrev=False)
    for name in inputs:
        parser.add_argument(f"--{name}", type=Path, nargs="*", required=True)
    for name in outputs:
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.spec = json.load(sys.stdin)
    return arguments

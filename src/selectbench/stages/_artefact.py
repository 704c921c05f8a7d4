"""Arguments of the stages that make what people read: their specifications name every run, which no command line can hold."""

import argparse
import json
import sys
from collections.abc import Collection
from pathlib import Path


def parse_artefact_arguments(description: str, inputs: Collection[str], outputs: Collection[str]) -> argparse.Namespace:
    """Read the specification as JSON from standard input, ``--<input> PATH…`` for each input and ``--<output> PATH`` for each output."""
    parser = argparse.ArgumentParser(description=f"{description} The specification comes on standard input.", allow_abbrev=False)
    for name in inputs:
        parser.add_argument(f"--{name}", type=Path, nargs="*", required=True)
    for name in outputs:
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.spec = json.load(sys.stdin)
    return arguments

"""What all stage commands share: their arguments and how they end."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from selectbench.errors import SelectbenchError


def parse_arguments(description: str, inputs: Sequence[str], outputs: Sequence[str]) -> argparse.Namespace:
    """Read ``--spec JSON``, one ``--<input> PATH…`` for each input (a list) and one ``--<output> PATH`` for each output."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--spec", type=json.loads, required=True, help="what to do, as JSON: everything that may influence the result")
    for name in inputs:
        parser.add_argument(f"--{name}", type=Path, nargs="*", required=True)
    for name in outputs:
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def run_stage(stage: Callable[[], object]) -> None:
    """Run a stage's main function; a user's mistake ends it with one line and exit status 2."""
    try:
        stage()
    except SelectbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

"""What the stages that make artefacts share. Their specifications name every run and are too long for a command line."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selectbench.errors import RecordError, first_line
from selectbench.planning.stage import Stage
from selectbench.records.files import digest_file, write_sealed
from selectbench.records.records import check_made
from selectbench.stages._command import digest_inputs, resume_collection

InputFiles = Mapping[str, Sequence[Path]]  # input → files
OutputFiles = Mapping[str, Path]  # output → file
Make = Callable[[Any, InputFiles, OutputFiles], None]  # writes the outputs, given the specification and the inputs


def make_artefact(description: str, stage: type[Stage], make: Make) -> None:
    """Make the artefact that a command asks for.

    The specification is read as JSON from standard input, ``--<input> PATH…`` names the files of each input and ``--<output> PATH``
    each output.

    Parameters
    ----------
    description : of the command
    stage : declares the inputs and outputs
    make : writes the artefact
    """
    resume_collection()
    parser = argparse.ArgumentParser(description=f"{description} The specification is read from standard input.", allow_abbrev=False)
    for name in stage.reads:
        parser.add_argument(f"--{name}", type=Path, nargs="*", required=True)
    for name in stage.writes:
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = vars(parser.parse_args())
    make(json.load(sys.stdin), {name: arguments[name] for name in stage.reads}, {name: arguments[name] for name in stage.writes})


def seal_artefact(path: Path, content: Mapping[str, object], code: str, inputs: InputFiles, beside: Iterable[Path] = ()) -> None:
    """Write the record of an artefact, last of its files.

    Parameters
    ----------
    path : of the record
    content : what the record holds of the artefact itself
    code : fingerprint of the code
    inputs : the files that it was made from
    beside : the artefact's other files
    """
    digests = {file.name: digest_file(file) for file in beside}
    write_sealed(path, {**content, "code": code, "made_from": digest_inputs(inputs), "sha256": digests})


def read_drawing(path: Path) -> str:
    """Read a figure as SVG.

    Raises
    ------
    RecordError
        It is missing or not UTF-8 text, or not the file that the record beside it describes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not a readable figure ({first_line(error)}); delete it and run again") from None
    check_made(path)
    return text

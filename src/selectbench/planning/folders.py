"""The folders that a configuration names: which names can be used as they stand, and which places are taken."""

import os
from pathlib import Path

from selectbench.errors import ConfigError, shorten, spell
from selectbench.planning.entries import Main

OWN = (  # folders of the project itself
    *("src", "config", "workflow", "profiles", "tests", "docs", "benchmarks"),
    *(".ci", ".git", ".snakemake", ".venv"),
)
LONGEST_NAME = 255  # bytes of a file name, on all usual file systems


def check_folders(root: Path, main: Main) -> None:
    """Raise unless results and resources have folders of their own, whose names mean the same to Python, Snakemake and a shell.

    Parameters
    ----------
    root : the project's folder
    main : ``config/config.yaml``

    Raises
    ------
    ConfigError
        In one line with the key and, where there is one, the name that is meant.
    """
    named = {"results": main["results"], "resources": main["resources"]}
    for key, name in named.items():
        problem = find_problem(name, key) or find_owner(root, name)
        if problem is not None:
            raise ConfigError(f"config/config.yaml: {key}: {shorten(repr(name))} {problem}")
    places = {key: find_place(root / name) for key, name in named.items()}
    if contains(places["results"], places["resources"]) or contains(places["resources"], places["results"]):
        raise ConfigError(
            f"config/config.yaml: resources: {spell(named['resources'])} and results ({spell(named['results'])}) are one folder, "
            "or one holds the other; give each its own, such as 'resources' and 'results'"
        )


def find_problem(name: str, usual: str) -> str | None:
    """Return what is wrong with the name of a folder, and what to write in its place, or None.

    Parameters
    ----------
    name : as it is written
    usual : the name to advise where there is no better one
    """
    if not name.isprintable() or any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
        return f"is no name of a folder; write {usual!r}"
    meant = os.path.expandvars(os.path.expanduser(name))
    meant = repr(meant) if meant != name and "$" not in meant else "the folder itself"
    if name.startswith("~"):
        return f"begins with ~, which is not replaced by a home folder here; write {meant}"
    if "$" in name:
        return f"has a $, and variables are not replaced here; write {meant}"
    if set("{}") & set(name):
        return f"has braces, which stand for wildcards in Snakemake; write {name.replace('{', '').replace('}', '')!r}"
    if name.startswith("-"):
        return f"begins with a hyphen, as options of commands do; write {name.lstrip('-') or usual!r}"
    if name != name.strip() or name != os.path.normpath(name):
        return f"is another spelling of {os.path.normpath(name.strip())!r}; write that"
    return None


def find_owner(root: Path, name: str) -> str | None:
    """Return why a folder is not free: it holds the project, or belongs to it; None if it is free."""
    project, place = find_place(root), find_place(root / name)
    if contains(place, project):
        return "holds the project itself; name a folder for nothing else, such as 'results'"
    owner = next((own for own in OWN if contains(project / own, place)), None)
    return f"lies in {owner}, which is part of the project; name a folder for nothing else, such as 'results'" if owner else None


def find_place(path: Path) -> Path:
    """Return where a path leads, through all links that are there."""
    return Path(os.path.realpath(path))


def contains(folder: Path, path: Path) -> bool:
    """Tell whether a path is a folder or lies in it."""
    return path == folder or folder in path.parents

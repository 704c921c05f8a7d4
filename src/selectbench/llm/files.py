"""Locating and loading the files of language models, from an installed registry package or the Hugging Face hub.

GGUF files hold quantised weights (4 bits in a Q4 checkpoint). They are loaded as float32, but differ slightly from the published weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from selectbench.data.messages import first_line
from selectbench.data.sources import locate_package_file
from selectbench.errors import DataError
from selectbench.records.files import digest_file
from selectbench.records.rows import Entry
from selectbench.seeds import isolated_torch_rng

Loaded = TypeVar("Loaded")
_loaded: dict[tuple[object, ...], object] = {}


def load_part(kind: type[Any], entry: Entry, **settings: object) -> Any:
    """Load a model or tokeniser with a class of transformers, whose loaders are untyped.

    Parameters
    ----------
    kind : a class with ``from_pretrained``
    entry : has ``distribution`` and ``path``, or ``name``
    **settings : passed to ``from_pretrained``

    Raises
    ------
    DataError
        The package is not installed, or the hub cannot be reached.
    """
    where, found = locate_model(entry)
    with isolated_torch_rng(0):  # weights missing from a checkpoint are initialised at random
        return guard(lambda: kind.from_pretrained(where, **found, **settings), entry)


def load_once(kind: type[Any], entry: Entry, **settings: object) -> Any:
    """Return the result of ``load_part``, loaded once per process; all callers share the object."""
    key = (kind.__name__, *(entry.get(name) for name in ("name", "distribution", "path")))
    if key not in _loaded:
        _loaded[key] = load_part(kind, entry, **settings)
    return _loaded[key]


def locate_model(entry: Entry) -> tuple[str, dict[str, str]]:
    """Return the folder or hub name of a model, and the setting that names its GGUF file, if it is one."""
    if "name" in entry:
        return entry["name"], {}
    path = locate_package_file(entry["distribution"], entry["path"])
    return (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (str(path), {})


def guard(load: Callable[[], Loaded], entry: Entry) -> Loaded:
    """Call a function that loads a model; errors become one line that names the model."""
    try:
        return load()
    except (OSError, ValueError) as error:
        named = entry.get("name", entry.get("distribution"))
        raise DataError(f"{named}: cannot be loaded ({first_line(error)}); without a network, use a registry package") from None


def digest_model(entry: Entry) -> dict[str, str]:
    """Return origin and SHA-256 of a model's weights; for hub models, the name stands for both."""
    if "name" in entry:
        return {"origin": entry["name"], "sha256": entry["name"]}
    path = locate_package_file(entry["distribution"], entry["path"])
    file = path if path.is_file() else path / "model.safetensors"
    return {"origin": f"{entry['distribution']}: {Path(entry['path']).name}", "sha256": digest_file(file)}

"""Where the files of a language model lie: inside an installed registry package, or on the Hugging Face hub.

A GGUF file holds rounded weights, of 4 bits in a Q4 checkpoint: what is loaded from it is float32, but slightly off the published weights.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from selectbench.data.messages import first_line
from selectbench.data.sources import locate_package_file
from selectbench.errors import DataError
from selectbench.records.files import digest_file
from selectbench.seeds import isolated_torch_rng

Loaded = TypeVar("Loaded")
_loaded: dict[tuple, object] = {}


def load_part(kind: type, entry: Mapping, **settings: object) -> Loaded:
    """Return what a class of transformers loads of a model's entry.

    Parameters
    ----------
    kind : a class with ``from_pretrained``
    entry : with ``distribution`` and ``path``, or ``name``
    **settings : of ``from_pretrained``

    Raises
    ------
    DataError
        The package is not there, or the hub cannot be reached.
    """
    where, found = locate_model(entry)
    with isolated_torch_rng(0):  # weights that a checkpoint lacks are drawn
        return guard(lambda: kind.from_pretrained(where, **found, **settings), entry)


def load_once(kind: type, entry: Mapping, **settings: object) -> Loaded:
    """Return what ``load_part`` does, read once a process: everyone gets the same object."""
    key = (kind.__name__, *(entry.get(name) for name in ("name", "distribution", "path")))
    if key not in _loaded:
        _loaded[key] = load_part(kind, entry, **settings)
    return _loaded[key]


def locate_model(entry: Mapping) -> tuple[str, dict[str, str]]:
    """Return the folder or hub name of a model, and its GGUF file there if it is one."""
    if "name" in entry:
        return entry["name"], {}
    path = locate_package_file(entry["distribution"], entry["path"])
    return (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (str(path), {})


def guard(load: Callable[[], Loaded], entry: Mapping) -> Loaded:
    """Call what loads a model; what goes wrong is one line that names it."""
    try:
        return load()
    except (OSError, ValueError) as error:
        named = entry.get("name", entry.get("distribution"))
        raise DataError(f"{named}: cannot be loaded ({first_line(error)}); without a network take a model of a registry package") from None


def digest_model(entry: Mapping) -> dict:
    """Return origin and SHA-256 of a model's weights; of the hub's, the name stands for them."""
    if "name" in entry:
        return {"origin": entry["name"], "sha256": entry["name"]}
    path = locate_package_file(entry["distribution"], entry["path"])
    file = path if path.is_file() else path / "model.safetensors"
    return {"origin": f"{entry['distribution']}: {Path(entry['path']).name}", "sha256": digest_file(file)}

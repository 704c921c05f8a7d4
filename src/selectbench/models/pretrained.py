"""Files of pretrained weights: where they lie and what they are. Reads no tensor and imports no torch, so that plans can ask."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from selectbench.errors import ConfigError
from selectbench.records.files import digest_file


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Parameters
    ----------
    path : the file
    origin : where it comes from, for records
    naming : how it names its tensors if not as the model does, see ``selectbench.models.weights.NAMINGS``
    """

    path: Path
    origin: str
    naming: str | None = None

    @property
    def sha256(self) -> str:
        """The digest of the file."""
        status = self.path.stat()
        return _digest(self.path, status.st_mtime_ns, status.st_size)


@cache
def _digest(path: Path, changed: int, size: int) -> str:
    return digest_file(path)


def locate_weights(pretrained: str | dict, where: str) -> Weights:
    """Return the file that a recipe starts from.

    Parameters
    ----------
    pretrained : a path, or {"path": …} with ``distribution`` for a file inside an installed package, and ``naming``
    where : the recipe's key, for messages

    Raises
    ------
    ConfigError
        The file is missing, or its package is not installed.
    """
    described = {"path": pretrained} if isinstance(pretrained, str) else pretrained
    path, package = Path(described["path"]), described.get("distribution")
    origin = described["path"]
    if package:
        try:
            installed = distribution(package)
        except PackageNotFoundError:
            raise ConfigError(f"{where}: the package {package!r} is not installed; run `pip install {package}`") from None
        path = Path(installed.locate_file(path))
        origin = f"{package} {installed.version}: {origin}"
    if not path.is_file():
        raise ConfigError(f"{where}: {origin}: no such file")
    return Weights(path, origin, described.get("naming"))


def digest_declared(pretrained: bool | str | dict, where: str) -> str | None:
    """Return the SHA-256 of the file that a recipe starts from, or None if it names none.

    Raises
    ------
    ConfigError
        As ``locate_weights``.
    """
    return None if isinstance(pretrained, bool) else locate_weights(pretrained, where).sha256

"""Reading downloaded archives into memory; nothing is ever unpacked to disk."""

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from selectbench.data.messages import first_line
from selectbench.errors import DataError

BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error, lzma.LZMAError)


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the files of a ``.zip``, ``.deb`` or tar archive (compressed or not) by their name inside it.

    Raises
    ------
    DataError
        The archive is unreadable, or the name of a member leads out of the folder it would be unpacked to.
    """
    path = Path(path)
    try:
        if path.suffix == ".zip":
            return read_zip(path)
        if path.suffix == ".deb":
            return read_tar(path, io.BytesIO(extract_deb_payload(path.read_bytes())))
        with open(path, "rb") as stream:
            return read_tar(path, stream)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except BROKEN as error:
        raise DataError(f"{path}: not a readable archive ({first_line(error)}); delete it and fetch it again") from None


def read_zip(path: Path) -> dict[str, bytes]:
    """Return the files of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        refuse_escapes(path, archive.namelist())
        return {member.filename: archive.read(member) for member in archive.infolist() if not member.is_dir()}


def read_tar(path: Path, stream: io.BufferedIOBase) -> dict[str, bytes]:
    """Return the regular files of a tar archive, without a leading ``./`` in their names."""
    with tarfile.open(fileobj=stream, mode="r:*") as archive:
        contents = {}
        for member in archive:
            refuse_escapes(path, [member.name])
            if member.isfile():
                contents[str(PurePosixPath(member.name))] = archive.extractfile(member).read()
        return contents


def read_tar_members(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return some members of a large tar archive, reading no others.

    Raises
    ------
    DataError
        The archive is unreadable or lacks one of them.
    """
    contents, wanted = {}, set(names)
    try:
        with tarfile.open(path, mode="r|*") as archive:
            for member in archive:
                if member.name in wanted and member.isfile():
                    contents[member.name] = archive.extractfile(member).read()
                if len(contents) == len(wanted):
                    break
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except BROKEN as error:
        raise DataError(f"{path}: not a readable archive ({first_line(error)}); delete it and fetch it again") from None
    for name in sorted(wanted - contents.keys()):
        raise DataError(f"{path}: has no member {name!r}; delete it and fetch it again")
    return contents


def extract_deb_payload(package: bytes) -> bytes:
    """Return the ``data.tar.*`` member of a Debian package, an ``ar`` archive with 60-byte member headers."""
    if not package.startswith(b"!<arch>\n"):
        raise ValueError("no Debian package")
    start = 8
    while start < len(package):
        header = package[start : start + 60]
        size = int(header[48:58])
        if header[:16].startswith(b"data.tar"):
            return package[start + 60 : start + 60 + size]
        start += 60 + size + size % 2
    raise ValueError("no data.tar in this Debian package")


def refuse_escapes(path: Path, names: Iterable[str]) -> None:
    """Raise for a member name that is absolute or climbs with ``..``."""
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise DataError(
                f"{path}: member {name!r} would leave its folder; this is not the published archive: delete it and fetch it again"
            )

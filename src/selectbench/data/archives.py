"""Reading downloaded archives into memory; nothing is unpacked to disk."""

import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from selectbench.data.messages import first_line
from selectbench.errors import DataError
from selectbench.records.files import refuse_bomb

BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error, lzma.LZMAError),
    *(struct.error, OverflowError, MemoryError),
)

_REMEDY = "this is not the published archive: delete it and fetch it again"


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the files of a ``.zip``, ``.deb`` or tar archive (compressed or not), by name.

    Raises
    ------
    DataError
        The archive is unreadable or would fill the memory, a member is a device, or a member's name or link target points outside the
        archive's folder. Links that stay inside are skipped.
    """
    path = Path(path)
    try:
        if path.suffix == ".zip":
            return read_zip(path)
        if path.suffix == ".deb":
            payload = extract_deb_payload(path.read_bytes())
            return read_tar(path, io.BytesIO(payload), len(payload))
        with open(path, "rb") as stream:
            return read_tar(path, stream, path.stat().st_size)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except BROKEN as error:
        raise DataError(f"{path}: not a readable archive ({first_line(error)}); delete it and fetch it again") from None


def read_zip(path: Path) -> dict[str, bytes]:
    """Return the files of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        refuse_escapes(path, archive.namelist())
        refuse_bomb(path.stat().st_size, sum(member.file_size for member in members))
        contents = {}
        for member in members:
            content = archive.read(member)
            if stat.S_ISLNK(member.external_attr >> 16):
                refuse_link(path, member.filename, content.decode("utf-8", errors="replace"))
            else:
                contents[member.filename] = content
        return contents


def read_tar(path: Path, stream: io.BufferedIOBase, packed: int) -> dict[str, bytes]:
    """Return the regular files of a tar archive of ``packed`` bytes; a leading ``./`` is removed from their names."""
    with tarfile.open(fileobj=stream, mode="r:*") as archive:
        contents, unpacked = {}, 0
        for member in archive:
            refuse_escapes(path, [member.name])
            if member.islnk():
                refuse_escapes(path, [member.linkname])
            elif member.issym():
                refuse_link(path, member.name, member.linkname)
            elif not (member.isfile() or member.isdir()):
                raise DataError(f"{path}: member {member.name!r} is a device; {_REMEDY}")
            unpacked += member.size
            refuse_bomb(packed, unpacked)
            if member.isfile():
                contents[str(PurePosixPath(member.name))] = read_member(archive, member)
        return contents


def read_tar_members(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the named members of a large tar archive without reading the others.

    Raises
    ------
    DataError
        The archive is unreadable or lacks one of the members.
    """
    contents, wanted = {}, set(names)
    try:
        with tarfile.open(path, mode="r|*") as archive:
            for member in archive:
                if member.name in wanted and member.isfile():
                    refuse_bomb(path.stat().st_size, member.size)
                    contents[member.name] = read_member(archive, member)
                if len(contents) == len(wanted):
                    break
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except BROKEN as error:
        raise DataError(f"{path}: not a readable archive ({first_line(error)}); delete it and fetch it again") from None
    for name in sorted(wanted - contents.keys()):
        raise DataError(f"{path}: has no member {name!r}; delete it and fetch it again")
    return contents


def read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the content of a regular file in a tar archive."""
    stream = archive.extractfile(member)
    if stream is None:
        raise tarfile.ReadError(f"{member.name} is not a file")
    return stream.read()


def extract_deb_payload(package: bytes) -> bytes:
    """Return the ``data.tar.*`` member of a Debian package, which is an ``ar`` archive with 60-byte member headers."""
    if not package.startswith(b"!<arch>\n"):
        raise ValueError("not a Debian package")
    start = 8
    while start < len(package):
        header = package[start : start + 60]
        length = header[48:58].strip()
        if not length.isdigit():
            raise ValueError("not a Debian package")
        size = int(length)
        if header[:16].startswith(b"data.tar"):
            return package[start + 60 : start + 60 + size]
        start += 60 + size + size % 2
    raise ValueError("no data.tar in this Debian package")


def refuse_link(path: Path, name: str, target: str) -> None:
    """Raise for a symbolic link that points outside the archive's folder."""
    depth = len(PurePosixPath(name).parent.parts)
    parts = PurePosixPath(target.replace("\\", "/"))
    for part in parts.parts:
        depth += -1 if part == ".." else 1
        if parts.is_absolute() or depth < 0:
            raise DataError(f"{path}: member {name!r} links to {target!r}, outside its folder; {_REMEDY}")


def refuse_escapes(path: Path, names: Iterable[str]) -> None:
    """Raise for a member name that is absolute or climbs with ``..``."""
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise DataError(f"{path}: member {name!r} would leave its folder; {_REMEDY}")

"""The photos of a request, those in zips included; read one at a time, written nowhere."""

import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, cast

from augmentor.errors import PhotoError
from augmentor.images import METADATA_FILES, METADATA_FOLDERS
from identity.server.problems import Problem

_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_LONGEST_NAME = 400
_DAMAGED = (
    RuntimeError,  # encrypted
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True)
class Source:
    """A photo that can be read.

    Attributes:
        name: what answers call it.
        read: its content; raises `PhotoError`.
    """

    name: str
    read: Callable[[], bytes]


def sources_of(
    files: Sequence[tuple[str, IO[bytes]]], max_files: int, max_unzipped: int, max_file: int
) -> list[Source]:
    """The photos of uploaded files, in order; a zip stands for the photos in it.

    A zip that cannot be used is one photo that cannot be read, so that it does not spoil the others. Zips in zips are
    not opened. What operating systems leave in zips is left out, as in folders.

    Args:
        files: name and content.
        max_files: photos in all.
        max_unzipped: bytes of the photos of one zip.
        max_file: bytes of one photo.

    Raises:
        Problem: too many photos.
    """
    sources: list[Source] = []
    for name, file in files:
        called = shown(name)
        start = file.read(4)
        file.seek(0)
        if start in (_ZIP, _EMPTY_ZIP):
            sources += _in_zip(called, file, max_files, max_unzipped, max_file)
        else:
            sources.append(Source(called, _whole(called, file, max_file)))
        if len(sources) > max_files:
            raise Problem(
                413, "too-many-photos", f"at most {max_files} photos in a request; send fewer at once"
            )
    return sources


def shown(name: str) -> str:
    """A file's name as answers and pages may show it: no control characters, no halves of characters, not too long."""
    kept = "".join(c for c in name if c.isprintable()).encode("utf-8", "replace").decode()
    return kept[-_LONGEST_NAME:] or "photo"


def safe_path(name: str) -> PurePosixPath:
    """A relative path that leads nowhere else, whatever the name: for names inside zips that are made here.

    Example:
        >>> safe_path("..\\\\..\\\\C:/etc/./passwd.jpg")
        PurePosixPath('C_/etc/passwd.jpg')
    """
    parts = []
    for part in re.split(r"[/\\]", shown(name)):
        plain = re.sub(r'[<>:"|?*]', "_", part).strip(" .")
        if plain:
            parts.append(plain[-120:].strip(" .") or "_")
    return PurePosixPath(*parts[-6:]) if parts else PurePosixPath("photo")


def _whole(name: str, file: IO[bytes], max_file: int) -> Callable[[], bytes]:
    def read() -> bytes:
        file.seek(0)
        content = file.read(max_file + 1)
        if len(content) > max_file:
            raise PhotoError("too_large", name, f"more than {max_file / 1e6:g} MB")
        return content

    return read


def _failing(name: str, reason: str, detail: str) -> Source:
    def read() -> bytes:
        raise PhotoError(reason, name, detail)

    return Source(name, read)


def _in_zip(name: str, file: IO[bytes], max_files: int, max_unzipped: int, max_file: int) -> list[Source]:
    try:
        archive = zipfile.ZipFile(_seekable(file))
        members = [
            info for info in archive.infolist() if not info.is_dir() and not _is_metadata(info.filename)
        ]
    except _DAMAGED as error:
        return [_failing(name, "unreadable", f"damaged zip ({error})")]
    if len(members) > max_files:
        return [_failing(name, "too_large", f"{len(members)} files in this zip; at most {max_files}")]
    total = sum(info.file_size for info in members)
    if total > max_unzipped:
        told = f"{total / 1e6:.0f} MB when unpacked; at most {max_unzipped / 1e6:.0f}"
        return [_failing(name, "too_large", told)]
    return [_member(archive, info, f"{name}/{shown(info.filename)}", max_file) for info in members]


class _Seekable:
    """A file that can be moved in but does not say so."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def seekable(self) -> bool:
        """Return true."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _seekable(file: IO[bytes]) -> IO[bytes]:
    """Return the file as `zipfile` asks for it: up to Python 3.10 a `SpooledTemporaryFile` has no `seekable`."""
    return file if hasattr(file, "seekable") else cast(IO[bytes], _Seekable(file))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, max_file: int) -> Source:
    def read() -> bytes:
        if info.file_size > max_file:
            raise PhotoError("too_large", name, f"more than {max_file / 1e6:g} MB")
        try:
            with archive.open(info) as file:
                content = file.read(max_file + 1)
        except _DAMAGED as error:
            raise PhotoError("unreadable", name, f"cannot be unpacked ({error})") from error
        if content[:4] in (_ZIP, _EMPTY_ZIP):
            raise PhotoError("unreadable", name, "a zip inside a zip; unpack it first")
        return content

    return Source(name, read)


def _is_metadata(name: str) -> bool:
    *folders, file = re.split(r"[/\\]", name.lower())
    return file in METADATA_FILES or file.startswith("._") or bool(METADATA_FOLDERS & set(folders))


def content_of(source: Source) -> bytes | PhotoError:
    """What reading gives; for use in a thread."""
    try:
        return source.read()
    except PhotoError as error:
        return error

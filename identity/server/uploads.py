"""The photos in a request, those in zips included; they are read one at a time and written nowhere."""

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO

from augmentor.errors import PhotoError
from augmentor.photos.file_kinds import is_called_photo, is_system_path
from identity.server.problems import Problem
from identity.server.source import Source, pieces

_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_ENTRY = b"PK\x01\x02"  # starts each entry of a zip's directory
_BESIDE = 1000  # entries that a zip may have besides its photos and the files that systems add to each
_DIRECTORY_BYTES = 512  # average size of an entry with its name
_LONGEST_NAME = 400
_LONGEST_PART = 180  # bytes of UTF-8; file systems allow 255, but numbers and suffixes are added
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_DAMAGED = (
    RuntimeError,  # encrypted
    NotImplementedError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)


def sources_of(
    files: Sequence[tuple[str, IO[bytes]]], max_files: int, max_unzipped: int, max_file: int
) -> list[Source]:
    """Return the photos in uploaded files, in order; a zip stands for the photos in it.

    A zip that cannot be used counts as one unreadable photo, so that the other files can still be used. Zips in zips
    are not opened. Files that operating systems add to zips are ignored, as they are in folders. A file in a zip whose
    suffix is not one of photos counts as an unreadable photo and is not unpacked.

    Args:
        files: name and content of each file.
        max_files: most photos in all files together.
        max_unzipped: bytes that all files in all zips may have together, photos or not.
        max_file: largest photo, bytes.

    Raises:
        Problem: There are too many photos.
    """
    sources: list[Source] = []
    left = max_unzipped
    for name, file in files:
        called = shown(name)
        start = file.read(4)
        file.seek(0)
        if start in (_ZIP, _EMPTY_ZIP):
            in_zip, unzipped = _in_zip(called, file, max_files, left, max_file)
            sources += in_zip
            left -= unzipped
        else:
            sources.append(_whole(called, file, max_file))
        if len(sources) > max_files:
            raise too_many(max_files)
    return sources


def too_many(max_files: int) -> Problem:
    """Return the problem that a request contains too many photos.

    Args:
        max_files: most photos in a request.
    """
    return Problem(
        413, "too-many-photos", f"a request may contain at most {max_files} photos; send fewer at once"
    )


def shown(name: str) -> str:
    r"""Return a file's name in a form that can be shown: without control characters and not too long.

    Example:
        >>> shown("a\tb.jpg")
        'ab.jpg'
    """
    kept = "".join(c for c in name if c.isprintable()).encode("utf-8", "replace").decode()
    return kept[-_LONGEST_NAME:] or "photo"


def safe_path(name: str) -> PurePosixPath:
    r"""Return a relative path for a name that stays within its folder and is valid on every file system.

    Example:
        >>> safe_path("..\\..\\C:/etc/./passwd.jpg")
        PurePosixPath('C_/etc/passwd.jpg')
    """
    parts = []
    for part in re.split(r"[/\\]", shown(name)):
        plain = re.sub(r'[<>:"|?*]', "_", part).strip(" .")
        if plain:
            parts.append(_shortened(plain).strip(" .") or "_")
    return PurePosixPath(*parts[-6:]) if parts else PurePosixPath("photo")


def _shortened(part: str) -> str:
    """Shorten a file's name to what file systems allow; keep its end, which contains the suffix."""
    return part.encode()[-_LONGEST_PART:].decode("utf-8", "ignore")


def _whole(name: str, file: IO[bytes], max_file: int) -> Source:
    size = file.seek(0, io.SEEK_END) or file.tell()  # Python 3.10's spooled files return nothing
    file.seek(0)

    def blocks() -> Iterator[bytes]:
        if size > max_file:
            raise PhotoError("too_large", name, f"more than {max_file / 1e6:g} MB")
        file.seek(0)
        yield from pieces(file)

    return Source(name, size, blocks)


def _failing(name: str, reason: str, detail: str) -> Source:
    def blocks() -> Iterator[bytes]:
        raise PhotoError(reason, name, detail)

    return Source(name, 0, blocks)


class _ZipFileObject(io.RawIOBase):
    """An upload in the form in which `zipfile` reads it.

    `zipfile` reads a zip's directory in one piece and turns it into objects, which takes ten seconds for a million
    entries. This class checks the piece before. It also adds `seekable`, which `SpooledTemporaryFile` lacks in
    Python 3.10.
    """

    def __init__(self, file: IO[bytes], most_entries: int) -> None:
        self._file, self.most_entries = file, most_entries

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        if size > self.most_entries * _DIRECTORY_BYTES:
            raise _TooManyEntries
        content = self._file.read(size)
        if content.count(_ENTRY) > self.most_entries:
            raise _TooManyEntries
        return content


class _TooManyEntries(Exception):
    """The directory of a zip has more entries than a zip with the largest number of photos needs."""


def _in_zip(name: str, file: IO[bytes], max_files: int, left: int, max_file: int) -> tuple[list[Source], int]:
    """Return the photos in a zip, and the number of bytes that all its files have when unpacked."""
    opened = _ZipFileObject(file, 3 * max_files + _BESIDE)
    try:
        archive = zipfile.ZipFile(opened)
    except _TooManyEntries:
        return [
            _failing(name, "too_large", f"too many files in this zip; at most {max_files} are allowed")
        ], 0
    except _DAMAGED as error:
        return [_failing(name, "unreadable", f"damaged zip ({error})")], 0
    opened.most_entries = 1 << 60
    infos = [info for info in archive.infolist() if not info.is_dir()]
    members = [info for info in infos if not _is_metadata(info.filename)]
    if len(members) > max_files:
        detail = f"{len(members)} files in this zip; at most {max_files} are allowed"
        return [_failing(name, "too_large", detail)], 0
    total = sum(info.file_size for info in infos)
    if total > left:
        detail = f"{total / 1e6:.0f} MB when unpacked; at most {left / 1e6:.0f} MB are allowed"
        return [_failing(name, "too_large", detail)], 0
    return [_member(archive, info, f"{name}/{shown(info.filename)}", max_file) for info in members], total


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, max_file: int) -> Source:
    suffix = _SUFFIX.search(info.filename)
    if suffix and not is_called_photo(f"name{suffix[0]}"):
        return _failing(name, "unreadable", f"{suffix[0]} is not the suffix of a photo")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # With other methods, `zipfile` unpacks a whole block at once: 20 GB from a megabyte of bzip2.
        return _failing(name, "unreadable", "packed with an unusual method; pack it again with deflate")
    if info.file_size > max_file:
        return _failing(name, "too_large", f"more than {max_file / 1e6:g} MB")

    def blocks() -> Iterator[bytes]:
        first = True
        try:
            with archive.open(info) as file:
                for block in pieces(file):
                    if first and block[:4] in (_ZIP, _EMPTY_ZIP):
                        raise PhotoError("unreadable", name, "a zip inside a zip; unpack it first")
                    first = False
                    yield block
        except _DAMAGED as error:
            raise PhotoError("unreadable", name, f"cannot be unpacked ({error})") from error

    return Source(name, info.file_size, blocks)


def _is_metadata(name: str) -> bool:
    """Return whether an operating system, not the user, put a file into a zip."""
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    path, file = "/".join(parts), parts[-1] if parts else ""
    return is_system_path(path) or file.startswith("._")

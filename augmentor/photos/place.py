"""The same few operations on a folder of a file system and on object storage, named by a path or a URI.

    photos, /mnt/photos, file:///mnt/photos     a folder
    s3://bucket/photos, gs://bucket/photos      everything below a prefix of a bucket, through pyarrow's file systems;
                                                settings follow a question mark, as in
                                                `?region=eu-central-1&endpoint_override=http://127.0.0.1:9000`

Paths below a place are relative and have slashes. Files appear whole or not at all. Operations that fail for a reason
that may pass (a throttled bucket, a network file system whose server restarts) are tried again for
`LIKENESS_PATIENCE` seconds (300). A failure that waiting cannot change (no such file, no permission, no space) is
reported at once.
"""

import errno
import os
import random
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow.fs

from augmentor.errors import InputError
from augmentor.path_text import as_on_disk, shown
from augmentor.photos.file_kinds import PARTIAL_PREFIX, PARTIAL_SUFFIX, is_system_folder, is_system_path
from augmentor.photos.images import NOT_UTF8, walk_files, write_whole

PATIENCE = "LIKENESS_PATIENCE"
_PATIENCE_SECONDS = 300.0
_LONGEST_WAIT = 15.0
_BLOCK = 8 << 20
# Errors of a network file system that may come back. All other errors of a file system are final.
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        "EAGAIN",
        "ECONNRESET",
        "EHOSTDOWN",
        "ENETDOWN",
        "ENETUNREACH",
        "EREMOTEIO",
        "ESTALE",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)
# Texts in the errors of buckets that waiting does not change.
_FINAL = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS|SIGNATURE|INVALID_CLIENT_TOKEN|NoSuchBucket|HTTP status 40[0134]"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"
)
T = TypeVar("T")


@dataclass(frozen=True)
class FileStamp:
    """Size and time of change of a file. If they stay the same, the file is taken to be unchanged without reading it.

    Attributes:
        size: bytes.
        changed: nanoseconds since 1970.
    """

    size: int
    changed: int


class Place(Protocol):
    """A folder or a prefix of a bucket, with the operations that both have; see the module."""

    uri: str

    def name(self, path: str = "") -> str:
        """Return what messages call a file of this place, or the place itself if the path is empty."""
        ...

    def read(self, path: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: there is no such file, or it cannot be read and waiting would not help.
            InputError: the storage kept failing.
        """
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        ...

    def files(self, below: str = "") -> dict[str, FileStamp]:
        """List all files at any depth below a folder, sorted by path.

        Files of the operating system (`augmentor.photos.file_kinds`), files in hidden folders and half-written files
        are left out. In a name that is not valid UTF-8 the bytes are escaped, so that tables and JSON can hold every
        path; reading such a file raises an OSError that says so.

        Returns:
            path → stamp; empty if there is no such folder.

        Raises:
            InputError: the folder cannot be read.
        """
        ...

    def walk(self, below: str = "") -> Iterator[tuple[str, FileStamp]]:
        """Yield what `files` returns, in the same order, holding no more than the names in one folder.

        Raises:
            InputError: the folder does not exist on the disk, or a folder cannot be read; raised when the walk comes to
                it.
        """
        ...

    def stamp(self, path: str) -> FileStamp | None:
        """Return the stamp of one file, or None if there is no such file."""
        ...

    def open(self, path: str) -> Any:
        """Open a file for reading at any position; the result is a context manager.

        Raises:
            OSError: there is no such file, or it cannot be read.
        """
        ...

    def write_file(self, path: str, source: Path) -> None:
        """Write the content of a file on this machine, which may be larger than memory, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        ...

    def entries(self, below: str = "") -> tuple[list[str], list[str]]:
        """Return the names of the folders and of the files directly in a folder.

        Returns:
            Sorted names of folders, sorted names of files; both empty if there is no such folder.

        Raises:
            InputError: the folder cannot be read.
        """
        ...

    def remove(self, path: str) -> None:
        """Remove a file, and the folders above it that become empty. Does nothing if there is no such file."""
        ...

    def remove_folder(self, path: str) -> None:
        """Remove a folder and everything in it. Does nothing if there is no such folder."""
        ...

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written, or None if that is not known."""
        ...


def place_of(uri: str | Path) -> Place:
    """Return the place that a path or URI names. Nothing is read yet.

    Raises:
        InputError: the URI has an unknown scheme, or its path is not valid.

    Example:
        >>> place_of("/mnt/photos").name("Anna/1.jpg")
        '/mnt/photos/Anna/1.jpg'
    """
    text = str(uri)
    if "://" not in text:
        return FolderPlace(Path(text))
    scheme = text.split("://", 1)[0]
    if scheme == "file":
        try:
            return FolderPlace(Path(pyarrow.fs.FileSystem.from_uri(text)[1]))
        except (pyarrow.ArrowException, ValueError) as error:
            raise InputError(
                f"{text}: not a valid path ({error}); such a URI starts with file:///"
            ) from error
    if scheme in ("s3", "gs", "gcs"):
        return BucketPlace(text)
    raise InputError(f"{text}: {scheme}:// is not supported; use a path, file://, s3:// or gs://")


def is_local(uri: str | Path) -> bool:
    """Return whether a path or URI names a folder of a file system."""
    return "://" not in str(uri) or str(uri).startswith("file://")


def patiently(action: Callable[[], T], passing: Callable[[OSError], bool]) -> T:
    """Return what `action` returns, trying again while it fails in a way that may pass.

    The environment variable LIKENESS_PATIENCE sets for how many seconds.

    Args:
        action: the operation.
        passing: says whether an error may pass.

    Raises:
        InputError: the operation kept failing; the message says for how long it was tried.
        OSError: the operation failed in a way that does not pass.
    """
    patience = float(os.environ.get(PATIENCE, _PATIENCE_SECONDS))
    start, wait = time.monotonic(), 0.5
    while True:
        try:
            return action()
        except OSError as error:
            if not passing(error):
                raise
            waited = time.monotonic() - start
            if waited + wait > patience:
                raise InputError(
                    f"storage keeps failing, tried for {waited:.0f} s ({_reason(error)}); start the job again when it "
                    "answers"
                ) from error
        time.sleep(wait * random.uniform(0.7, 1.3))  # so that not all workers try at the same moment
        wait = min(2 * wait, _LONGEST_WAIT)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


class FolderPlace:
    """A folder of a file system. `Place` documents the methods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return place_of, (self.uri,)

    def name(self, path: str = "") -> str:
        return str(self.folder / path)

    def read(self, path: str) -> bytes:
        file = self.folder / path
        try:
            if not stat.S_ISREG(patiently(file.stat, _passes).st_mode):
                raise OSError(errno.EINVAL, "not a file")
            return patiently(file.read_bytes, _passes)
        except FileNotFoundError as error:
            if as_on_disk(path) != path and os.path.lexists(self.folder / as_on_disk(path)):
                raise OSError(errno.EILSEQ, NOT_UTF8) from error
            raise

    def write(self, path: str, data: bytes) -> None:
        def write() -> None:
            try:
                write_whole(self.folder / path, data)
            except InputError as error:
                if isinstance(error.__cause__, OSError) and _passes(error.__cause__):
                    raise error.__cause__ from error
                raise

        patiently(write, _passes)

    def write_file(self, path: str, source: Path) -> None:
        target = self.folder / path
        partial = target.parent / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"{target}: cannot write ({_reason(error)}); make room or choose another --out"
            ) from error

    def stamp(self, path: str) -> FileStamp | None:
        try:
            status = (self.folder / path).stat()
        except FileNotFoundError:
            return None
        return FileStamp(status.st_size, status.st_mtime_ns)

    def files(self, below: str = "") -> dict[str, FileStamp]:
        """List files as `Place.files` does, following linked folders."""
        return dict(self.walk(below)) if (self.folder / below).is_dir() else {}

    def walk(self, below: str = "") -> Iterator[tuple[str, FileStamp]]:
        """Walk as `Place.walk` does, following links. A link that leads nowhere has the stamp of an empty file."""
        for file in walk_files(self.folder / below):
            path = file.relative_to(self.folder).as_posix()
            try:
                stamp = self.stamp(path)
            except OSError:  # a circle of links; reading it raises the error again
                stamp = None
            yield shown(path), stamp or FileStamp(0, 0)

    def open(self, path: str) -> Any:
        return patiently(lambda: (self.folder / path).open("rb"), _passes)

    def entries(self, below: str = "") -> tuple[list[str], list[str]]:
        folder = self.folder / below
        try:
            inside = sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else []
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({_reason(error)})") from error
        return [e.name for e in inside if e.is_dir()], [e.name for e in inside if not e.is_dir()]

    def remove(self, path: str) -> None:
        file = self.folder / path
        file.unlink(missing_ok=True)
        for above in file.parents:
            if above == self.folder or not above.is_dir() or any(above.iterdir()):
                return
            above.rmdir()

    def remove_folder(self, path: str) -> None:
        if (self.folder / path).is_dir():
            shutil.rmtree(self.folder / path)

    def free_bytes(self) -> int | None:
        there = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.exists())
        return shutil.disk_usage(there).free


def _passes(error: OSError) -> bool:
    return error.errno in _PASSING


class BucketPlace:
    """A prefix of a bucket. `Place` documents the methods. Pickled as its URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        # messages show neither the settings nor, before an @, the keys
        self._shown = re.sub(r"//[^/@]*@", "//", uri.split("?", 1)[0]).rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return place_of, (self.uri,)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and the path of the place in it."""
        uri = self.uri
        if uri.startswith("s3://") and "allow_delayed_open=" not in uri:
            # then reading a small object takes one request instead of three
            uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
        try:
            system, root = pyarrow.fs.FileSystem.from_uri(uri)
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            raise InputError(f"{self._shown}: cannot be used ({error})") from error
        return system, root.rstrip("/")

    def name(self, path: str = "") -> str:
        return f"{self._shown}/{path}" if path else self._shown

    def _path(self, path: str) -> str:
        return f"{self._opened[1]}/{path}" if path else self._opened[1]

    def read(self, path: str) -> bytes:
        system, key = self._opened[0], self._path(path)

        def read() -> bytes:
            with system.open_input_stream(key, compression=None) as stream:
                return bytes(stream.read())

        return self._ask(read, path)

    def write(self, path: str, data: bytes) -> None:
        """Write a file; a bucket shows an object only when it is complete."""
        system, key = self._opened[0], self._path(path)

        def write() -> None:
            with system.open_output_stream(key, compression=None) as stream:
                stream.write(data)

        try:
            self._ask(write, path)
        except OSError as error:
            raise InputError(f"{self.name(path)}: cannot write ({_reason(error)})") from error

    def write_file(self, path: str, source: Path) -> None:
        system, key = self._opened[0], self._path(path)

        def write() -> None:
            with source.open("rb") as file, system.open_output_stream(key, compression=None) as stream:
                while block := file.read(_BLOCK):
                    stream.write(block)

        try:
            self._ask(write, path)
        except OSError as error:
            raise InputError(f"{self.name(path)}: cannot write ({_reason(error)})") from error

    def stamp(self, path: str) -> FileStamp | None:
        system, key = self._opened[0], self._path(path)
        info = self._ask(lambda: system.get_file_info(key), path)
        return (
            FileStamp(info.size or 0, info.mtime_ns or 0) if info.type == pyarrow.fs.FileType.File else None
        )

    def files(self, below: str = "") -> dict[str, FileStamp]:
        root = self._opened[1]
        files = {}
        for info in self._list(below, recursive=True):
            if info.type == pyarrow.fs.FileType.File and not info.path.endswith("/"):
                path = info.path[len(root) + 1 :]
                if not is_system_path(path.removeprefix(f"{below}/" if below else "")):
                    files[path] = FileStamp(info.size or 0, info.mtime_ns or 0)
        return dict(sorted(files.items()))

    def walk(self, below: str = "") -> Iterator[tuple[str, FileStamp]]:
        root = f"{below}/" if below else ""
        # as in `augmentor.photos.images.walk_files`, a folder's slash makes this the order of whole paths
        inside: list[tuple[str, FileStamp | None]] = []
        for info in self._list(below, recursive=False):
            if info.type == pyarrow.fs.FileType.Directory:
                inside.append((f"{info.base_name}/", None))
            elif not info.path.endswith("/"):
                inside.append((info.base_name, FileStamp(info.size or 0, info.mtime_ns or 0)))
        for name, stamp in sorted(inside, key=lambda entry: entry[0]):
            path = f"{root}{name}"
            if stamp is None:
                if not is_system_folder(name[:-1]):
                    yield from self.walk(path[:-1])
            elif not is_system_path(name):
                yield path, stamp

    def open(self, path: str) -> Any:
        system, key = self._opened[0], self._path(path)
        return self._ask(lambda: system.open_input_file(key), path)

    def entries(self, below: str = "") -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        for info in self._list(below, recursive=False):
            (folders if info.type == pyarrow.fs.FileType.Directory else files).append(info.base_name)
        return sorted(folders), sorted(files)

    def _list(self, below: str, recursive: bool) -> Iterator[Any]:
        system = self._opened[0]
        selector = pyarrow.fs.FileSelector(self._path(below), allow_not_found=True, recursive=recursive)
        try:
            yield from self._ask(lambda: system.get_file_info(selector), below)
        except OSError as error:
            raise InputError(f"{self.name(below)}: cannot be listed ({_reason(error)})") from error

    def remove(self, path: str) -> None:
        system, key = self._opened[0], self._path(path)
        try:
            self._ask(lambda: system.delete_file(key), path)
        except FileNotFoundError:
            return

    def remove_folder(self, path: str) -> None:
        system, key = self._opened[0], self._path(path)
        try:
            self._ask(lambda: system.delete_dir(key), path)
        except FileNotFoundError:
            return

    def free_bytes(self) -> int | None:
        return None

    def _ask(self, action: Callable[[], T], path: str) -> T:
        try:
            return patiently(
                action,
                lambda error: not isinstance(error, FileNotFoundError) and not _FINAL.search(str(error)),
            )
        except InputError as error:
            raise InputError(f"{self.name(path)}: {error}") from error

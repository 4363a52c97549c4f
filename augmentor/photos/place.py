"""A folder, on disk or in object storage, named by a path or a URI: the same few operations on both.

    photos, /mnt/photos, file:///mnt/photos     a folder
    s3://bucket/photos, gs://bucket/photos      below a prefix of a bucket, through pyarrow's file systems; their
                                                settings follow a question mark, as in
                                                `?region=eu-central-1&endpoint_override=http://127.0.0.1:9000`

Paths below a place are relative and have slashes. Files appear whole or not at all. Storage that refuses for a while
(a throttled bucket, a network file system whose server restarts) is asked again, for `LIKENESS_PATIENCE` seconds
(300); what cannot get better by waiting (no such file, no permission, no space) is said at once.
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
# Of a network file system that may come back; anything else of a disk is as it is.
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
# What buckets say that waiting does not change.
_FINAL = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS|SIGNATURE|INVALID_CLIENT_TOKEN|NoSuchBucket|HTTP status 40[0134]"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"
)
T = TypeVar("T")


@dataclass(frozen=True)
class FileStamp:
    """What tells, without reading it, that a file has changed: bytes, and nanoseconds since 1970."""

    size: int
    changed: int


class Place(Protocol):
    """See the module."""

    uri: str

    def name(self, path: str = "") -> str:
        """What messages call a file of this place."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: there is none, or it cannot be read, whatever the patience.
            InputError: the storage keeps refusing.
        """
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        ...

    def files(self, below: str = "") -> dict[str, FileStamp]:
        """All files at any depth below a folder (none, if there is no such folder), sorted by path; without those that
        systems leave in folders (`augmentor.photos.file_kinds`), those in hidden folders and those half-written.

        A name that is not valid UTF-8 has its bytes escaped, so that every path can stand in a table or in JSON; who
        reads such a file gets an OSError that says so.

        Raises:
            InputError: the folder cannot be read.
        """
        ...

    def walk(self, below: str = "") -> Iterator[tuple[str, FileStamp]]:
        """As `files`, in the same order, one after the other: no more is held than the names in one folder.

        Raises:
            InputError: there is no such folder on a disk, or as `files`, when the folder's turn comes.
        """
        ...

    def stamp(self, path: str) -> FileStamp | None:
        """Of one file; None if it is not there."""
        ...

    def open(self, path: str) -> Any:
        """A file, open to be read here and there; a context manager.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        ...

    def write_file(self, path: str, source: Path) -> None:
        """As `write`, what lies in a file on this machine, which may be larger than memory.

        Raises:
            InputError: it cannot be written.
        """
        ...

    def entries(self, below: str = "") -> tuple[list[str], list[str]]:
        """Names of folders and of files in a folder, sorted; empty where there is no such folder.

        Raises:
            InputError: the folder cannot be read.
        """
        ...

    def remove(self, path: str) -> None:
        """Remove a file, and the folders above it that are empty then; nothing, if it is not there."""
        ...

    def remove_folder(self, path: str) -> None:
        """Remove a folder with all it holds; nothing, if it is not there."""
        ...

    def free_bytes(self) -> int | None:
        """How much can still be written; None where nothing tells."""
        ...


def place_of(uri: str | Path) -> Place:
    """The place that a path or URI names; nothing is read yet.

    Raises:
        InputError: a URI of another kind.
    """
    text = str(uri)
    if "://" not in text:
        return FolderPlace(Path(text))
    scheme = text.split("://", 1)[0]
    if scheme == "file":
        try:
            return FolderPlace(Path(pyarrow.fs.FileSystem.from_uri(text)[1]))
        except (pyarrow.ArrowException, ValueError) as error:
            raise InputError(f"{text}: no path ({error}); it starts with file:///") from error
    if scheme in ("s3", "gs", "gcs"):
        return BucketPlace(text)
    raise InputError(f"{text}: a path, file://, s3:// or gs:// can be used, no {scheme}://")


def is_local(uri: str | Path) -> bool:
    """Whether it is a folder of a file system."""
    return "://" not in str(uri) or str(uri).startswith("file://")


def patiently(action: Callable[[], T], passing: Callable[[OSError], bool]) -> T:
    """What `action` gives, asked again while it fails in a way that may pass.

    Raises:
        InputError: it has not passed; the line says how long it was tried.
        OSError: one that does not pass.
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
                    f"storage refuses, tried for {waited:.0f} s ({_told(error)}); start the job again when it answers"
                ) from error
        time.sleep(wait * random.uniform(0.7, 1.3))  # not all workers at the same moment
        wait = min(2 * wait, _LONGEST_WAIT)


def _told(error: OSError) -> str:
    return error.strerror or str(error)


class FolderPlace:
    """A folder of a file system; see `Place`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return place_of, (self.uri,)

    def name(self, path: str = "") -> str:
        """See `Place`."""
        return str(self.folder / path)

    def read(self, path: str) -> bytes:
        """See `Place`."""
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
        """See `Place`."""

        def write() -> None:
            try:
                write_whole(self.folder / path, data)
            except InputError as error:
                if isinstance(error.__cause__, OSError) and _passes(error.__cause__):
                    raise error.__cause__ from error
                raise

        patiently(write, _passes)

    def write_file(self, path: str, source: Path) -> None:
        """See `Place`."""
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
                f"{target}: cannot write ({_told(error)}); make room or choose another --out"
            ) from error

    def stamp(self, path: str) -> FileStamp | None:
        """See `Place`."""
        try:
            told = (self.folder / path).stat()
        except FileNotFoundError:
            return None
        return FileStamp(told.st_size, told.st_mtime_ns)

    def files(self, below: str = "") -> dict[str, FileStamp]:
        """See `Place`. Linked folders are followed."""
        return dict(self.walk(below)) if (self.folder / below).is_dir() else {}

    def walk(self, below: str = "") -> Iterator[tuple[str, FileStamp]]:
        """See `Place`. Linked folders are followed; a link that leads nowhere has the stamp of an empty file."""
        for file in walk_files(self.folder / below):
            path = file.relative_to(self.folder).as_posix()
            try:
                stamp = self.stamp(path)
            except OSError:  # a circle of links; who reads it is told
                stamp = None
            yield shown(path), stamp or FileStamp(0, 0)

    def open(self, path: str) -> Any:
        """See `Place`."""
        return patiently(lambda: (self.folder / path).open("rb"), _passes)

    def entries(self, below: str = "") -> tuple[list[str], list[str]]:
        """See `Place`."""
        folder = self.folder / below
        try:
            found = sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else []
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({_told(error)})") from error
        return [e.name for e in found if e.is_dir()], [e.name for e in found if not e.is_dir()]

    def remove(self, path: str) -> None:
        """See `Place`."""
        file = self.folder / path
        file.unlink(missing_ok=True)
        for above in file.parents:
            if above == self.folder or not above.is_dir() or any(above.iterdir()):
                return
            above.rmdir()

    def remove_folder(self, path: str) -> None:
        """See `Place`."""
        if (self.folder / path).is_dir():
            shutil.rmtree(self.folder / path)

    def free_bytes(self) -> int | None:
        """See `Place`."""
        there = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.exists())
        return shutil.disk_usage(there).free


def _passes(error: OSError) -> bool:
    return error.errno in _PASSING


class BucketPlace:
    """A prefix of a bucket; see `Place`. Travels between processes as its URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        # the settings and, before an @, keys stay out of messages
        self._shown = re.sub(r"//[^/@]*@", "//", uri.split("?", 1)[0]).rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return place_of, (self.uri,)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system and the path of the place in it."""
        uri = self.uri
        if uri.startswith("s3://") and "allow_delayed_open=" not in uri:
            # a small object is one request then, not three
            uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
        try:
            system, root = pyarrow.fs.FileSystem.from_uri(uri)
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            raise InputError(f"{self._shown}: cannot be used ({error})") from error
        return system, root.rstrip("/")

    def name(self, path: str = "") -> str:
        """See `Place`."""
        return f"{self._shown}/{path}" if path else self._shown

    def _path(self, path: str) -> str:
        return f"{self._opened[1]}/{path}" if path else self._opened[1]

    def read(self, path: str) -> bytes:
        """See `Place`."""
        system, key = self._opened[0], self._path(path)

        def read() -> bytes:
            with system.open_input_stream(key, compression=None) as stream:
                return bytes(stream.read())

        return self._ask(read, path)

    def write(self, path: str, data: bytes) -> None:
        """See `Place`. A bucket shows an object when it is complete."""
        system, key = self._opened[0], self._path(path)

        def write() -> None:
            with system.open_output_stream(key, compression=None) as stream:
                stream.write(data)

        try:
            self._ask(write, path)
        except OSError as error:
            raise InputError(f"{self.name(path)}: cannot write ({_told(error)})") from error

    def write_file(self, path: str, source: Path) -> None:
        """See `Place`."""
        system, key = self._opened[0], self._path(path)

        def write() -> None:
            with source.open("rb") as file, system.open_output_stream(key, compression=None) as stream:
                while block := file.read(_BLOCK):
                    stream.write(block)

        try:
            self._ask(write, path)
        except OSError as error:
            raise InputError(f"{self.name(path)}: cannot write ({_told(error)})") from error

    def stamp(self, path: str) -> FileStamp | None:
        """See `Place`."""
        system, key = self._opened[0], self._path(path)
        info = self._ask(lambda: system.get_file_info(key), path)
        return (
            FileStamp(info.size or 0, info.mtime_ns or 0) if info.type == pyarrow.fs.FileType.File else None
        )

    def files(self, below: str = "") -> dict[str, FileStamp]:
        """See `Place`."""
        root = self._opened[1]
        found = {}
        for info in self._list(below, recursive=True):
            if info.type == pyarrow.fs.FileType.File and not info.path.endswith("/"):
                path = info.path[len(root) + 1 :]
                if not is_system_path(path.removeprefix(f"{below}/" if below else "")):
                    found[path] = FileStamp(info.size or 0, info.mtime_ns or 0)
        return dict(sorted(found.items()))

    def walk(self, below: str = "") -> Iterator[tuple[str, FileStamp]]:
        """See `Place`."""
        root = f"{below}/" if below else ""
        # as in `augmentor.photos.images.walk_files`, a folder's slash makes this the order of whole paths
        found: list[tuple[str, FileStamp | None]] = []
        for info in self._list(below, recursive=False):
            if info.type == pyarrow.fs.FileType.Directory:
                found.append((f"{info.base_name}/", None))
            elif not info.path.endswith("/"):
                found.append((info.base_name, FileStamp(info.size or 0, info.mtime_ns or 0)))
        for name, stamp in sorted(found, key=lambda one: one[0]):
            path = f"{root}{name}"
            if stamp is None:
                if not is_system_folder(name[:-1]):
                    yield from self.walk(path[:-1])
            elif not is_system_path(name):
                yield path, stamp

    def open(self, path: str) -> Any:
        """See `Place`."""
        system, key = self._opened[0], self._path(path)
        return self._ask(lambda: system.open_input_file(key), path)

    def entries(self, below: str = "") -> tuple[list[str], list[str]]:
        """See `Place`."""
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
            raise InputError(f"{self.name(below)}: cannot be listed ({_told(error)})") from error

    def remove(self, path: str) -> None:
        """See `Place`."""
        system, key = self._opened[0], self._path(path)
        try:
            self._ask(lambda: system.delete_file(key), path)
        except FileNotFoundError:
            return

    def remove_folder(self, path: str) -> None:
        """See `Place`."""
        system, key = self._opened[0], self._path(path)
        try:
            self._ask(lambda: system.delete_dir(key), path)
        except FileNotFoundError:
            return

    def free_bytes(self) -> int | None:
        """See `Place`."""
        return None

    def _ask(self, action: Callable[[], T], path: str) -> T:
        try:
            return patiently(
                action,
                lambda error: not isinstance(error, FileNotFoundError) and not _FINAL.search(str(error)),
            )
        except InputError as error:
            raise InputError(f"{self.name(path)}: {error}") from error

"""Processes that decode photos: uploads may be anything, and a decoder they crash is not the server's.

Everything that needs the pixels of a photo happens here: finding faces, hashes, thumbnails, the faces of a group that
is named, renders of whoever is enrolled. A process that crashes or takes too long is replaced, and only the photo it
had is lost. Each is replaced after some hundred photos, too, whatever memory its libraries hold on to.

While a process works on a photo it may map no more memory than it has when it begins, and an allowance. Most photos
need little. Those that need more are worked on a few at a time, by processes of their own that give way to the others,
so that memory is bounded and small photos go on.

Contract:
    The allowance is a limit of the operating system on address space (`RLIMIT_AS`). Linux keeps to it. macOS takes it
    and ignores it, and other systems have none: there only pixels, bytes and time are limited.
"""

import asyncio
import hashlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pebble import ProcessExpired, ProcessPool

from augmentor.errors import InputError, LikenessError, PhotoError
from augmentor.faces.face_search import Box, Policy
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.photos.images import load_image, perceptual_hash
from identity.albums.photo_work import thumbnail
from identity.chips.many_photos import use_one_core
from identity.chips.photo_faces import PhotoFaces, PhotoReader, failed
from identity.chips.renders_of_photo import WantedRenders, make_renders
from identity.server.source import Source

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

_PHOTOS_OF_A_PROCESS = 500
_NICE = 5
_NEEDS_NO_PIXELS = 64_000_000  # bytes: the file itself, and what looking for faces takes
_BYTES_A_PIXEL = 10  # what most formats take while they are read, see `augmentor.photos.images`
ORDINARY_PIXELS = 25_000_000
_ORDINARY_BYTES = 32_000_000  # of a file
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class PhotoLimits:
    """What one photo may cost.

    Attributes:
        seconds: then its process is ended.
        pixels: a photo with more is refused from its header.
        memory: bytes of address space that working on it may add to its process.
        large_at_once: photos worked on at once that need more than ordinary ones.
    """

    seconds: float
    pixels: int
    memory: int
    large_at_once: int = 1

    @property
    def ordinary(self) -> "PhotoLimits":
        """What most photos keep to; no more than this."""
        pixels = min(self.pixels, ORDINARY_PIXELS)
        return replace(self, pixels=pixels, memory=min(self.memory, memory_for(pixels)))


def memory_for(pixels: int) -> int:
    """Bytes that decoding a photo of so many pixels takes, if it is of a usual kind."""
    return _NEEDS_NO_PIXELS + _BYTES_A_PIXEL * pixels


class PhotoPool:
    """A pool; `close` it.

    Args:
        size: edge of the chips, pixels.
        align: `face` or `whole`, see `identity.chips.photo_faces`.
        workers: processes.
        limits: of each photo.
        source: finds the faces; by default the one that recognition uses.
    """

    def __init__(
        self, size: int, align: str, workers: int, limits: PhotoLimits, source: FaceSource | None = None
    ) -> None:
        reader = PhotoReader(size, align, source=source or face_source(second_opinion=True))
        self.workers = workers
        self._limits = limits
        self._pool = _processes(workers, reader, 0)
        self._large_pool = _processes(
            limits.large_at_once, reader, _NICE
        )  # begins with the first large photo
        self._wait()

    def _wait(self) -> None:
        """Photos wait here, not in the pipe to the processes."""
        self._turns = asyncio.Semaphore(2 * self.workers)
        self._large = asyncio.Semaphore(self._limits.large_at_once)
        self._readers = ThreadPoolExecutor(2 * self.workers, "reading")

    @property
    def alive(self) -> bool:
        """Whether photos can be worked on."""
        return bool(self._pool.active)

    async def start(self) -> None:
        """Let every process load what it needs."""
        nothing = Source("", 0, lambda: iter([b""]))
        await asyncio.gather(*(self.faces(nothing) for _ in range(self.workers)))

    async def faces(self, source: Source, policy: Policy = "all", *, hashed: bool = False) -> PhotoFaces:
        """Return the faces of a photo; see `identity.chips.photo_faces`.

        Args:
            source: the photo; a photo that cannot be read, crashes its process or takes too long gets the status
                `error`.
            policy: which of its faces count.
            hashed: whether the SHA-256 and the perceptual hash of its file are wanted, too.
        """
        try:
            found: PhotoFaces = await self._run(_faces, source, policy, hashed)
        except PhotoError as error:
            return failed(error, source.name)
        return found

    async def thumbnail(self, source: Source) -> bytes:
        """A small JPEG of a photo.

        Raises:
            PhotoError: the photo cannot be read, crashed its process, or took too long.
        """
        return await self._run(_thumbnail, source)

    async def face_again(self, source: Source, path: Path, box: Box, size: int) -> PhotoFaces | None:
        """The face of a photo that was found at `box` before.

        Raises:
            PhotoError: the photo cannot be read, crashed its process, or took too long.
        """
        return await self._run(_face_again, source, path, box, size)

    async def renders(self, sources: Sequence[Source], wanted: Sequence[WantedRenders]) -> np.ndarray | None:
        """The renders that `identity.runs.enrolment.enrol` wants; None if it wants none.

        Raises:
            PhotoError: the photo cannot be read, crashed its process, or took too long.
            InputError: no head fits a face.
        """
        made = await asyncio.gather(*(self._run(_renders, sources[one.photo], one) for one in wanted))
        return np.concatenate(made) if made else None

    async def _run(self, function: Callable[..., Any], source: Source, *arguments: Any) -> Any:
        """Call a function with the content of a photo, its limits and the arguments, in one of the processes."""
        ordinary = self._limits.ordinary
        if source.size <= _ORDINARY_BYTES:
            async with self._turns:
                found = await self._turn(self._pool, function, source, ordinary, arguments)
            too_large = isinstance(found, PhotoError) and found.reason == "too_large"
            if not too_large or ordinary == self._limits:
                return _raised(found)
        async with self._large:
            return _raised(await self._turn(self._large_pool, function, source, self._limits, arguments))

    async def _turn(
        self,
        pool: ProcessPool,
        function: Callable[..., Any],
        source: Source,
        limits: PhotoLimits,
        arguments: Sequence[Any],
    ) -> Any:
        """What `_work` returns; raises where there is nothing to work on, or its process ended."""
        content = await asyncio.get_running_loop().run_in_executor(self._readers, source.read)
        words = [function, content, source.name, limits, arguments]
        future = pool.schedule(_work, args=words, timeout=limits.seconds)
        try:
            return await asyncio.wrap_future(future)
        except (TooLong, asyncio.TimeoutError) as error:
            detail = f"not read within {limits.seconds:g} s"
            raise PhotoError("unreadable", source.name, detail) from error
        except ProcessExpired as error:
            raise PhotoError("unreadable", source.name, "the program that reads it crashed") from error
        except asyncio.CancelledError:
            future.cancel()
            raise

    def close(self) -> None:
        """End the processes."""
        for pool in (self._pool, self._large_pool):
            pool.stop()
            pool.join()
        self._readers.shutdown(wait=False, cancel_futures=True)


def _raised(found: Any) -> Any:
    if isinstance(found, LikenessError):
        raise found
    return found


def _processes(workers: int, reader: PhotoReader, nice: int) -> ProcessPool:
    return ProcessPool(
        workers,
        max_tasks=_PHOTOS_OF_A_PROCESS,
        initializer=_start_process,
        initargs=[reader, nice],
        context=multiprocessing.get_context("spawn"),
    )


_reader: list[PhotoReader] = []


def _start_process(reader: PhotoReader, nice: int) -> None:
    if hasattr(os, "nice"):
        os.nice(nice)
    if resource is not None:  # a core file would have the photo in it
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _start(reader)


def _start(reader: PhotoReader) -> None:
    use_one_core()
    reader.load()
    _reader[:] = [reader]


def _work(
    function: Callable[..., Any], content: bytes, name: str, limits: PhotoLimits, arguments: Sequence[Any]
) -> Any:
    """What a function makes of a photo, or the `LikenessError` why it makes nothing of it.

    An error that is raised keeps alive what the functions it went through hold, until the next photo is done: the
    picture, often. So errors are returned, and what they hold is let go.
    """
    try:
        with _less_memory(limits.memory):
            return function(content, name, limits, *arguments)
    except Exception as error:
        told = _told(error, name, limits)
        if told is None:
            raise
        held: BaseException | None = error
        while held is not None:
            traceback.clear_frames(held.__traceback__)
            held = held.__cause__ or held.__context__
    return told


def _told(error: Exception, name: str, limits: PhotoLimits) -> LikenessError | None:
    """What is told of an error; None of one that nobody thought of."""
    no_memory = isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem
    if no_memory or isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
        more = f"reading it takes more than {limits.memory / 1e6:.0f} MB of memory"
        return PhotoError("too_large", name, more)
    if isinstance(error, PhotoError):
        return PhotoError(error.reason, error.path, error.detail)
    return InputError(str(error)) if isinstance(error, InputError) else None


@contextmanager
def _less_memory(more: int) -> Iterator[None]:
    if resource is None or not _STATM.exists():
        yield
        return
    mapped = int(_STATM.read_text().split()[0]) * resource.getpagesize()
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    soft = mapped + more
    if most != resource.RLIM_INFINITY:
        soft = min(soft, most)
    resource.setrlimit(resource.RLIMIT_AS, (soft, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _faces(content: bytes, name: str, limits: PhotoLimits, policy: Policy, hashed: bool) -> PhotoFaces:
    sha256 = hashlib.sha256(content).hexdigest() if hashed else ""
    try:
        image = load_image(content, name=name, max_pixels=limits.pixels)
    except PhotoError as error:
        if error.reason == "too_large" or isinstance(error.__cause__, MemoryError):
            raise  # it may have another try, with more memory
        return replace(failed(error, name), sha256=sha256)
    found = replace(_reader[0], policy=policy).image(image, name)
    return replace(found, sha256=sha256, phash=perceptual_hash(image)) if hashed else found


def _thumbnail(content: bytes, name: str, limits: PhotoLimits) -> bytes:
    return thumbnail(load_image(content, name=name, max_pixels=limits.pixels))


def _face_again(
    content: bytes, name: str, limits: PhotoLimits, path: Path, box: Box, size: int
) -> PhotoFaces | None:
    image = load_image(content, name=name, max_pixels=limits.pixels)
    return replace(_reader[0], size=size, poses=False).face_again(image, path, box)


def _renders(content: bytes, name: str, limits: PhotoLimits, wanted: WantedRenders) -> np.ndarray:
    return make_renders(load_image(content, name=name, max_pixels=limits.pixels), name, wanted)

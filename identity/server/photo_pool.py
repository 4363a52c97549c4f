"""Processes that decode photos, so that an upload which crashes a decoder does not crash the server.

Everything that needs the pixels of a photo happens here: detecting faces, computing hashes, making thumbnails, cutting
out the faces of a group that is given a name, and rendering a person who is being enrolled. A process that crashes or
takes too long is replaced, and only the photo it was working on is lost. Each process is also replaced after some
hundred photos, which frees whatever memory its libraries hold on to.

While a process works on a photo, it may map only a fixed allowance of memory beyond what it had when it began. Most
photos need little. The others are worked on a few at a time, by processes of their own with a lower priority, so that
memory is bounded and small photos do not wait.

Contract:
    The allowance is a limit of the operating system on address space (`RLIMIT_AS`). Linux enforces it. macOS accepts
    and ignores it, and other systems have no such limit: there only pixels, bytes and time are limited.
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
from identity.runs.recogniser import naming_reader
from identity.server.source import Source
from identity.server.turns import FairTurns

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

_PHOTOS_OF_A_PROCESS = 500
_NICE = 5
_NEEDS_NO_PIXELS = 64_000_000  # Bytes for the file itself and for detecting faces.
_BYTES_A_PIXEL = 10  # Bytes that most formats take while they are decoded, see `augmentor.photos.images`.
ORDINARY_PIXELS = 25_000_000
_ORDINARY_BYTES = 32_000_000  # Largest file that is tried with the ordinary limits.
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class PhotoLimits:
    """The resources that one photo may take.

    Attributes:
        seconds: after this time the process that works on the photo is ended.
        pixels: a photo with more is refused as soon as its header is read.
        memory: bytes of address space that work on the photo may add to its process.
        large_at_once: how many photos that exceed the ordinary limits are worked on at once.
    """

    seconds: float
    pixels: int
    memory: int
    large_at_once: int = 1

    @property
    def ordinary(self) -> "PhotoLimits":
        """The limits that most photos keep to; never higher than these limits."""
        pixels = min(self.pixels, ORDINARY_PIXELS)
        return replace(self, pixels=pixels, memory=min(self.memory, memory_for(pixels)))


def memory_for(pixels: int) -> int:
    """Return how many bytes it takes to decode a photo of a usual kind with this many pixels."""
    return _NEEDS_NO_PIXELS + _BYTES_A_PIXEL * pixels


class PhotoPool:
    """The processes that decode photos. Call `close` when they are no longer needed.

    Args:
        size: edge of the chips, pixels.
        align: `face` or `whole`, see `identity.chips.photo_faces`.
        workers: number of processes.
        limits: for each photo.
        source: detects the faces; by default the one with a second opinion.
    """

    def __init__(
        self, size: int, align: str, workers: int, limits: PhotoLimits, source: FaceSource | None = None
    ) -> None:
        reader = PhotoReader(size, align, source=source or face_source(second_opinion=True))
        self.workers = workers
        self._limits = limits
        self._pool = _processes(workers, reader, 0)
        # These processes start with the first large photo.
        self._large_pool = _processes(limits.large_at_once, reader, _NICE)
        self._wait()

    def _wait(self) -> None:
        """Make the queues in which photos wait, so that they do not wait in the pipe to the processes."""
        self._turns = FairTurns(self.workers + 1)  # one photo is read while the others are worked on
        self._large = FairTurns(self._limits.large_at_once)
        self._readers = ThreadPoolExecutor(2 * self.workers, "reading")

    @property
    def alive(self) -> bool:
        """True while the processes run."""
        return bool(self._pool.active)

    async def start(self) -> None:
        """Make every process load what it needs."""
        nothing = Source("", 0, lambda: iter([b""]))
        await asyncio.gather(*(self.faces(nothing) for _ in range(self.workers)))

    async def faces(
        self,
        source: Source,
        policy: Policy = "all",
        *,
        hashed: bool = False,
        to_name: bool = False,
    ) -> PhotoFaces:
        """Return the faces of a photo; see `identity.chips.photo_faces`.

        Args:
            source: the photo; a photo that cannot be read, crashes its process or takes too long gets the status
                `error`.
            policy: which of its faces count.
            hashed: whether the SHA-256 and the perceptual hash of its file are wanted, too.
            to_name: whether the faces are only to be named; then faces that are too small for that are shown, too, and
                no render can be made of them.
        """
        try:
            found: PhotoFaces = await self._run(_faces, source, policy, hashed, to_name)
        except PhotoError as error:
            return failed(error, source.name)
        return found

    async def thumbnail(self, source: Source) -> bytes:
        """Return a small JPEG of a photo.

        Raises:
            PhotoError: the photo cannot be read, crashed its process, or took too long.
        """
        return await self._run(_thumbnail, source)

    async def face_again(self, source: Source, path: Path, box: Box, size: int) -> PhotoFaces | None:
        """Return the face of a photo that was detected at `box` before; None if it is not detected again.

        Args:
            source: the photo.
            path: its file, for the result.
            box: (x, y, width, height) in photo pixels.
            size: edge of the chip, pixels.

        Raises:
            PhotoError: the photo cannot be read, crashed its process, or took too long.
        """
        return await self._run(_face_again, source, path, box, size)

    async def renders(self, sources: Sequence[Source], wanted: Sequence[WantedRenders]) -> np.ndarray | None:
        """Return the renders that `identity.runs.enrolment.enrol` wants, or None if it wants none.

        Args:
            sources: the photos of one person.
            wanted: which renders of which photo.

        Returns:
            (N, size, size, 3) uint8 RGB.

        Raises:
            PhotoError: a photo cannot be read, crashed its process, or took too long.
            InputError: no head fits a face.
        """
        made = await asyncio.gather(*(self._run(_renders, sources[one.photo], one) for one in wanted))
        return np.concatenate(made) if made else None

    async def _run(self, function: Callable[..., Any], source: Source, *arguments: Any) -> Any:
        """Call a function in one of the processes, with the content of a photo, its limits and the arguments."""
        ordinary = self._limits.ordinary
        if source.size <= _ORDINARY_BYTES:
            async with self._turns.turn():
                found = await self._turn(self._pool, function, source, ordinary, arguments)
            too_large = isinstance(found, PhotoError) and found.reason == "too_large"
            if not too_large or ordinary == self._limits:
                return _raised(found)
        async with self._large.turn():
            return _raised(await self._turn(self._large_pool, function, source, self._limits, arguments))

    async def _turn(
        self,
        pool: ProcessPool,
        function: Callable[..., Any],
        source: Source,
        limits: PhotoLimits,
        arguments: Sequence[Any],
    ) -> Any:
        """Return what `_work` returns.

        Raises:
            PhotoError: the content cannot be read, or the process ended.
        """
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
    if resource is not None:  # A core file would contain the photo.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _start(reader)


def _start(reader: PhotoReader) -> None:
    use_one_core()
    reader.load()
    _reader[:] = [reader]


def _work(
    function: Callable[..., Any], content: bytes, name: str, limits: PhotoLimits, arguments: Sequence[Any]
) -> Any:
    """Return the result of a function for one photo, or the `LikenessError` that it raised.

    A raised error keeps alive the local variables of all functions it passed through, often the picture itself, until
    the next photo is done. So errors are returned, and their frames are cleared.
    """
    try:
        with _less_memory(limits.memory):
            return function(content, name, limits, *arguments)
    except Exception as error:
        outcome = _as_shown(error, name, limits)
        if outcome is None:
            raise
        held: BaseException | None = error
        while held is not None:
            traceback.clear_frames(held.__traceback__)
            held = held.__cause__ or held.__context__
    return outcome


def _as_shown(error: Exception, name: str, limits: PhotoLimits) -> LikenessError | None:
    """Return the error that the client gets; None for an error that this program does not expect."""
    no_memory = isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem
    if no_memory or isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
        detail = f"reading it takes more than {limits.memory / 1e6:.0f} MB of memory"
        return PhotoError("too_large", name, detail)
    if isinstance(error, PhotoError):
        return PhotoError(error.reason, error.path, error.detail)
    return InputError(str(error)) if isinstance(error, InputError) else None


@contextmanager
def _less_memory(more: int) -> Iterator[None]:
    """Let this process map at most `more` bytes beyond what it has mapped now."""
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


def _faces(
    content: bytes, name: str, limits: PhotoLimits, policy: Policy, hashed: bool, to_name: bool
) -> PhotoFaces:
    sha256 = hashlib.sha256(content).hexdigest() if hashed else ""
    try:
        image = load_image(content, name=name, max_pixels=limits.pixels)
    except PhotoError as error:
        if error.reason == "too_large" or isinstance(error.__cause__, MemoryError):
            raise  # so that it is tried again with more memory
        return replace(failed(error, name), sha256=sha256)
    reader = replace(_reader[0], policy=policy)
    found = (naming_reader(reader) if to_name else reader).image(image, name)
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

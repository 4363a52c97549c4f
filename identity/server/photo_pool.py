"""Processes that decode photos and find faces: uploads may be anything, and a decoder they crash is not the server's.

A process that crashes or takes too long is replaced, and only the photo it had is lost. Each is replaced after some
hundred photos, too, whatever memory its libraries hold on to.
"""

import asyncio
import hashlib
import multiprocessing
from concurrent.futures import TimeoutError as TooLong
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from augmentor.errors import PhotoError
from augmentor.faces import POLICIES, Policy
from augmentor.images import load_image, perceptual_hash
from identity.probes import ProbeChip
from identity.seeing import PhotoReader, SeenPhoto, failed, use_one_core

_PHOTOS_OF_A_PROCESS = 500


class PhotoPool:
    """A pool; `close` it.

    Args:
        size: edge of the chips, pixels.
        align: `face` or `whole`, see `identity.seeing`.
        workers: processes.
        seconds: for one photo.
        max_pixels: of a photo.
    """

    def __init__(self, size: int, align: str, workers: int, seconds: float, max_pixels: int) -> None:
        self.workers = workers
        self._seconds, self._max_pixels = seconds, max_pixels
        self._pool = ProcessPool(
            workers,
            max_tasks=_PHOTOS_OF_A_PROCESS,
            initializer=_start,
            initargs=[size, align],
            context=multiprocessing.get_context("spawn"),
        )
        # photos wait here, not in the pipe to the processes
        self._turns = asyncio.Semaphore(2 * workers)

    async def see(self, content: bytes, name: str, policy: Policy = "all") -> SeenPhoto:
        """What is on a photo; see `identity.seeing`."""
        try:
            return await self._run(_see, content, name, policy, self._max_pixels)
        except PhotoError as error:
            return failed(error, name)

    async def probe(self, content: bytes, name: str, policy: Policy) -> tuple[ProbeChip, SeenPhoto]:
        """The one face of a photo, for enrolment; its path is the name.

        Raises:
            PhotoError: the photo crashed its process, or took too long.
        """
        return await self._run(_probe, content, name, policy, self._max_pixels)

    async def _run(self, function: Any, content: bytes, name: str, *arguments: Any) -> Any:
        async with self._turns:
            future = self._pool.schedule(function, args=[content, name, *arguments], timeout=self._seconds)
            try:
                return await asyncio.wrap_future(future)
            except (TooLong, asyncio.TimeoutError) as error:
                raise PhotoError("unreadable", name, f"not read within {self._seconds:g} s") from error
            except ProcessExpired as error:
                raise PhotoError("unreadable", name, "the program that reads it crashed") from error
            except asyncio.CancelledError:
                future.cancel()
                raise

    def close(self) -> None:
        """End the processes."""
        self._pool.stop()
        self._pool.join()


_readers: dict[str, PhotoReader] = {}


def _start(size: int, align: str) -> None:
    use_one_core()
    _readers.update({policy: PhotoReader(size, align, policy) for policy in POLICIES})  # type: ignore[arg-type]


def _see(content: bytes, name: str, policy: str, max_pixels: int) -> SeenPhoto:
    return _readers[policy].content(content, name, max_pixels)


def _probe(content: bytes, name: str, policy: str, max_pixels: int) -> tuple[ProbeChip, SeenPhoto]:
    seen = _see(content, name, policy, max_pixels)
    sha256 = hashlib.sha256(content).hexdigest()
    phash = None if seen.status == "error" else perceptual_hash(load_image(content, max_pixels=max_pixels))
    found = bool(seen.chips)
    probe = ProbeChip(
        Path(name),
        seen.chips[0] if found else None,
        seen.reason,
        sha256,
        phash,
        seen.faces[0].landmarks if found else None,
        seen.faces[0].box if found else None,
        seen.detail,
    )
    return probe, seen

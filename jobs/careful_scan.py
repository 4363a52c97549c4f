"""Scan a photo in a process of its own: one that crashes its decoder, or keeps it busy for ever, is found out by that.

A worker that died may have died of the photo it had. Whoever takes over its photos sends them through here: what
crashes the process, twice, is the photo's fault, and it is reported like any that cannot be read.
"""

import multiprocessing
from concurrent.futures import TimeoutError as TooLong
from dataclasses import replace
from typing import Any

from pebble import ProcessExpired, ProcessPool

from augmentor.errors import PhotoError
from jobs.photo_worker import PhotoWorker, PreparedFace, RenderSettings, Scanned, blank_face

TRIES = 2
SECONDS = 300.0  # for one photo; the largest take some ten
_worker: PhotoWorker


class CarefulScanner:
    """As `jobs.photo_worker.PhotoWorker.scan`, at the cost of a process; `close` it.

    Args:
        settings: of the worker in that process.
        seconds: after which a photo is given up.
    """

    def __init__(self, settings: RenderSettings, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._pool = ProcessPool(
            1, initializer=_start, initargs=[settings], context=multiprocessing.get_context("spawn")
        )

    def scan(
        self, identity: str, photo: str, content: bytes | PhotoError
    ) -> tuple[Scanned, list[PreparedFace]]:
        """See the class."""
        detail = ""
        for _ in range(TRIES):
            try:
                found: Any = self._pool.schedule(
                    _scan, args=[identity, photo, content], timeout=self._seconds
                ).result()
                return found
            except ProcessExpired:
                detail = f"crashes the program that reads it, tried {TRIES} times"
            except TooLong:
                detail = f"not read within {self._seconds:g} s, tried {TRIES} times"
        face = replace(blank_face(identity, photo, content), reason="unreadable", detail=detail)
        return Scanned((face,), 0.0), []

    def close(self) -> None:
        """End the process."""
        self._pool.stop()
        self._pool.join()


def _start(settings: RenderSettings) -> None:
    global _worker
    _worker = PhotoWorker(settings)


def _scan(identity: str, photo: str, content: bytes | PhotoError) -> tuple[Scanned, list[PreparedFace]]:
    return _worker.scan(identity, photo, content)

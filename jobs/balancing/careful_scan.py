"""Scan a photo in a process of its own: one that crashes its decoder, or keeps it busy for ever, is found out.

See `jobs.cluster.careful_process`.
"""

from dataclasses import replace
from typing import Any

from augmentor.errors import PhotoError
from jobs.balancing.photo_worker import PhotoWorker, PreparedFace, RenderSettings, Scanned, blank_face
from jobs.cluster.careful_process import SECONDS, CarefulProcess

_worker: PhotoWorker


class CarefulScanner:
    """As `jobs.balancing.photo_worker.PhotoWorker.scan`, at the cost of a process; `close` it.

    Args:
        settings: of the worker in that process.
        seconds: after which a photo is given up.
    """

    def __init__(self, settings: RenderSettings, seconds: float = SECONDS) -> None:
        self._process = CarefulProcess(_start, [settings], seconds)

    def scan(
        self, identity: str, photo: str, content: bytes | PhotoError
    ) -> tuple[Scanned, list[PreparedFace]]:
        """See the class."""
        try:
            found: Any = self._process.ask(photo, _scan, identity, photo, content)
            return found
        except PhotoError as error:
            face = replace(blank_face(identity, photo, content), reason=error.reason, detail=error.detail)
            return Scanned((face,), 0.0), []

    def close(self) -> None:
        """End the process."""
        self._process.close()


def _start(settings: RenderSettings) -> None:
    global _worker
    _worker = PhotoWorker(settings)


def _scan(identity: str, photo: str, content: bytes | PhotoError) -> tuple[Scanned, list[PreparedFace]]:
    return _worker.scan(identity, photo, content)

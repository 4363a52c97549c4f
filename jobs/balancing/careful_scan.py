"""Scan a photo in a process of its own, so that a photo that crashes its decoder, or never ends, does no further harm.

See `jobs.cluster.careful_process`.
"""

from dataclasses import replace
from typing import Any

from augmentor.errors import PhotoError
from jobs.balancing.photo_worker import PhotoWorker, RenderSettings, Scanned, blank_face
from jobs.cluster.careful_process import SECONDS, CarefulProcess

_worker: PhotoWorker


class CarefulScanner:
    """Does what `PhotoWorker.scan` does, at the cost of a process. Call `close` when it is no longer needed.

    Args:
        settings: of the worker in that process.
        seconds: a photo that takes longer is given up.
    """

    def __init__(self, settings: RenderSettings, seconds: float = SECONDS) -> None:
        self._process = CarefulProcess(_start, [settings], seconds)

    def scan(self, identity: str, photo: str, content: bytes | PhotoError) -> Scanned:
        """Scan a photo; one that crashes the process or takes too long has no usable face.

        Args:
            identity: the person whose photo it is.
            photo: path relative to the data folder.
            content: of the photo file, or why it could not be read.
        """
        try:
            scanned: Any = self._process.ask(photo, _scan, identity, photo, content)
            return scanned
        except PhotoError as error:
            face = replace(blank_face(identity, photo, content), reason=error.reason, detail=error.detail)
            return Scanned((face,))

    def close(self) -> None:
        """End the process."""
        self._process.close()


def _start(settings: RenderSettings) -> None:
    global _worker
    _worker = PhotoWorker(settings)


def _scan(identity: str, photo: str, content: bytes | PhotoError) -> Scanned:
    return _worker.scan(identity, photo, content)

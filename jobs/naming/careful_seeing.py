"""Detect the faces of a photo in a process of its own, so that a photo that crashes its decoder does no further harm.

See `jobs.cluster.careful_process`.
"""

from typing import Any

from augmentor.errors import PhotoError
from identity.chips.many_photos import use_one_core
from identity.chips.photo_faces import PhotoFaces, PhotoReader, failed
from jobs.cluster.careful_process import SECONDS, CarefulProcess

_readers: list[PhotoReader] = []


class CarefulReader:
    """Does what `PhotoReader.content` does, at the cost of a process. Call `close` when it is no longer needed.

    Args:
        reader: reads the photos in that process.
        seconds: a photo that takes longer is given up.
    """

    def __init__(self, reader: PhotoReader, seconds: float = SECONDS) -> None:
        self._process = CarefulProcess(_start, [reader], seconds)

    def content(self, content: bytes, name: str, max_pixels: int) -> PhotoFaces:
        """Return the faces of a photo; one that crashes the process or takes too long gets the status `error`.

        Args:
            content: of the photo file.
            name: what messages call the photo.
            max_pixels: a photo with more is refused.
        """
        try:
            found: Any = self._process.ask(name, _content, content, name, max_pixels)
            return found
        except PhotoError as error:
            return failed(error, name)

    def close(self) -> None:
        """End the process."""
        self._process.close()


def _start(reader: PhotoReader) -> None:
    use_one_core()
    reader.load()
    _readers[:] = [reader]


def _content(content: bytes, name: str, max_pixels: int) -> PhotoFaces:
    return _readers[0].content(content, name, max_pixels)

"""Find the faces of a photo in a process of its own: one that crashes its decoder is found out by that.

See `jobs.cluster.careful_process`.
"""

from typing import Any

from augmentor.errors import PhotoError
from augmentor.faces.face_search import Policy
from augmentor.faces.face_source import FaceSource
from identity.chips.seeing import PhotoReader, SeenPhoto, failed, use_one_core
from jobs.cluster.careful_process import SECONDS, CarefulProcess

_readers: list[PhotoReader] = []


class CarefulReader:
    """As `identity.chips.seeing.PhotoReader.content`, at the cost of a process; `close` it.

    Args:
        size, align, policy, source: of the reader in that process.
        seconds: after which a photo is given up.
    """

    def __init__(
        self,
        size: int,
        align: str,
        policy: Policy,
        source: FaceSource | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._process = CarefulProcess(_start, [size, align, policy, source], seconds)

    def content(self, content: bytes, name: str, max_pixels: int) -> SeenPhoto:
        """See the class."""
        try:
            seen: Any = self._process.ask(name, _content, content, name, max_pixels)
            return seen
        except PhotoError as error:
            return failed(error, name)

    def close(self) -> None:
        """End the process."""
        self._process.close()


def _start(size: int, align: str, policy: Policy, source: FaceSource | None) -> None:
    use_one_core()
    _readers[:] = [PhotoReader(size, align, policy, source)]


def _content(content: bytes, name: str, max_pixels: int) -> SeenPhoto:
    return _readers[0].content(content, name, max_pixels)

"""A photo that can be read, wherever it is stored: in a request, in a zip or in a file of a job."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from augmentor.errors import PhotoError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A photo that can be read.

    Attributes:
        name: name of the photo in answers.
        size: its size in bytes, as declared by the zip or the file system.
        blocks: function that yields the content in blocks of at most a megabyte, or raises `PhotoError`.
    """

    name: str
    size: int
    blocks: Callable[[], Iterator[bytes]]

    def read(self) -> bytes:
        """Return the whole content.

        Raises:
            PhotoError: The photo is damaged or too large.
        """
        return b"".join(self.blocks())


def file_source(path: Path, name: str) -> Source:
    """Return a photo in a file of this server as a source.

    Args:
        path: the file.
        name: name of the photo in answers.
    """

    def blocks() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                yield from pieces(file)
        except OSError as error:
            raise PhotoError("unreadable", name, error.strerror or type(error).__name__) from error

    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return Source(name, size, blocks)


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file, a megabyte at a time."""
    while block := file.read(_BLOCK):
        yield block

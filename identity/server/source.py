"""A photo that can be read, wherever it lies: in a request, in a zip, in a file of a job."""

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
        name: what answers call it.
        size: how many bytes it says it has.
        blocks: its content in pieces of at most a megabyte; raises `PhotoError`.
    """

    name: str
    size: int
    blocks: Callable[[], Iterator[bytes]]

    def read(self) -> bytes:
        """Return the whole content.

        Raises:
            PhotoError: it is damaged or too large.
        """
        return b"".join(self.blocks())


def file_source(path: Path, name: str) -> Source:
    """A photo that lies in a file of this server."""

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
    """The rest of a file, a megabyte at a time."""
    while block := file.read(_BLOCK):
        yield block

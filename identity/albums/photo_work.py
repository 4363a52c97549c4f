"""What albums need the pixels of a photo for; whoever must not decode photos itself lets others do it.

The command line decodes in its own process (`InProcess`). The server is sent photos by anybody, and gives this work to
processes whose memory and time are limited.
"""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from augmentor.errors import PhotoError
from augmentor.faces.face_search import Box
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.photos.images import encode_jpeg, load_image, perceptual_hash, sha256_of
from identity.chips.photo_faces import PhotoFaces, PhotoReader

_EDGE = 240  # of a thumbnail's shorter side, pixels


class PhotoWork(Protocol):
    """Does what needs the pixels of a photo."""

    def hashes(self, path: Path, status: str) -> tuple[str, int | None]:
        """Return SHA-256 and perceptual hash of a photo file.

        Args:
            path: of the file.
            status: see `identity.runs.recogniser`; of a photo with an `error` there is no perceptual hash.
        """
        ...

    def thumbnail(self, path: Path) -> bytes:
        """Return a small JPEG of a photo file.

        Raises:
            PhotoError: it cannot be read.
        """
        ...

    def face_again(self, path: Path, box: Box, size: int) -> PhotoFaces | None:
        """Return the face of a photo file that was found at `box` before, or None if it is not found again.

        Args:
            path: of the file.
            box: x, y, width, height in photo pixels.
            size: edge of the chip, pixels.

        Raises:
            PhotoError: it cannot be read.
        """
        ...


class InProcess:
    """Decodes in this process: for photos of the user who started it.

    Args:
        source: finds the faces; by default the one that recognition uses.
    """

    def __init__(self, source: FaceSource | None = None) -> None:
        self._source = source or face_source(second_opinion=True)

    def hashes(self, path: Path, status: str) -> tuple[str, int | None]:
        """As `PhotoWork`."""
        try:
            return sha256_of(path), None if status == "error" else perceptual_hash(load_image(path))
        except PhotoError:
            return "", None

    def thumbnail(self, path: Path) -> bytes:
        """As `PhotoWork`."""
        return thumbnail(load_image(path))

    def face_again(self, path: Path, box: Box, size: int) -> PhotoFaces | None:
        """As `PhotoWork`."""
        reader = PhotoReader(size, source=self._source, poses=False)
        return reader.face_again(load_image(path), path, box)


def thumbnail(image: np.ndarray) -> bytes:
    """A small JPEG of an (H, W, 3) uint8 RGB image."""
    scale = _EDGE / min(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return encode_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image, 80)

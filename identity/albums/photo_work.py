"""The work on albums that needs the pixels of a photo, kept apart so that another process can do it.

The commands decode photos in their own process (`InProcess`). The server receives photos from anybody and leaves this
work to processes whose memory and time are limited.
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

_EDGE = 240  # shorter side of a thumbnail, pixels


class PhotoWork(Protocol):
    """Does the work that needs the pixels of a photo."""

    def hashes(self, path: Path, status: str) -> tuple[str, int | None]:
        """Return SHA-256 and perceptual hash of a photo file.

        Args:
            path: the photo file.
            status: status of the photo, see `identity.runs.recogniser`; with `error`, it has no perceptual hash.

        Returns:
            An empty string and None if the file cannot be read.
        """
        ...

    def thumbnail(self, path: Path) -> bytes:
        """Return a small version of a photo as a JPEG.

        Args:
            path: the photo file.

        Raises:
            PhotoError: The photo cannot be read.
        """
        ...

    def face_again(self, path: Path, box: Box, size: int) -> PhotoFaces | None:
        """Return the chip of a face that was detected at `box` before, or None if it is not detected again.

        Args:
            path: the photo file.
            box: x, y, width, height in photo pixels.
            size: side of the chip, pixels.

        Raises:
            PhotoError: The photo cannot be read.
        """
        ...


class InProcess:
    """Decodes photos in this process; only for photos of the user who started it.

    Args:
        source: finds the faces; by default the default one; only `face_again` needs it.
    """

    def __init__(self, source: FaceSource | None = None) -> None:
        self._source = source or face_source(second_opinion=True)

    def hashes(self, path: Path, status: str) -> tuple[str, int | None]:
        """Return SHA-256 and perceptual hash of a photo file."""
        try:
            return sha256_of(path), None if status == "error" else perceptual_hash(load_image(path))
        except PhotoError:
            return "", None

    def thumbnail(self, path: Path) -> bytes:
        """Return a small version of a photo as a JPEG."""
        return thumbnail(load_image(path))

    def face_again(self, path: Path, box: Box, size: int) -> PhotoFaces | None:
        """Return the chip of a face that was detected at `box` before, or None if it is not detected again."""
        reader = PhotoReader(size, source=self._source, poses=False)
        return reader.face_again(load_image(path), path, box)


def thumbnail(image: np.ndarray) -> bytes:
    """Return a small JPEG of an image (H, W, 3) uint8 RGB; its shorter side has at most 240 pixels."""
    scale = _EDGE / min(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return encode_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image, 80)

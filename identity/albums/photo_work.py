"""The work on albums that needs the pixels of a photo, kept apart so that another process can do it.

The commands decode photos in their own process (`InProcess`). The server receives photos from anybody and leaves this
work to processes whose memory and time are limited.
"""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from augmentor.errors import PhotoError
from augmentor.faces.chip import cut_chip
from augmentor.faces.face_finder import Face, FaceFinder
from augmentor.photos.images import encode_jpeg, load_image, perceptual_hash, sha256_of
from identity.chips.probes import ProbeChip

Box = tuple[float, float, float, float]
_EDGE = 240  # shorter side of a thumbnail, pixels
_SAME_FACE = 0.5  # least intersection over union of a face's box now and when the photo was organised


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

    def face_again(self, path: Path, box: Box, size: int) -> ProbeChip | None:
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
    """Decodes photos in this process; only for photos of the user who started it."""

    def __init__(self) -> None:
        self._finder: FaceFinder | None = None

    def hashes(self, path: Path, status: str) -> tuple[str, int | None]:
        """Return SHA-256 and perceptual hash of a photo file."""
        try:
            return sha256_of(path), None if status == "error" else perceptual_hash(load_image(path))
        except PhotoError:
            return "", None

    def thumbnail(self, path: Path) -> bytes:
        """Return a small version of a photo as a JPEG."""
        return thumbnail(load_image(path))

    def face_again(self, path: Path, box: Box, size: int) -> ProbeChip | None:
        """Return the chip of a face that was detected at `box` before, or None if it is not detected again."""
        if self._finder is None:
            self._finder = FaceFinder("all", second_opinion=True)
        return face_again(self._finder, load_image(path), path, box, size)


def thumbnail(image: np.ndarray) -> bytes:
    """Return a small JPEG of an image (H, W, 3) uint8 RGB; its shorter side has at most 240 pixels."""
    scale = _EDGE / min(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return encode_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image, 80)


def face_again(finder: FaceFinder, image: np.ndarray, path: Path, box: Box, size: int) -> ProbeChip | None:
    """Return the chip of a face that was detected at `box` before, without the hashes of its file.

    Args:
        finder: the detector.
        image: (H, W, 3) uint8 RGB.
        path: the photo file, which the chip names.
        box: x, y, width, height in photo pixels.
        size: side of the chip, pixels.

    Returns:
        The chip of the detected face that overlaps the box most, or None if none overlaps it enough.
    """
    again = [face for face in finder(image).faces if overlap(face, box) >= _SAME_FACE]
    if not again:
        return None
    face = max(again, key=lambda f: overlap(f, box))
    chip = cut_chip(image, face.landmarks, size)
    return ProbeChip(path, chip, None, "", None, face.landmarks, face.box)


def overlap(face: Face, box: Box) -> float:
    """Return the intersection over union of a face's box and another box.

    Args:
        face: the face.
        box: x, y, width, height in photo pixels.
    """
    low = np.maximum(face.box[:2], box[:2])
    high = np.minimum(np.add(face.box[:2], face.box[2:]), np.add(box[:2], box[2:]))
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (face.box[2] * face.box[3] + box[2] * box[3] - shared)

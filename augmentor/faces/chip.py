"""The one crop geometry: dlib's face chip.

Training images, enrolment photos and probes are all cut out with `chip_transform` of their landmarks, and renders are
placed by `chip_transform` of their true landmarks: a difference in geometry costs more accuracy than any augmentation
brings back. Measurements and reasons: docs/decisions/0003-chip.md.

Convention:
    Pixel centres lie at whole numbers. `chip_from_image` (2, 3) maps image (x, y, 1) to chip (x, y).

Source:
    dlib, `get_face_chip_details` and `extract_image_chips` (dlib/image_transforms/interpolation.h),
    reproduced except for three things: landmarks keep their fractions (dlib's are whole pixels), a picture
    that shrinks is averaged over areas and not sampled from a pyramid, and beyond the photo's edge the
    picture is mirrored and not black.
"""

import math
from functools import lru_cache

import cv2
import dlib
import numpy as np

CHIP_SIZE = 150
CHIP_PADDING = 0.25

# dlib rounds landmarks and squares to whole pixels; with a face of this size the rounding does not matter.
_PROBE = 1e8


def chip_transform(landmarks: np.ndarray, size: int = CHIP_SIZE, padding: float = CHIP_PADDING) -> np.ndarray:
    """Return the similarity that brings a face to dlib's mean face in a square chip.

    It is fitted to nose, eyes, mouth corners and upper lip, because jaw, brows and lower lip move too much.

    Args:
        landmarks: (68, 2) (x, y) pixels, dlib's order.
        size: side of the chip, pixels.
        padding: room around the mean face, as a fraction of its size.

    Returns:
        chip_from_image, (2, 3) float64.

    Raises:
        ValueError: `landmarks` is not (68, 2) finite numbers, or its points coincide.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"expected 68 finite landmarks (68, 2), got {landmarks.shape}")
    return chip_transforms(landmarks[None], size, padding)[0]


def chip_transforms(
    landmarks: np.ndarray, size: int = CHIP_SIZE, padding: float = CHIP_PADDING
) -> np.ndarray:
    """Return `chip_transform` of several faces.

    Args:
        landmarks: (K, 68, 2) float64 (x, y) pixels.
        size: side of the chips, pixels.
        padding: room around the mean face, as a fraction of its size.

    Returns:
        (K, 2, 3) float64.

    Raises:
        ValueError: the points of a face coincide.
    """
    # Summed row by row and not by BLAS, so that not even the last bit of a result depends on the other faces.
    squares = (landmarks.reshape(-1, 1, 136) * _square_weights(padding)).sum(-1)
    x, y, across, down = squares.T
    square = across * across + down * down
    if not (square * size * size >= 1).all():
        raise ValueError("the landmarks coincide: they give no chip")
    cos, sin = size * across / square, size * down / square
    middle = (size - 1) / 2
    rows = [cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y]
    return np.stack(rows, 1).reshape(-1, 2, 3)


@lru_cache(maxsize=8)
def _square_weights(padding: float) -> np.ndarray:
    """Return the (4, 136) float64 weights with which the chip's square follows from the landmarks x0, y0, x1, ...

    The four values are the square's middle (x, y) and its upper edge, a vector (across, down), in photo pixels. The
    similarity that dlib fits minimises squared distances in the photo, so it is linear in the landmarks, and its
    weights follow from asking dlib about each landmark once. That way dlib's mean face need not be copied, and a
    transform takes a twentieth of the time that dlib takes.
    """
    angles = np.arange(68) * 2.0
    base = _PROBE * np.stack([np.cos(angles) * angles, np.sin(angles) * angles], 1) / angles.max()
    asked = np.eye(136) * _PROBE
    squares = np.array([_dlib_square(base + step.reshape(68, 2), padding) for step in asked])
    return (squares - _dlib_square(base, padding)).T / _PROBE


def _dlib_square(landmarks: np.ndarray, padding: float) -> np.ndarray:
    """Return middle and upper edge (4,) of the square that dlib would cut out; it rounds landmarks to whole pixels."""
    points = dlib.points([dlib.point(x, y) for x, y in np.rint(landmarks).astype(int).tolist()])
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, 1, 1), points)
    details = dlib.get_face_chip_details(shape, 100, padding)
    rectangle = details.rect
    width = rectangle.right() - rectangle.left() + 1
    middle = (rectangle.left() + rectangle.right()) / 2, (rectangle.top() + rectangle.bottom()) / 2
    return np.array([*middle, width * math.cos(details.angle), width * math.sin(details.angle)])


def cut_chip(image: np.ndarray, landmarks: np.ndarray, size: int = CHIP_SIZE) -> np.ndarray:
    """Cut a face out of a photo as dlib would.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        landmarks: (68, 2) (x, y) pixels.
        size: side of the chip, pixels.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: `landmarks` give no chip (see `chip_transform`), or `image` is not (H, W, 3) uint8.
    """
    return warp_chip(image, chip_transform(landmarks, size), size)


def warp_chip(image: np.ndarray, chip_from_image: np.ndarray, size: int = CHIP_SIZE) -> np.ndarray:
    """Resample a photo into a chip whose transform is known.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        chip_from_image: (2, 3), from `chip_transform` or `augmentor.faces.five_points`.
        size: side of the chip, pixels.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: `image` is not (H, W, 3) uint8.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    part, chip_from_part = _reduced_part(image, chip_from_image, size)
    return cv2.warpAffine(
        part, chip_from_part, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def chip_landmarks(landmarks: np.ndarray, chip_from_image: np.ndarray) -> np.ndarray:
    """Return where landmarks of the photo lie in the chip.

    Args:
        landmarks: (..., 2) (x, y) photo pixels.
        chip_from_image: (2, 3).

    Returns:
        (..., 2) float32 (x, y) chip pixels.
    """
    linear, shift = chip_from_image[:, :2], chip_from_image[:, 2]
    return (np.asarray(landmarks, np.float64) @ linear.T + shift).astype(np.float32)


def _reduced_part(image: np.ndarray, chip_from_image: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of the photo that the chip shows, reduced if the chip is smaller, and chip_from_part (2, 3)."""
    shrink = 1 / math.sqrt(abs(np.linalg.det(chip_from_image[:, :2])))  # photo pixels per chip pixel
    reduction = int(shrink)
    if reduction < 2:
        return image, chip_from_image
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64) - 0.5
    corners = (corners - chip_from_image[:, 2]) @ np.linalg.inv(chip_from_image[:, :2]).T
    margin = 2 * reduction
    left, top = np.clip(np.floor(corners.min(0)) - margin, 0, (width - 1, height - 1)).astype(int).tolist()
    right, bottom = (
        np.clip(np.ceil(corners.max(0)) + margin, (left + 1, top + 1), (width, height)).astype(int).tolist()
    )
    part = image[top:bottom, left:right]
    columns, rows = max(1, round((right - left) / reduction)), max(1, round((bottom - top) / reduction))
    step_x, step_y = (right - left) / columns, (bottom - top) / rows
    reduced = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    # Pixel i of the reduced part covers step * i to step * (i + 1) of the photo, counted from half a pixel before
    # `left`.
    image_from_part = np.array(
        [[step_x, 0, left + (step_x - 1) / 2], [0, step_y, top + (step_y - 1) / 2], [0, 0, 1]]
    )
    return reduced, chip_from_image @ image_from_part

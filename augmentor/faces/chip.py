"""The one crop geometry: a square chip in which five points of every face lie at the same places.

Training images, enrolment photos and probes are all cut out with `chip_transform` of the five points that the face
source detects, and renders are placed by `chip_transform` of the points that it would detect on them: a difference in
geometry costs more accuracy than any augmentation brings back. Measurements and reasons: docs/decisions/0036-chip.md.

Convention:
    Pixel centres lie at whole numbers. `chip_from_image` (2, 3) maps image (x, y, 1) to chip (x, y). The order of the
    five points is that of `augmentor.faces.five_points`.
"""

import math

import cv2
import numpy as np

from augmentor.faces.five_points import MEAN_FACE, similarities

CHIP_SIZE = 150
CHIP_PADDING = 0.25

# A similarity with the least squared error shrinks a face whose points do not fit its mean, and most do not. With this
# zoom dlib's net gets faces as large as in the chips that it was trained on: docs/decisions/0036-chip.md.
ZOOM = 1.06
# Where the five points lie in a chip of 150 px.
USUAL_PLACES = (MEAN_FACE - (CHIP_SIZE - 1) / 2) * ZOOM + (CHIP_SIZE - 1) / 2


def chip_transform(points: np.ndarray, size: int = CHIP_SIZE, padding: float = CHIP_PADDING) -> np.ndarray:
    """Return the similarity that brings five points to their usual places in a square chip.

    Args:
        points: (5, 2) (x, y) pixels.
        size: side of the chip, pixels.
        padding: room around the mean face, as a fraction of its size.

    Returns:
        chip_from_image, (2, 3) float64.

    Raises:
        ValueError: `points` is not (5, 2) finite numbers, or the points coincide.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (5, 2):
        raise ValueError(f"expected five points (5, 2), got {points.shape}")
    return chip_transforms(points[None], size, padding)[0]


def chip_transforms(points: np.ndarray, size: int = CHIP_SIZE, padding: float = CHIP_PADDING) -> np.ndarray:
    """Return `chip_transform` of several faces.

    Args:
        points: (K, 5, 2) float64 (x, y) pixels.
        size: side of the chips, pixels.
        padding: room around the mean face, as a fraction of its size.

    Returns:
        (K, 2, 3) float64.

    Raises:
        ValueError: a number is not finite, or the points of a face coincide.
    """
    return similarities(points, usual_places(size, padding))


def usual_places(size: int = CHIP_SIZE, padding: float = CHIP_PADDING) -> np.ndarray:
    """Return where the five points lie in a chip, (5, 2) float64 (x, y) pixels.

    Args:
        size: side of the chip, pixels.
        padding: room around the mean face, as a fraction of its size.
    """
    zoom = (1 + 2 * CHIP_PADDING) / (1 + 2 * padding)
    return ((USUAL_PLACES + 0.5) / CHIP_SIZE - 0.5) * (zoom * size) + (size - 1) / 2


def cut_chip(image: np.ndarray, points: np.ndarray, size: int = CHIP_SIZE) -> np.ndarray:
    """Cut a face out of a photo.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        points: (5, 2) (x, y) pixels.
        size: side of the chip, pixels.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: `points` give no chip (see `chip_transform`), or `image` is not (H, W, 3) uint8.
    """
    return warp_chip(image, chip_transform(points, size), size)


def warp_chip(image: np.ndarray, chip_from_image: np.ndarray, size: int = CHIP_SIZE) -> np.ndarray:
    """Resample a photo into a chip whose transform is known.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        chip_from_image: (2, 3), from `chip_transform`.
        size: side of the chip, pixels.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: `image` is not (H, W, 3) uint8.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    part, chip_from_part = reduced_part(image, chip_from_image, size)
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


def reduced_part(image: np.ndarray, chip_from_image: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
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

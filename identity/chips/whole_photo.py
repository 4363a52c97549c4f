"""Chips of photos that are used whole, without detecting a face in them (`--align whole`)."""

import cv2
import numpy as np


def whole_chip(image: np.ndarray, size: int) -> np.ndarray:
    """Return the largest square in the middle of a photo.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        size: edge of the result, pixels.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return _scaled(image[top : top + edge, left : left + edge], size)


def random_crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random part of a photo, for training.

    The part has at least a third of the area of the largest square. Its sides differ by at most a third. It is mirrored
    half of the time and up to a fifth brighter or darker.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        size: edge of the result, pixels.
        rng: draws the part.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    area = rng.uniform(0.35, 1.0) * min(height, width) ** 2
    aspect = np.exp(rng.uniform(-np.log(4 / 3), np.log(4 / 3)))
    tall, wide = (int(np.clip(np.sqrt(area * r), 1, e)) for r, e in ((1 / aspect, height), (aspect, width)))
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    crop = _scaled(image[top : top + tall, left : left + wide], size)
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
    return np.clip(crop * rng.uniform(0.8, 1.2), 0, 255).astype(np.uint8)


def _scaled(image: np.ndarray, size: int) -> np.ndarray:
    shrinks = min(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)

"""The part of a photo that renders are sampled from: the face and its surroundings, reduced, and continued at the edge.

Beyond the edge of the photo, its outermost pixels continue and lose their detail. Nothing is black, nothing is
mirrored.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from augmentor.faces.chip import chip_transform
from augmentor.faces.five_points import five_of_68

MARGIN = 0.6  # margin around the chip, relative to its side
MAX_ENLARGEMENT = 1.6  # canvas pixels per render pixel; with more, bilinear sampling would alias
_COARSE = 8


@dataclass(frozen=True, eq=False)
class Canvas:
    """A reduced part of a photo.

    Args:
        image: (h, w, 4) uint8 RGBA, opaque; reading four channels is faster than reading three.
        scale: canvas pixels per photo pixel.
        origin: (2,) photo coordinates (x, y) of the canvas's outer top left corner.
    """

    image: np.ndarray
    scale: float
    origin: np.ndarray

    def from_photo(self, points: np.ndarray) -> np.ndarray:
        """Convert photo pixels (..., 2) to canvas pixels; pixel centres have integer coordinates in both."""
        return (points + 0.5 - self.origin) * self.scale - 0.5


def photo_canvas(image: np.ndarray, landmarks: np.ndarray, size: int) -> Canvas:
    """Cut the canvas of a face out of a photo.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) in (x, y) pixels.
        size: side of the renders, pixels.
    """
    chip_from_image = chip_transform(five_of_68(landmarks), size)
    shrink = 1 / np.sqrt(abs(np.linalg.det(chip_from_image[:, :2])))  # photo pixels per chip pixel
    scale = min(1.0, MAX_ENLARGEMENT / shrink)
    middle = np.linalg.solve(chip_from_image[:, :2], np.full(2, (size - 1) / 2) - chip_from_image[:, 2])
    half = size * shrink * (0.5 + MARGIN)
    low, high = np.floor(middle - half).astype(int), np.ceil(middle + half).astype(int)
    height, width = image.shape[:2]
    inner_low = np.clip(low, 0, [width - 1, height - 1])
    inner_high = np.clip(high, inner_low + 1, [width, height])
    part = image[inner_low[1] : inner_high[1], inner_low[0] : inner_high[0]]
    target = np.maximum(np.rint((inner_high - inner_low) * scale).astype(int), 1)
    if scale < 1:
        part = cv2.resize(part, target.tolist(), interpolation=cv2.INTER_AREA)
    before = np.rint((inner_low - low) * scale).astype(int)
    after = np.rint((high - inner_high) * scale).astype(int)
    origin = inner_low - before / scale
    picture = cv2.cvtColor(_continue(part, before, after), cv2.COLOR_RGB2RGBA)
    return Canvas(picture, float(scale), origin)


def _continue(part: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Add (x, y) pixels before and after the part; its border continues there, more and more blurred."""
    if not (before.any() or after.any()):
        return np.ascontiguousarray(part)
    edges = int(before[1]), int(after[1]), int(before[0]), int(after[0])
    wide = cv2.copyMakeBorder(part, *edges, cv2.BORDER_REPLICATE)
    shape = wide.shape[1], wide.shape[0]
    coarse = cv2.resize(
        wide, (max(1, shape[0] // _COARSE), max(1, shape[1] // _COARSE)), interpolation=cv2.INTER_AREA
    )
    blurred = cv2.resize(cv2.GaussianBlur(coarse, (0, 0), 3.0), shape, interpolation=cv2.INTER_LINEAR)
    outside = np.ones(wide.shape[:2], np.uint8)
    outside[before[1] : before[1] + part.shape[0], before[0] : before[0] + part.shape[1]] = 0
    share = np.clip(cv2.distanceTransform(outside, cv2.DIST_L2, 3) / (2 * _COARSE), 0, 1).astype(np.float32)
    return cv2.blendLinear(wide, blurred, 1 - share, share)

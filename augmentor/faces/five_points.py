"""The chip placed by five points: the eyes, the tip of the nose and the corners of the mouth.

Five good points place a turned face better than 68 doubtful ones. They are brought to their usual places in dlib's
chip (`augmentor.faces.chip`), so that both ways of placing a face give nearly the same chip of a frontal face.

Convention:
    Points are (5, 2) (x, y) pixels: the eye on the image's left, the eye on its right, the tip of the nose, the corner
    of the mouth on the image's left, the corner on its right. Pixel centres lie at whole numbers.
"""

import numpy as np

from augmentor.faces.chip import CHIP_SIZE

# Median of CenterFace's points in dlib's chips of 150 px, over 200 frontal photos.
USUAL_PLACES = np.array([(47.3, 46.6), (102.2, 45.9), (73.9, 78.4), (50.9, 103.8), (97.0, 102.9)])
_NOSE_TIP, _MOUTH_LEFT, _MOUTH_RIGHT = 30, 48, 54  # of the 68 landmarks


def five_point_transform(points: np.ndarray, size: int = CHIP_SIZE) -> np.ndarray:
    """Return the similarity that brings five points to their usual places in a square chip.

    Args:
        points: (5, 2) (x, y) pixels.
        size: side of the chip, pixels.

    Returns:
        chip_from_image, (2, 3) float64.

    Raises:
        ValueError: `points` is not (5, 2) finite numbers, or the points coincide.
    """
    return similarity(points, (USUAL_PLACES + 0.5) * (size / CHIP_SIZE) - 0.5)


def similarity(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the similarity, without a reflection, that brings `points` to `places` with the least squared error.

    Args:
        points: (N, 2) (x, y).
        places: (N, 2) (x, y).

    Returns:
        (2, 3) float64.

    Raises:
        ValueError: the shapes differ, a number is not finite, or the points coincide.

    Source:
        Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. In two
        dimensions the solution is a quotient of complex numbers.
    """
    points, places = np.asarray(points, np.float64), np.asarray(places, np.float64)
    if points.shape != places.shape or points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected as many points as places, got {points.shape} and {places.shape}")
    if not (np.isfinite(points).all() and np.isfinite(places).all()):
        raise ValueError("expected finite points")
    source, target = points - points.mean(0), places - places.mean(0)
    spread = np.square(source).sum()
    if spread < 1e-12:
        raise ValueError("the points coincide: they give no chip")
    cos = (source * target).sum() / spread
    sin = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum() / spread
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, places.mean(0) - linear @ points.mean(0)])


def five_of_68(landmarks: np.ndarray) -> np.ndarray:
    """Return the five points of 68 landmarks: the eyes' middles, the nose's tip, the mouth's corners.

    Args:
        landmarks: (68, 2) (x, y) pixels, dlib's order.

    Returns:
        (5, 2) float64.
    """
    landmarks = np.asarray(landmarks, np.float64)
    eyes = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    return np.stack([*eyes, landmarks[_NOSE_TIP], landmarks[_MOUTH_LEFT], landmarks[_MOUTH_RIGHT]])

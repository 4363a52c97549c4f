"""The five points that place a face: the eyes, the tip of the nose and the corners of the mouth.

Five good points place a turned face better than 68 doubtful ones; `augmentor.faces.chip` cuts every face out by them.

Convention:
    Points are (5, 2) (x, y) pixels: the eye on the image's left, the eye on its right, the tip of the nose, the corner
    of the mouth on the image's left, the corner on its right. Pixel centres lie at whole numbers.
"""

import numpy as np

# The five points of a frontal face as CenterFace sees them: medians over 200 photos, in chips of 150 px cut by dlib.
MEAN_FACE = np.array([(47.3, 46.6), (102.2, 45.9), (73.9, 78.4), (50.9, 103.8), (97.0, 102.9)])
MIRROR5 = np.array([1, 0, 2, 4, 3])  # the same points of the mirror image
_NOSE_TIP, _MOUTH_LEFT, _MOUTH_RIGHT = 30, 48, 54  # of the 68 landmarks


def similarity(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the similarity, without a reflection, that brings `points` to `places` with the least squared error.

    Args:
        points: (N, 2) (x, y).
        places: (N, 2) (x, y).

    Returns:
        (2, 3) float64.

    Raises:
        ValueError: the shapes differ, a number is not finite, or the points coincide.
    """
    points, places = np.asarray(points, np.float64), np.asarray(places, np.float64)
    if points.shape != places.shape or points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected as many points as places, got {points.shape} and {places.shape}")
    return similarities(points[None], places)[0]


def similarities(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return `similarity` of several faces to the same places.

    Args:
        points: (K, N, 2) (x, y).
        places: (N, 2) (x, y).

    Returns:
        (K, 2, 3) float64. No number of it depends on the other faces, not even in the last bit.

    Raises:
        ValueError: a number is not finite, or the points of a face coincide.

    Source:
        Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. In two
        dimensions the solution is a quotient of complex numbers.
    """
    points, places = np.asarray(points, np.float64), np.asarray(places, np.float64)
    if not (np.isfinite(points).all() and np.isfinite(places).all()):
        raise ValueError("expected finite points")
    middle, goal = points.mean(1), places.mean(0)
    source, target = points - middle[:, None], places - goal
    spread = np.square(source).sum((1, 2))
    if not (spread >= 1e-12).all():
        raise ValueError("the points coincide: they give no chip")
    cos = (source * target).sum((1, 2)) / spread
    sin = (source[..., 0] * target[:, 1] - source[..., 1] * target[:, 0]).sum(1) / spread
    x, y = middle.T
    rows = [cos, -sin, goal[0] - cos * x + sin * y, sin, cos, goal[1] - sin * x - cos * y]
    return np.stack(rows, 1).reshape(-1, 2, 3)


def five_of_68(landmarks: np.ndarray) -> np.ndarray:
    """Return the five points of 68 landmarks: the eyes' middles, the nose's tip, the mouth's corners.

    Args:
        landmarks: (..., 68, 2) (x, y) pixels or (..., 68, 3) places on the head, dlib's order.

    Returns:
        (..., 5, 2) or (..., 5, 3), float64.
    """
    landmarks = np.asarray(landmarks, np.float64)
    eyes = landmarks[..., 36:42, :].mean(-2), landmarks[..., 42:48, :].mean(-2)
    others = (landmarks[..., k, :] for k in (_NOSE_TIP, _MOUTH_LEFT, _MOUTH_RIGHT))
    return np.stack([*eyes, *others], -2)

"""Change the expression of a face in a photo: how its shape moves, and how to paint a mouth that opens.

Only expression modes change. The identity stays as in the photo, and so do the displacements that the landmarks ask
for beyond what the modes explain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from augmentor.errors import InputError
from augmentor.head.head_model import HeadModel
from augmentor.head.pose import FaceFit
from augmentor.head.surface import flatten_ears

_OPENS = ("jawOpen", "mouthLowerDown", "mouthUpperUp", "mouthFunnel")
# For each change: the weights of modes at strength 0 and at strength 1. Other modes keep the photo's weights. A name
# without _L or _R stands for both sides.
CHANGES: dict[str, dict[str, tuple[float, float]]] = {
    "neutral": {"": (0.0, 0.0)},  # an empty name stands for all modes
    "closed": dict.fromkeys(_OPENS, (0.0, 0.0)),
    "open": {"jawOpen": (0.25, 0.6)},
    "smile": {"mouthSmile": (0.35, 0.9), "cheekSquint": (0.1, 0.5), "mouthFrown": (0.0, 0.0)},
}
NAMES = tuple(CHANGES)
_INNER_LIPS = np.arange(60, 68)
_GAPS = ((61, 67), (62, 66), (63, 65))  # dlib's landmarks above and below the opening of the mouth
_LEAST_GAP = 1.0  # mm; lips that are no further apart count as closed
_DARK = np.array([52, 26, 24], np.float32)  # RGB of the inside of a mouth


@dataclass(frozen=True, eq=False)
class ExpressionChange:
    """The displacements that a change of expression adds to the shape in a photo.

    Args:
        offset: (R, C, 4) float32 mm, for the head's grid; the last component is 0.
        landmark_offset: (68, 3) float32 mm.
        unseen: 0 to 1, how strongly to paint the opening of the mouth, which the photo does not show: 1 if at least
            two thirds of the opening are new.
    """

    offset: np.ndarray
    landmark_offset: np.ndarray
    unseen: float


def change_expression(fit: FaceFit, head: HeadModel, name: str, strength: float) -> ExpressionChange:
    """Work out a change of expression for one photo.

    Args:
        fit: the fit of the photo's face.
        head: the head model that was fitted.
        name: one of NAMES. `neutral` and `closed` are the same at any strength.
        strength: 0 to 1.

    Raises:
        InputError: the name is unknown, or the head model has no such mode.
    """
    if name not in CHANGES:
        raise InputError(f"unknown expression {name!r}; known: {', '.join(NAMES)}")
    goal = _goal(fit.expression, head, CHANGES[name], strength)
    skins = [flatten_ears(head.vertices(None, weights), head) for weights in (fit.expression, goal)]
    offset = np.zeros((*head.grid_shape, 4), np.float32)
    offset[..., :3] = (skins[1] - skins[0]).reshape(*head.grid_shape, 3)
    before, after = (head.landmarks(fit.identity, weights) for weights in (fit.expression, goal))
    unseen = np.clip(1.5 * (1 - _gap(before) / _gap(after)), 0, 1) if _gap(after) > _LEAST_GAP else 0.0
    return ExpressionChange(offset, after - before, float(unseen))


def _goal(
    own: np.ndarray, head: HeadModel, change: Mapping[str, tuple[float, float]], strength: float
) -> np.ndarray:
    """Return the weights (E,) after a change."""
    goal = own.astype(np.float32, copy=True)
    for name, (low, high) in change.items():
        chosen = head.expression_weights({name: 1.0}) > 0 if name else np.ones(len(goal), bool)
        goal = np.where(chosen, low + strength * (high - low), goal).astype(np.float32)
    return goal


def _gap(landmarks: np.ndarray) -> float:
    """Return how far the mouth is open, in mm."""
    return float(np.mean([np.linalg.norm(landmarks[a] - landmarks[b]) for a, b in _GAPS]))


def paint_mouth(pixels: np.ndarray, landmarks: np.ndarray, unseen: float) -> np.ndarray:
    """Darken the opening of a mouth that is closed in the photo.

    Args:
        pixels: (S, S, 4) uint8, a render.
        landmarks: (68, 2) in (x, y) pixels of the render.
        unseen: see `ExpressionChange`.

    Returns:
        (S, S, 4) uint8; `pixels` itself if there is nothing to paint.
    """
    if unseen <= 0:
        return pixels
    mask = np.zeros(pixels.shape[:2], np.uint8)
    ring: Sequence[np.ndarray] = [np.rint(landmarks[_INNER_LIPS] * 16).astype(np.int32)]
    cv2.fillPoly(mask, ring, 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.6, len(pixels) / 200)).astype(np.float32) * (unseen / 255)
    # The inside of a mouth is brighter where the skin around it is.
    skin = pixels[mask > 127, :3].mean() if (mask > 127).any() else 128.0
    dark = np.full_like(pixels, 0)
    dark[..., :3] = _DARK * min(1.0, skin / 110)
    return cv2.blendLinear(pixels, dark, 1 - soft, soft)

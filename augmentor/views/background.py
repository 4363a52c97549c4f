"""What lies around the face: a smooth map from around the face in a view to around the face in a photo.

Around a face its outline is a distance for every direction from its middle. A point outside the face in a view
is named by its direction and by how far beyond the outline it lies, and found in the photo in the same direction, as
far beyond the photo's own outline. So hair, ears and neck follow the face they touch, nothing of the face shows up
twice beside it, and there is no seam: the map is continuous everywhere outside.

Source:
    Zhu et al., "Face Alignment Across Large Poses", CVPR 2016, section 4.1: the background as anchors that continue the
    face's depth. Differs: anchors are tied to the face's outline in both pictures rather than turned with the head,
    which leaves no gap behind the far cheek, and needs no mesh per photo.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DIRECTIONS = 64
# Directions and distances are laid out on a square table around a middle circle that stands for the outline: polar
# coordinates without the cut at 360 degrees.
CIRCLE = 60.0  # mm, radius of the circle
REACH = 160.0  # mm beyond the outline that the table covers
STEP = 8.0  # mm between the table's entries


@dataclass(frozen=True)
class Outline:
    """The outline of a face in one picture, in polar form.

    Convention:
        Direction k of DIRECTIONS points at angle 2 pi k / DIRECTIONS from x to y, in a frame turned by `roll` and
        scaled so that the face's box is the unit square: the chin is at the same k in a wide and in a narrow face.

    Args:
        centre: (2,) middle of the face's box, pixels.
        axes: (2, 2) columns are the box's half width and half height as vectors, pixels.
        radius: (DIRECTIONS,) distance of the outline, in units of the box.
        scale: pixels per mm.
    """

    centre: np.ndarray
    axes: np.ndarray
    radius: np.ndarray
    scale: float


def outline_of(points: np.ndarray, roll: float, scale: float) -> Outline:
    """The outline of projected surface points.

    Args:
        points: (N, 2) pixels, dense (every direction meets some).
        roll: degrees, clockwise, of the head in this picture.
        scale: pixels per mm.
    """
    turn = np.deg2rad(roll)
    right, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    along = np.stack([points @ right, points @ down], 1)
    low, high = along.min(0), along.max(0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-3)
    unit = (along - middle) / half
    angle = np.arctan2(unit[:, 1], unit[:, 0])
    direction = np.rint(angle * DIRECTIONS / (2 * np.pi)).astype(int) % DIRECTIONS
    radius = np.zeros(DIRECTIONS)
    np.maximum.at(radius, direction, np.hypot(unit[:, 0], unit[:, 1]))
    empty = radius == 0
    if empty.any():
        known = np.flatnonzero(~empty)
        radius[empty] = np.interp(np.flatnonzero(empty), known, radius[known], period=DIRECTIONS)
    smooth = (np.roll(radius, 1) + 2 * radius + np.roll(radius, -1)) / 4
    axes = np.stack([right * half[0], down * half[1]], 1)
    return Outline(middle[0] * right + middle[1] * down, axes, smooth, scale)


def background_coordinates(outline: Outline, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where pixels x, y (h, w) of a view lie in a `background_table`: (h, w, 2) float32 (column, row)."""
    offset = np.stack([x, y], -1).astype(np.float64) - outline.centre
    unit = offset @ np.linalg.inv(outline.axes).T
    length = np.maximum(np.hypot(unit[..., 0], unit[..., 1]), 1e-6)
    direction = unit / length[..., None]
    share = 1 - _radius(outline, direction) / length  # of the way to the pixel that lies beyond the outline
    outside = np.linalg.norm(offset, axis=-1) * share / outline.scale
    place = direction * np.clip(CIRCLE + outside, 1, CIRCLE + REACH)[..., None]
    return ((place + CIRCLE + REACH) / STEP).astype(np.float32)


def background_table(outline: Outline) -> np.ndarray:
    """Where in a picture the places around its face lie: (N, N, 2) float32 (x, y) pixels, see `STEP`."""
    direction, outside, number, share = _table_rays()
    radius = outline.radius[number] * (1 - share) + outline.radius[(number + 1) % DIRECTIONS] * share
    ray = direction @ outline.axes.T
    reach = radius + outside * outline.scale / np.maximum(np.hypot(ray[..., 0], ray[..., 1]), 1e-6)
    return (outline.centre + ray * reach[..., None]).astype(np.float32)


@lru_cache(maxsize=1)
def _table_rays() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of every entry of the table: direction (N, N, 2), mm beyond the outline (N, N), and between which two of an
    outline's directions it points: the number of the first, and how far it is on its way to the second."""
    line = np.arange(0, 2 * (CIRCLE + REACH) + STEP, STEP) - (CIRCLE + REACH)
    place = np.stack(np.meshgrid(line, line), -1)
    length = np.linalg.norm(place, axis=-1)
    direction = place / np.maximum(length, 1e-6)[..., None]
    angle = np.arctan2(direction[..., 1], direction[..., 0]) * DIRECTIONS / (2 * np.pi) % DIRECTIONS
    number = np.floor(angle).astype(int) % DIRECTIONS
    return direction, length - CIRCLE, number, angle - np.floor(angle)


def _radius(outline: Outline, direction: np.ndarray) -> np.ndarray:
    """The outline's distance in directions (..., 2), in units of the box."""
    number = np.arctan2(direction[..., 1], direction[..., 0]) * DIRECTIONS / (2 * np.pi) % DIRECTIONS
    return np.interp(number, np.arange(DIRECTIONS + 1), np.append(outline.radius, outline.radius[0]))

"""Map the surroundings of the face in a view smoothly to the surroundings of the face in a photo.

The outline of a face is a distance for every direction from its middle. A point outside the face in a view is
described by its direction and by its distance beyond the outline; its colour comes from the same direction and the same
distance beyond the outline in the photo. So hair, ears and neck follow the face they touch, no part of the face appears
a second time beside it, and there is no seam: the map is continuous everywhere outside.

Source:
    Zhu et al., "Face Alignment Across Large Poses", CVPR 2016, section 4.1: the background as anchors that continue the
    face's depth. Differs: anchors are tied to the face's outline in both pictures instead of turning with the head,
    which leaves no gap behind the far cheek and needs no mesh per photo.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DIRECTIONS = 64
# Directions and distances are laid out on a square table around a circle in its middle, which stands for the outline.
# These are polar coordinates without the cut at 360 degrees.
CIRCLE = 60.0  # mm, radius of the circle
REACH = 160.0  # mm beyond the outline that the table covers
STEP = 8.0  # mm between entries of the table


@dataclass(frozen=True)
class Outline:
    """The outline of a face in one picture, in polar form.

    Convention:
        Direction k of DIRECTIONS points at angle 2 pi k / DIRECTIONS from x to y, in a frame that is turned by `roll`
        and scaled so that the face's box is the unit square. Thus the chin has the same k in wide and narrow faces.

    Args:
        centre: (2,) middle of the face's box in (x, y) pixels.
        axes: (2, 2); its columns are the box's half width and half height as vectors, pixels.
        radius: (DIRECTIONS,) distance of the outline, in units of the box.
        scale: pixels per mm.
    """

    centre: np.ndarray
    axes: np.ndarray
    radius: np.ndarray
    scale: float


def outline_of(points: np.ndarray, roll: float, scale: float) -> Outline:
    """Compute the outline of projected surface points.

    Args:
        points: (N, 2) in (x, y) pixels, dense enough that most directions contain some.
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
    """Return where pixels x, y (h, w) of a view lie in a `background_table`: (h, w, 2) float32 (column, row)."""
    offset = np.stack([x, y], -1).astype(np.float64) - outline.centre
    unit = offset @ np.linalg.inv(outline.axes).T
    length = np.maximum(np.hypot(unit[..., 0], unit[..., 1]), 1e-6)
    direction = unit / length[..., None]
    share = (
        1 - _radius(outline, direction) / length
    )  # share of the way to the pixel that lies beyond the outline
    outside = np.linalg.norm(offset, axis=-1) * share / outline.scale
    place = direction * np.clip(CIRCLE + outside, 1, CIRCLE + REACH)[..., None]
    return ((place + CIRCLE + REACH) / STEP).astype(np.float32)


def background_table(outline: Outline) -> np.ndarray:
    """Return the table of places around a face in its picture, (N, N, 2) float32 in (x, y) pixels; see `STEP`."""
    direction, outside, number, share = _table_rays()
    radius = outline.radius[number] * (1 - share) + outline.radius[(number + 1) % DIRECTIONS] * share
    ray = direction @ outline.axes.T
    reach = radius + outside * outline.scale / np.maximum(np.hypot(ray[..., 0], ray[..., 1]), 1e-6)
    return (outline.centre + ray * reach[..., None]).astype(np.float32)


@lru_cache(maxsize=1)
def _table_rays() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, for every entry of the table, its direction and where that falls among an outline's directions.

    Returns:
        Direction (N, N, 2); mm beyond the outline (N, N); number (N, N) of the outline's direction before it; share
        (N, N) of the way from there to the next one.
    """
    line = np.arange(0, 2 * (CIRCLE + REACH) + STEP, STEP) - (CIRCLE + REACH)
    place = np.stack(np.meshgrid(line, line), -1)
    length = np.linalg.norm(place, axis=-1)
    direction = place / np.maximum(length, 1e-6)[..., None]
    angle = np.arctan2(direction[..., 1], direction[..., 0]) * DIRECTIONS / (2 * np.pi) % DIRECTIONS
    number = np.floor(angle).astype(int) % DIRECTIONS
    return direction, length - CIRCLE, number, angle - np.floor(angle)


def _radius(outline: Outline, direction: np.ndarray) -> np.ndarray:
    """Return the outline's distance in directions (..., 2), in units of the box."""
    number = np.arctan2(direction[..., 1], direction[..., 0]) * DIRECTIONS / (2 * np.pi) % DIRECTIONS
    return np.interp(number, np.arange(DIRECTIONS + 1), np.append(outline.radius, outline.radius[0]))

"""Measure which part of a head's surface a photo shows, and make a texture for the rest.

On the head model's grid every point has a mirrored point, so what the photo hides is copied from the other side, with
its brightness adjusted. Where the photo shows neither side, the surrounding colours are continued. The result is an
atlas: a small picture laid out like the grid. A render reads it only where the photo itself shows nothing.
"""

import math

import cv2
import numpy as np

# How visible a slanting surface counts, by how far the head is turned: at these angles, the cosine between its normal
# and the line of sight below which it is invisible, the cosine above which it is fully visible, and the cells of the
# grid that are lost around hidden skin. A turned face shows much of itself at a slant, and no better side of it.
TURNS = (8.0, 30.0)
FACING_LOW, FACING_HIGH, LOST_CELLS = (0.2, 0.1), (0.5, 0.35), (0.0, 1.0)
# Degrees from which the better visible side is favoured, and from which on in full.
FAVOUR_TURNS = (32.0, 42.0)
# Least visibility of a point that only its own slant hides: it is still the best source if the other side is no better.
LEAST_SHOWN = 0.03
WELL_SHOWN = (
    0.4  # points that are less visible than this on both sides are completed in part; they may be background
)
OCCLUSION_RANGE = (
    6.0,
    14.0,
)  # mm behind whatever lies in front: fully visible up to the first, hidden from the second
GAIN_LIMIT = 2.0  # light makes the sides of a face differ in brightness by this factor at most
GAIN_COLOUR = 0.5  # share of the difference in colour that is attributed to light
_DEPTH_CELLS = 72
# The outline is found in a picture of this many cells, into which the grid is drawn this much finer. On a ridge, where
# the distance from the outline slopes in no direction, nothing moves.
_OUTLINE_CELLS, _OUTLINE_FINER, _LEAST_SLOPE = 128, 3, 0.3
COARSE_STEP = 2  # texels per grid cell at which hidden parts are filled in


def atlas_step(size: int) -> int:
    """Return the texels per grid cell of the atlas for renders of this side; in the face a texel is about a pixel."""
    return math.ceil(size / 50)


def visibility(
    points: np.ndarray, depth: np.ndarray, facing: np.ndarray, surface: np.ndarray, turn: float
) -> np.ndarray:
    """Return how well a photo shows every vertex of the head's grid.

    Args:
        points: (R, C, 2) in (x, y) pixels.
        depth: (R, C) mm from the camera.
        facing: (R, C) cosine between the outward normal and the direction to the camera.
        surface: (R, C) bool, the part of the grid that can hide something.
        turn: how far the head is turned in the photo, degrees.

    Returns:
        (R, C) float32, from 0 (hidden) to 1 (fully visible).
    """
    low, high, lost = (
        float(np.interp(abs(turn), TURNS, values)) for values in (FACING_LOW, FACING_HIGH, LOST_CELLS)
    )
    shown = np.maximum(_ramp(facing, low, high), LEAST_SHOWN)
    front = _front_depth(points, depth, surface & (facing > 0))
    shown = (shown * (1 - _ramp(depth - front, *OCCLUSION_RANGE))).astype(np.float32)
    margin = 1 + 2 * round(lost)
    return cv2.GaussianBlur(cv2.erode(shown, np.ones((margin, margin), np.uint8)), (0, 0), 1.0)


def inside_outline(points: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Move points near the head's outline inwards, so that they do not read the background where a fit is a little off.

    The band within `margin` of the outline is squeezed into its inner half: points on the outline move by half the
    margin, points at the margin stay.

    Args:
        points: (R, C, 2) float32 in (x, y) pixels, all vertices of the head's grid.
        margin: (R, C) pixels.

    Returns:
        (R, C, 2) float32.
    """
    rows, columns = points.shape[:2]
    size = _OUTLINE_FINER * (columns - 1) + 1, _OUTLINE_FINER * (rows - 1) + 1
    low = points.min((0, 1))
    cell = float((points.max((0, 1)) - low).max()) / (_OUTLINE_CELLS - 9)
    place = ((points - low) / cell + 4).astype(np.float32)
    spot = (cv2.resize(place, size, interpolation=cv2.INTER_LINEAR) + np.float32(0.5)).astype(np.int32)
    mask = np.zeros((_OUTLINE_CELLS, _OUTLINE_CELLS), np.uint8)
    mask[spot[..., 1], spot[..., 0]] = 1
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, contours, -1, 1, cv2.FILLED)  # gaps between points are no background
    # The outline runs through the middle of the outermost cells, which are one cell away from the nearest empty one.
    distance = cv2.GaussianBlur(cv2.distanceTransform(mask, cv2.DIST_L2, 5) - 1, (0, 0), 1.0)
    x, y = (cv2.Sobel(distance, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    length = cv2.max(cv2.magnitude(x, y), _LEAST_SLOPE)
    inwards = cv2.remap(cv2.merge([x / length, y / length]), place, None, cv2.INTER_LINEAR)
    depth = np.maximum(cv2.remap(distance, place, None, cv2.INTER_LINEAR), 0) * cell
    shift = np.maximum(margin - depth, 0) / 2
    return (points + inwards * shift[..., None]).astype(np.float32)


def favour_better_side(shown: np.ndarray, mirror: np.ndarray, turn: float) -> np.ndarray:
    """Lower the visibility (R, C) of points whose mirrored point is more visible, the more, the further a head turns.

    What a turned face shows of its averted side borders on the background, and one dark texel there would tint a whole
    cheek: through the blend of both sides, and through the brightness to which the mirrored side is adjusted.

    Args:
        shown: (R, C) float32 visibility.
        mirror: (R * C,) int, numbers of the mirrored vertices.
        turn: how far the head is turned in the photo, degrees. From the second of FAVOUR_TURNS on, visibility is
            multiplied by the square of its ratio to the better side's.

    Returns:
        (R, C) float32.
    """
    power = float(np.interp(abs(turn), FAVOUR_TURNS, (0, 2)))
    other = shown.ravel()[mirror].reshape(shown.shape)
    ratio = shown / np.maximum(np.maximum(shown, other), LEAST_SHOWN)
    return (shown * ratio**power).astype(np.float32)


def own_weight(shown: np.ndarray, mirror: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return which share of a point's colour comes from the photo itself, (R, C) float32.

    The share is 1 where the point is well visible and no less visible than its mirrored point, and where `keep` is 1.
    Otherwise it is smaller, the more visible the mirrored point is.

    Args:
        shown: (R, C) float32 visibility.
        mirror: (R * C,) int, numbers of the mirrored vertices.
        keep: (R, C) float32, 1 where nothing may be mirrored (eyes have a direction of gaze).
    """
    other = shown.ravel()[mirror].reshape(shown.shape)
    weight = shown / np.maximum(np.maximum(shown, other), WELL_SHOWN)
    return np.maximum(cv2.GaussianBlur(weight.astype(np.float32), (0, 0), 1.0), keep).astype(np.float32)


def complete_atlas(
    atlas: np.ndarray, mirrored: np.ndarray, shown: np.ndarray, mirrored_shown: np.ndarray
) -> np.ndarray:
    """Fill in what the photo hides.

    Args:
        atlas: (h, w, 3) uint8, the photo's own colours.
        mirrored: (h, w, 3) uint8, the colours of the mirrored points.
        shown: (h, w) float32 0..1, visibility.
        mirrored_shown: (h, w) float32 0..1, visibility of the mirrored points.

    Returns:
        (h, w, 3) uint8.
    """
    own, other = atlas.astype(np.float32), mirrored.astype(np.float32)
    gain = _brightness_gain(own, other, shown * mirrored_shown)
    fill = (1 - shown) * mirrored_shown
    total = shown + fill
    known = own * shown[..., None] + other * gain * fill[..., None]  # weighted by total
    around = _spread(
        cv2.pyrDown(known), cv2.pyrDown(total)
    )  # the result is smooth, so a quarter of the texels will do
    around = cv2.resize(around, total.shape[::-1], interpolation=cv2.INTER_LINEAR)
    filled = known + around * (1 - total)[..., None]
    return np.clip(filled + 0.5, 0, 255).astype(np.uint8)


def _brightness_gain(own: np.ndarray, other: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Return the factor (h, w, 3) that adjusts the other side to this side's light.

    It is measured where both sides are visible and continued elsewhere. Light varies slowly over a face and hardly in
    colour, and so does the factor.
    """
    small = own.shape[1] // 4, own.shape[0] // 4
    weight = cv2.resize(both, small, interpolation=cv2.INTER_AREA)
    sums = [cv2.resize(side * both[..., None], small, interpolation=cv2.INTER_AREA) for side in (own, other)]
    own_mean, other_mean = (cv2.GaussianBlur(s, (0, 0), 2.0) for s in sums)
    smooth = cv2.GaussianBlur(weight, (0, 0), 2.0)[..., None]
    ratio = np.log((own_mean + 8 * smooth + 1e-3) / (other_mean + 8 * smooth + 1e-3))
    grey = ratio.mean(-1, keepdims=True)
    limit = np.log(GAIN_LIMIT)
    ratio = np.clip(grey, -limit, limit) + GAIN_COLOUR * np.clip(ratio - grey, -0.2, 0.2)
    gain = np.exp(_spread(ratio * weight[..., None], weight))
    return cv2.resize(gain, own.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return a smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _front_depth(points: np.ndarray, depth: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """Return the smallest depth near every point (R, C), read from a coarse picture into which depths are drawn."""
    chosen = points[surface]
    low = chosen.min(0)
    cell = float((chosen.max(0) - low).max()) / (_DEPTH_CELLS - 5)
    place = (points - low) / cell + 2
    near = np.full(_DEPTH_CELLS * _DEPTH_CELLS, np.inf, np.float32)
    spot = np.rint(place[surface]).astype(int)
    np.minimum.at(near, spot[:, 1] * _DEPTH_CELLS + spot[:, 0], depth[surface].astype(np.float32))
    picture = near.reshape(_DEPTH_CELLS, _DEPTH_CELLS)
    holes = np.isinf(picture)
    # The far side of a cell must not hide its near side, so the farthest of its neighbours fills a hole.
    picture = np.where(holes, cv2.erode(picture, np.ones((3, 3), np.uint8)), picture)
    picture = np.where(np.isinf(picture), np.float32(1e6), picture)
    where = np.clip(place, 0, _DEPTH_CELLS - 1).astype(np.float32)
    return cv2.remap(
        picture.astype(np.float32), where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )


def _spread(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Continue values smoothly from where they have weight to everywhere, coarse to fine.

    Args:
        total: (h, w, C) float32, values times weight.
        weight: (h, w) float32.

    Returns:
        (h, w, C) values.
    """
    levels = [(total, weight)]
    while min(levels[-1][1].shape) > 3:
        levels.append((cv2.pyrDown(levels[-1][0]), cv2.pyrDown(levels[-1][1])))
    total, amount = levels.pop()
    out = total / np.maximum(amount, 1e-6)[..., None]
    for total, amount in reversed(levels):
        coarse = cv2.pyrUp(out, dstsize=(amount.shape[1], amount.shape[0]))
        share = np.clip(amount * 4, 0, 1)[..., None]
        out = total / np.maximum(amount, 1e-6)[..., None] * share + coarse * (1 - share)
    return out

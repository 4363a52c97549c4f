"""The skin of made-up people: one texture per identity, painted around the head model's landmarks.

The texture is a cylinder wrapped around the mean head. What is painted at a landmark stays at that landmark under every
shape and expression, because texture coordinates belong to vertices.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

WIDTH, HEIGHT = 768, 512
PIXELS_PER_RADIAN = 190.0
PIXELS_PER_MM = 2.1
TOP_MM = -132.0

# Colours of skin under neutral light, sRGB, from very fair to very dark
TONES = np.array(
    [
        (243, 213, 195),
        (232, 194, 170),
        (219, 174, 145),
        (198, 150, 117),
        (168, 121, 90),
        (134, 92, 66),
        (101, 67, 48),
        (74, 49, 37),
    ],
    np.float32,
)


@dataclass(frozen=True)
class Skin:
    """Skin, brows and lips of a person; lengths in mm, colours linear RGB, fractions from 0 to 1."""

    tone: float
    redness: float
    yellowness: float
    mottling: float
    freckles: float
    moles: int
    wrinkles: float
    eye_bags: float
    lip_colour: tuple[float, float, float]
    lip_fullness: float
    brow_colour: tuple[float, float, float]
    brow_thickness: float
    brow_density: float
    brow_arch: float
    brow_gap: float
    brow_tail: float
    lash_strength: float
    seed: int


def linear(srgb: ArrayLike) -> np.ndarray:
    """Convert sRGB 0..255 to linear light 0..1 (gamma 2.2)."""
    return (np.asarray(srgb, np.float32) / 255) ** np.float32(2.2)


def chart(points: np.ndarray) -> np.ndarray:
    """Convert points (..., 3) of the mean head, mm, to texture pixels (..., 2)."""
    angle = np.arctan2(points[..., 0], -points[..., 2])
    u = angle * PIXELS_PER_RADIAN + WIDTH / 2
    v = (points[..., 1] - TOP_MM) * PIXELS_PER_MM
    return np.stack([u, v], axis=-1).astype(np.float32)


def skin_colour(skin: Skin) -> np.ndarray:
    """Return the mean linear colour of the skin, (3,)."""
    place = skin.tone * (len(TONES) - 1)
    index = min(int(place), len(TONES) - 2)
    srgb = TONES[index] + (TONES[index + 1] - TONES[index]) * (place - index)
    srgb = srgb * np.array([1 + 0.03 * skin.redness, 1 - 0.02 * skin.redness, 1 - 0.05 * skin.yellowness])
    return linear(srgb)


def noise(
    rng: np.random.Generator, cell: float, aspect: float = 1.0, shape: tuple[int, int] = (HEIGHT, WIDTH)
) -> np.ndarray:
    """Return smooth noise of about unit variance; `cell` is its grain in pixels, `aspect` stretches it downwards."""
    height, width = shape
    rows = max(int(height / (cell * aspect)) + 2, 2)
    columns = max(int(width / cell) + 2, 2)
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def smooth_curve(points: np.ndarray, samples: int = 40, *, closed: bool = False) -> np.ndarray:
    """Return a Catmull-Rom curve (samples, D) through points (N, D)."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    segments = len(padded) - 3
    place = np.linspace(0, segments, samples, endpoint=not closed) * (1 - 1e-6)
    index = place.astype(int)
    t = (place - index)[:, None]
    p0, p1, p2, p3 = (padded[index + k] for k in range(4))
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3
    return (curve / 2).astype(np.float32)


class Canvas:
    """Masks on the texture: soft shapes as (HEIGHT, WIDTH) float32, 0 to 1."""

    @staticmethod
    def _finish(mask: np.ndarray, blur: float) -> np.ndarray:
        soft = cv2.GaussianBlur(mask, (0, 0), blur) if blur > 0 else mask
        return soft.astype(np.float32) / 255

    @classmethod
    def polygon(cls, points: np.ndarray, blur: float = 1.0) -> np.ndarray:
        """Draw a filled polygon."""
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return cls._finish(mask, blur)

    @classmethod
    def line(cls, points: np.ndarray, thickness: float, blur: float = 1.0) -> np.ndarray:
        """Draw an open curve."""
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        ends = [np.round(points * 16).astype(np.int32)]
        cv2.polylines(mask, ends, False, 255, max(round(thickness), 1), cv2.LINE_AA, 4)
        return cls._finish(mask, blur)

    @classmethod
    def hairs(
        cls, roots: np.ndarray, tips: np.ndarray, strength: np.ndarray, blur: float = 0.5
    ) -> np.ndarray:
        """Draw single hairs from (N, 2) roots to (N, 2) tips."""
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        start, end = np.round(roots * 16).astype(int), np.round(tips * 16).astype(int)
        for k in range(len(start)):
            cv2.line(mask, start[k].tolist(), end[k].tolist(), int(strength[k]), 1, cv2.LINE_AA, 4)
        return cls._finish(mask, blur)

    @staticmethod
    def blob(centre: np.ndarray, radius: tuple[float, float]) -> np.ndarray:
        """Return a Gaussian spot."""
        y, x = np.ogrid[:HEIGHT, :WIDTH]
        across = np.exp(-(((x - centre[0]) / radius[0]) ** 2)).astype(np.float32)
        down = np.exp(-(((y - centre[1]) / radius[1]) ** 2)).astype(np.float32)
        return down * across


def _touched(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns in which a mask has an effect."""
    magnitude = np.abs(mask)
    rows, columns = np.flatnonzero(magnitude.max(axis=1) > 2e-3), np.flatnonzero(magnitude.max(axis=0) > 2e-3)
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def tint(
    texture: np.ndarray, mask: np.ndarray, factor: tuple[float, float, float], strength: float = 1.0
) -> None:
    """Multiply the colour by `factor` where `mask` is 1, in place."""
    part = _touched(mask)
    change = (np.array(factor, np.float32) - 1) * np.float32(strength)
    texture[part] *= 1 + mask[part][..., None] * change


def cover(texture: np.ndarray, mask: np.ndarray, colour: np.ndarray, strength: float = 1.0) -> None:
    """Paint `colour` over the texture where `mask` is 1, in place."""
    part = _touched(mask)
    alpha = (mask[part] * np.float32(strength))[..., None]
    texture[part] += alpha * ((colour[part] if colour.ndim == 3 else colour) - texture[part])


def paint_skin(skin: Skin, landmarks: np.ndarray) -> np.ndarray:
    """Paint the texture of one person, without beard.

    Args:
        skin: the person's skin.
        landmarks: (68, 3) of the mean head, mm.

    Returns:
        (HEIGHT, WIDTH, 3) float32, linear albedo.
    """
    rng = np.random.default_rng(skin.seed)
    places = chart(landmarks)
    texture = np.empty((HEIGHT, WIDTH, 3), np.float32)
    texture[:] = skin_colour(skin)
    _paint_complexion(texture, skin, places, rng)
    _paint_marks(texture, skin, places, rng)
    _paint_wrinkles(texture, skin, places)
    _paint_eye_surrounds(texture, skin, places)
    _paint_nose(texture, places)
    _paint_lips(texture, skin, places, rng)
    _paint_brows(texture, skin, places, rng)
    return np.clip(texture, 0.002, 0.95)


def _paint_complexion(texture: np.ndarray, skin: Skin, places: np.ndarray, rng: np.random.Generator) -> None:
    """Paint redness where blood is near the surface, a paler forehead, and uneven tone."""
    pale = 1 - 0.6 * skin.tone
    red = (1.04, 0.80, 0.76)
    strength = pale * (0.45 + 0.5 * skin.redness)
    for side in (0, 1):
        cheek = (places[31 + 4 * side] + places[2 if side == 0 else 14] + places[41 if side == 0 else 46]) / 3
        tint(texture, Canvas.blob(cheek, (52, 40)), red, strength)
    tint(texture, Canvas.blob(places[30], (30, 26)), red, 0.8 * strength)
    tint(texture, Canvas.blob(places[8] - np.array([0, 14], np.float32), (40, 26)), red, 0.35 * strength)
    mottle = 0.5 * noise(rng, 44) + 0.35 * noise(rng, 18) + 0.25 * noise(rng, 7)
    tint(texture, np.clip(mottle, -2, 2), (0.985, 0.95, 0.94), 0.55 * skin.mottling + 0.2)
    texture *= (1 + 0.02 * noise(rng, 60))[..., None]
    pores = noise(rng, 2.2) * 0.020 + noise(rng, 1.0) * 0.012
    texture *= (1 + np.clip(pores, -0.1, 0.1))[..., None]


def _paint_marks(texture: np.ndarray, skin: Skin, places: np.ndarray, rng: np.random.Generator) -> None:
    """Paint freckles over nose and cheeks, and moles anywhere."""
    middle = (places[27] + places[30]) / 2
    count = int(900 * skin.freckles)
    if count:
        spots = middle + rng.standard_normal((count, 2)).astype(np.float32) * np.array([95, 48], np.float32)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for spot, strength in zip(spots, rng.uniform(60, 230, count), strict=True):
            centre = np.round(spot * 16).astype(int).tolist()
            cv2.circle(mask, centre, int(rng.integers(10, 30)), int(strength), -1, cv2.LINE_AA, 4)
        tint(texture, cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / 255, (0.72, 0.52, 0.42), 0.75)
    for _ in range(skin.moles):
        spot = np.array(
            [rng.uniform(places[1, 0], places[15, 0]), rng.uniform(places[19, 1] - 50, places[8, 1])]
        )
        radius = float(rng.uniform(1.6, 4.0))
        tint(texture, Canvas.blob(spot.astype(np.float32), (radius, radius)), (0.30, 0.22, 0.20), 0.85)


def _paint_wrinkles(texture: np.ndarray, skin: Skin, places: np.ndarray) -> None:
    """Paint lines of age: on the forehead, at the eyes, from nose to mouth, around the mouth."""

    def crease(points: list[np.ndarray], strength: float, width: float = 1.6) -> None:
        curve = smooth_curve(np.stack(points))
        tint(texture, Canvas.line(curve, 2, width), (0.62, 0.50, 0.46), strength)
        tint(
            texture,
            Canvas.line(curve + np.array([0, 3.5], np.float32), 2, width + 0.6),
            (1.14, 1.13, 1.12),
            strength,
        )

    age = skin.wrinkles
    for outer, inner, corner, far in ((31, 48, 48, 4), (35, 54, 54, 12)):
        away = np.sign(places[outer, 0] - places[33, 0])
        start = places[outer] + np.array([5 * away, -10], np.float32)
        middle = (places[outer] + places[inner]) / 2 + np.array([13 * away, -2], np.float32)
        crease([start, middle, places[corner] + np.array([13 * away, 2], np.float32)], 0.25 + 0.9 * age, 2.0)
        if age > 0.45:
            low = places[corner] * 0.7 + places[far] * 0.3
            crease([places[corner] + np.array([6 * away, 8], np.float32), low], 0.6 * age, 2.2)
    brow_top = places[17:27, 1].min()
    for line in range(3):
        y = brow_top - 28 - 24 * line
        sag = np.array([4, -2, 2, -2, 4], np.float32) * (1.6 - 0.3 * line)
        x = np.linspace(places[18, 0], places[25, 0], 5)
        crease(
            [np.array([px, y + py], np.float32) for px, py in zip(x, sag, strict=True)], 0.75 * age**1.3, 1.4
        )
    for corner, away in ((36, -1.0), (45, 1.0)):
        for angle in (-0.5, -0.05, 0.4):
            start = places[corner] + 10 * np.array([away, angle], np.float32)
            crease([start, start + 20 * np.array([away, angle], np.float32)], 0.7 * age**1.3, 0.9)


def _paint_eye_surrounds(texture: np.ndarray, skin: Skin, places: np.ndarray) -> None:
    """Paint darker sockets, the fold of the upper lid, bags below, and the roots of the lashes."""
    for first in (36, 42):
        eye = places[first : first + 6]
        centre = eye.mean(axis=0)
        tint(texture, Canvas.blob(centre + np.array([0, -3], np.float32), (46, 22)), (0.86, 0.78, 0.77), 0.75)
        tint(
            texture,
            Canvas.blob(centre + np.array([0, 17], np.float32), (36, 11)),
            (0.80, 0.73, 0.76),
            skin.eye_bags,
        )
        upper, lower = smooth_curve(eye[:4]), smooth_curve(np.concatenate([eye[3:], eye[:1]]))
        fold = upper + np.linspace(3, 3, len(upper))[:, None] * np.array([0, -1], np.float32)
        fold[:, 1] -= 7 * np.sin(np.linspace(0.15, 0.9, len(upper)) * np.pi)
        tint(texture, Canvas.line(fold, 2, 1.5), (0.55, 0.45, 0.42), 0.75)
        bag = lower + np.array([0, 11], np.float32)
        tint(texture, Canvas.line(bag, 2, 2.0), (0.68, 0.58, 0.57), 0.25 + 0.7 * skin.eye_bags)
        tint(texture, Canvas.line(lower, 3, 1.2), (0.80, 0.62, 0.60), 0.8)
        tint(texture, Canvas.line(upper, 4, 1.3), (0.25, 0.20, 0.18), 0.6 + 0.35 * skin.lash_strength)
        corner = eye[3] if first == 36 else eye[0]
        tint(texture, Canvas.blob(corner, (5, 4)), (1.0, 0.62, 0.60), 0.6)


def _paint_nose(texture: np.ndarray, places: np.ndarray) -> None:
    """Paint nostrils, the shade under the tip, and the folds of the wings."""
    for side, wing in ((32, 31), (34, 35)):
        away = np.sign(places[wing, 0] - places[33, 0])
        nostril = places[side] + np.array([2.5 * away, -7], np.float32)
        tint(texture, Canvas.blob(nostril, (7.5, 4.2)), (0.16, 0.09, 0.08), 0.95)
        fold = [
            places[wing] + np.array(d, np.float32) for d in ((7 * away, -20), (10 * away, -9), (4 * away, 1))
        ]
        tint(texture, Canvas.line(smooth_curve(np.stack(fold)), 2, 2.2), (0.60, 0.46, 0.44), 0.6)
    base = smooth_curve(places[31:36]) + np.array([0, 1.5], np.float32)
    tint(texture, Canvas.line(base, 4, 3), (0.68, 0.54, 0.52), 0.7)


def _paint_lips(texture: np.ndarray, skin: Skin, places: np.ndarray, rng: np.random.Generator) -> None:
    """Paint lips between the outer and the inner landmarks, darker towards the slit."""
    outer = places[48:60].copy()
    middle = outer.mean(axis=0)
    outer[1:6, 1] -= 1.2 * skin.lip_fullness
    outer[7:12, 1] += 1.8 * skin.lip_fullness
    mask = Canvas.polygon(smooth_curve(outer, 80, closed=True), 1.5)
    grain = 1 + 0.06 * noise(rng, 2.5, 5)
    colour = np.asarray(skin.lip_colour, np.float32) * grain[..., None]
    cover(texture, mask, colour, 0.85)
    upper = mask * (np.arange(HEIGHT)[:, None] < middle[1] + 1)
    tint(texture, upper.astype(np.float32), (0.80, 0.76, 0.77), 0.7)
    shine = Canvas.blob((places[57] + places[66]) / 2, (22, 5))
    tint(texture, mask * shine, (1.28, 1.32, 1.32), 0.7)
    slit = smooth_curve(np.concatenate([places[48:49], places[60:65], places[54:55]]))
    tint(texture, Canvas.line(slit, 3, 1.6), (0.34, 0.22, 0.22), 0.85)
    tint(texture, Canvas.blob(places[57] + np.array([0, 12], np.float32), (34, 9)), (0.78, 0.70, 0.68), 0.6)


def _paint_brows(texture: np.ndarray, skin: Skin, places: np.ndarray, rng: np.random.Generator) -> None:
    """Paint brows along the landmarks, as single hairs over a soft ground."""
    colour = np.asarray(skin.brow_colour, np.float32)
    for brow, away in ((places[17:22][::-1], -1.0), (places[22:27], 1.0)):
        curve = smooth_curve(brow, 60)
        along = np.linspace(0, 1, 60, dtype=np.float32)
        curve[:, 1] -= skin.brow_arch * PIXELS_PER_MM * np.sin(np.pi * along) - 2
        curve[:, 0] += away * skin.brow_gap * PIXELS_PER_MM * (1 - along)
        half = (
            skin.brow_thickness
            * PIXELS_PER_MM
            / 2
            * np.interp(along, [0, 0.1, 0.5, 1], [0.75, 1, 0.95, 0.25])
        )
        end = int(60 * (0.88 + 0.12 * skin.brow_tail))
        top, bottom = curve.copy(), curve.copy()
        top[:, 1] -= half
        bottom[:, 1] += half
        shape = Canvas.polygon(np.concatenate([top[:end], bottom[:end][::-1]]), 2.4)
        cover(texture, shape, colour, 0.35 + 0.35 * skin.brow_density)
        count = int(130 + 260 * skin.brow_density)
        place = rng.integers(0, end, count)
        roots = curve[place].copy()
        roots[:, 1] += rng.uniform(-0.9, 1.0, count) * half[place]
        rise = np.interp(along[place], [0, 0.35, 1], [-1.1, -0.35, 0.45]) + rng.normal(0, 0.15, count)
        length = rng.uniform(6, 13, count) * (1.1 - 0.4 * along[place])
        direction = np.stack([np.full(count, away), rise], axis=1)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        tips = roots + (direction * length[:, None]).astype(np.float32)
        hairs = Canvas.hairs(roots, tips, rng.integers(120, 255, count), 0.6)
        cover(texture, hairs, colour * 0.75, 0.5 + 0.4 * skin.brow_density)


def beard_region(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where a moustache and where a beard grows, as (HEIGHT, WIDTH) masks."""
    places = chart(landmarks)
    lips = 1 - Canvas.polygon(smooth_curve(places[48:60], 80, closed=True), 2.0)
    away = np.array([1, 0], np.float32)
    down = np.array([0, 1], np.float32)
    moustache = np.stack(
        [
            places[31] - 3 * away + 4 * down,
            places[33] + 7 * down,
            places[35] + 3 * away + 4 * down,
            places[54] + 14 * away + 6 * down,
            places[54] + 2 * away,
            places[51],
            places[48] - 2 * away,
            places[48] - 14 * away + 6 * down,
        ]
    )
    cheek_left = places[48] * 0.45 + places[3] * 0.55
    cheek_right = places[54] * 0.45 + places[13] * 0.55
    beard = np.concatenate(
        [
            (places[0] - 14 * away - 4 * down)[None],
            (places[1] + 5 * away)[None],
            (places[2] + 14 * away)[None],
            cheek_left[None],
            (places[48] - 12 * away + 6 * down)[None],
            (places[48] + 8 * down)[None],
            (places[57] + 4 * down)[None],
            (places[54] + 8 * down)[None],
            (places[54] + 12 * away + 6 * down)[None],
            cheek_right[None],
            (places[14] - 14 * away)[None],
            (places[15] - 5 * away)[None],
            (places[16] + 14 * away - 4 * down)[None],
            (places[13] + 20 * away + 40 * down)[None],
            (places[10] + 60 * down)[None],
            (places[8] + 42 * down)[None],
            (places[6] + 60 * down)[None],
            (places[3] - 20 * away + 40 * down)[None],
        ]
    )
    return Canvas.polygon(moustache, 3.5) * lips, Canvas.polygon(beard, 6) * lips

"""Hair of made-up people: a surface grown from the crown over the skull, with strands painted on it.

Each column of the surface is a lock that starts at the crown, follows the skull outwards and, in long styles, falls
straight down from the widest part. An alpha channel, frayed strand by strand, defines where the hair ends.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from augmentor.made_up.raster import Surface, vertex_normals
from augmentor.made_up.skin import noise

COLUMNS, ROWS = 64, 72
STEP_DEGREES = 3.2
TEXTURE_WIDTH, TEXTURE_HEIGHT = 640, 320
SKULL_RADIUS_MM = np.array([80.0, 95.0, 100.0], np.float32)


@dataclass(frozen=True)
class Hair:
    """A hairstyle.

    Attributes:
        style: its name, for people who read the truth file.
        length: mm below the widest part of the skull for hanging hair; None for hair that ends at the hairline.
        top: thickness on top, mm.
        side: thickness at the sides, mm.
        hairline: shift of the front hairline, degrees; positive is lower on the forehead.
        recession: how far the temples recede, degrees.
        fringe: how far a fringe comes down over the hairline, degrees.
        opening: azimuth, degrees, at which hanging hair begins beside the face.
        curl: 0 (straight) to 1 (tight curls).
        density: 1 is opaque; less lets the scalp show.
        colour: linear RGB.
        seed: seed of the strands.
        parting: azimuth of a parting, degrees; None for none.
    """

    style: str
    length: float | None
    top: float
    side: float
    hairline: float
    recession: float
    fringe: float
    opening: float
    curl: float
    density: float
    colour: tuple[float, float, float]
    seed: int
    parting: float | None = None


@dataclass(frozen=True)
class HairSurface:
    """A hairstyle grown on a head.

    Attributes:
        surface: the mesh, which extends a little beyond where the hair ends.
        casting: (T, 3), the triangles that are entirely hair and cast shadows.
        texture: (TEXTURE_HEIGHT, TEXTURE_WIDTH, 4), linear RGB and alpha.
        tangents: (V, 3) unit vectors along the strands.
    """

    surface: Surface
    casting: np.ndarray
    texture: np.ndarray
    tangents: np.ndarray


STYLES: dict[str, Hair] = {
    h.style: h
    for h in (
        #    style      length  top side line rec fringe open curl density
        Hair("buzz", None, 2.0, 1.5, 0, 0, 0, 70, 0.0, 0.80, (0, 0, 0), 0),
        Hair("short", None, 14.0, 5.0, 0, 2, 0, 70, 0.15, 1.0, (0, 0, 0), 0),
        Hair("crop", None, 9.0, 4.0, 2, 0, 9, 70, 0.1, 1.0, (0, 0, 0), 0),
        Hair("quiff", None, 24.0, 5.0, -3, 2, 0, 70, 0.2, 1.0, (0, 0, 0), 0),
        Hair("receding", None, 7.0, 5.0, -7, 8, 0, 70, 0.1, 0.85, (0, 0, 0), 0),
        Hair("curly", None, 26.0, 17.0, 0, 0, 3, 70, 0.8, 1.0, (0, 0, 0), 0),
        Hair("afro", None, 42.0, 36.0, 0, 0, 0, 70, 1.0, 1.0, (0, 0, 0), 0),
        Hair("tied back", None, 6.0, 5.0, -1, 0, 0, 70, 0.0, 1.0, (0, 0, 0), 0),
        Hair("bob", 75, 15.0, 13.0, 0, 0, 0, 66, 0.1, 1.0, (0, 0, 0), 0),
        Hair("bob with fringe", 70, 15.0, 14.0, 0, 0, 22, 64, 0.05, 1.0, (0, 0, 0), 0),
        Hair("shoulder length", 130, 14.0, 13.0, 0, 0, 0, 68, 0.25, 1.0, (0, 0, 0), 0),
        Hair("long", 210, 13.0, 14.0, 0, 0, 0, 70, 0.3, 1.0, (0, 0, 0), 0),
        Hair("long waves", 190, 16.0, 20.0, 0, 0, 0, 68, 0.6, 1.0, (0, 0, 0), 0),
        Hair("long with fringe", 200, 14.0, 13.0, 0, 0, 21, 68, 0.1, 1.0, (0, 0, 0), 0),
    )
}


class Scalp:
    """The distance of the skull in every direction; prepared once per head model and looked up for every head."""

    def __init__(self, mean: np.ndarray, landmarks: np.ndarray) -> None:
        brow_y = float(landmarks[17:27, 1].mean())
        self.centre = np.array([0, brow_y + 8, landmarks[[0, 16], 2].mean() + 32], np.float32)
        tilt = np.deg2rad(24.0)  # the crown lies behind the top of the head
        polar = np.deg2rad(np.arange(ROWS) * STEP_DEGREES)[:, None]
        around = np.deg2rad(np.linspace(-180, 180, COLUMNS + 1))[None]
        x = np.sin(polar) * np.sin(around)
        y = -np.cos(polar) + 0 * around
        z = -np.sin(polar) * np.cos(around)
        self.directions = np.stack(
            [x, np.cos(tilt) * y + np.sin(tilt) * z, np.cos(tilt) * z - np.sin(tilt) * y], axis=-1
        ).astype(np.float32)
        self.polar = np.rad2deg(np.arccos(np.clip(-self.directions[..., 1], -1, 1))).astype(np.float32)
        self.azimuth = np.rad2deg(np.arctan2(self.directions[..., 0], -self.directions[..., 2])).astype(
            np.float32
        )
        away = mean - self.centre
        radius = np.linalg.norm(away, axis=1)
        self._ellipsoid = 1 / np.linalg.norm(self.directions / SKULL_RADIUS_MM, axis=-1)
        expected = 1 / np.linalg.norm(away / np.maximum(radius, 1e-3)[:, None] / SKULL_RADIUS_MM, axis=1)
        usable = np.flatnonzero((np.abs(radius / expected - 1) < 0.16) & (away[:, 1] < 55))
        tree = cKDTree(away[usable] / radius[usable, None])
        gap, nearest = tree.query(self.directions.reshape(-1, 3), k=3)
        self._near = usable[nearest].reshape(*self.directions.shape[:2], 3)
        self._known = (gap[:, 0] < 0.12).reshape(self.directions.shape[:2])
        self._mean_radius = radius

    def radius(self, vertices: np.ndarray) -> np.ndarray:
        """Return the distance of the skull from its centre along every direction of the grid, (ROWS, COLUMNS + 1)."""
        radius = np.linalg.norm(vertices - self.centre, axis=1)
        distance = radius[self._near].mean(axis=-1)
        width = float(np.median(radius[self._near[self._known]] / self._mean_radius[self._near[self._known]]))
        distance = np.where(self._known, distance, self._ellipsoid * width).astype(np.float32)
        wrapped = np.concatenate([distance[:, -9:-1], distance, distance[:, 1:9]], axis=1)
        return cv2.GaussianBlur(wrapped, (0, 0), 1.2)[:, 8:-8]


def hairline(hair: Hair, azimuth: np.ndarray) -> np.ndarray:
    """Return the polar angle at which hair ends at an azimuth, both in degrees (0 is the middle of the forehead)."""
    side = np.abs(azimuth)
    angles = [0, 22, 42, 56, 68, 80, 86, 102, 114, 128, 150, 180]
    front = 53.0 + hair.hairline + hair.fringe
    recess = 53.0 + hair.hairline + 0.9 * hair.fringe - hair.recession
    limits = [
        front,
        front + 0.5,
        recess,
        76 - 0.7 * hair.recession + 0.3 * hair.fringe,
        105,
        116,
        92,
        92,
        110,
        128,
        138,
        140,
    ]
    limit = np.interp(side, angles, limits)
    if hair.length is not None:
        fall = np.clip((side - (hair.opening - 10)) / 10, 0, 1)
        limit = limit * (1 - fall) + 400 * fall
    return limit.astype(np.float32)


def grow(hair: Hair, scalp: Scalp, vertices: np.ndarray) -> HairSurface:
    """Grow a hairstyle on the head `vertices` (V, 3), in the head's own frame, mm."""
    rng = np.random.default_rng(hair.seed)
    polar, azimuth, directions = scalp.polar, scalp.azimuth, scalp.directions
    skull = scalp.radius(vertices)
    margin = hairline(hair, azimuth) - polar  # degrees left until the hair ends
    up = np.clip(np.cos(np.deg2rad(polar)), 0, 1) ** 0.7
    front = np.clip(1 - np.abs(azimuth) / 70, 0, 1) * np.clip((polar - 20) / 30, 0, 1)
    thickness = hair.side + (hair.top - hair.side) * up
    if hair.style == "quiff":
        thickness = thickness * (1 + 0.5 * front)
    if hair.parting is not None:
        thickness = thickness * (1 - 0.55 * _along_parting(hair.parting, azimuth, polar, 7.0))
    ends = np.clip(margin / (16 if hair.fringe < 5 else 8), 0, 1)
    thickness = 1.5 + (thickness - 1.5) * (
        0.25 + 0.75 * ends if hair.length is None else np.maximum(ends, 0.55)
    )
    lumps = noise(rng, 5 - 2.5 * hair.curl, 1.5 if hair.curl < 0.7 else 0.8, (ROWS, COLUMNS + 1))
    lumps[:, -1] = lumps[:, 0]
    calm = np.clip(np.arange(ROWS) / 8, 0, 1)[:, None]
    thickness = thickness * (1 + (0.10 + 0.14 * hair.curl) * np.clip(lumps, -2, 2) * calm)
    beyond = np.arange(ROWS)[:, None] * STEP_DEGREES > 165  # the far side of the skull, reached from below
    points = directions * (skull + thickness)[..., None]
    margin = np.where(beyond, -90, margin)
    if hair.length is not None:
        points, margin = _hang(hair, points, polar, margin, rng)
    points = (points + scalp.centre).astype(np.float32)
    parted = 0 * polar if hair.parting is None else _along_parting(hair.parting, azimuth, polar, 3.0)
    return _as_surface(hair, points, margin.astype(np.float32), parted.astype(np.float32), rng)


def _along_parting(parting: float, azimuth: np.ndarray, polar: np.ndarray, width: float) -> np.ndarray:
    """Return 1 on the parting, from the forehead back to the crown, and 0 away from it; `width` in degrees of arc."""
    aside = np.sin(np.deg2rad(azimuth - parting)) * np.sin(np.deg2rad(polar))
    front = np.clip((90 - np.abs(azimuth)) / 30, 0, 1) * np.clip((78 - polar) / 10, 0, 1)
    return np.exp(-((np.rad2deg(aside) / width) ** 2)) * front


def _hang(
    hair: Hair, points: np.ndarray, polar: np.ndarray, margin: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Let every lock hang down from where it passes the widest part of the skull."""
    past = (polar > 97) & (np.arange(ROWS)[:, None] > 20)
    turn = np.where(past.any(axis=0), past.argmax(axis=0), ROWS - 1)
    columns = np.arange(polar.shape[1])
    start = points[turn, columns]
    fall = (np.arange(ROWS)[:, None] - turn[None]) * np.float32(np.deg2rad(STEP_DEGREES) * 105)
    assert hair.length is not None
    ragged = hair.length * (1 + 0.05 * np.sin(np.linspace(0, 9 * np.pi, polar.shape[1])))
    share = np.clip(fall / hair.length, 0, 1.3)
    wave = 0.10 * hair.curl * np.sin(share * 9 + rng.uniform(0, 6) + columns * 0.35)
    spread = 1 - 0.03 * share + 0.08 * np.sin(np.clip(share, 0, 1) * np.pi) + wave * np.clip(share * 4, 0, 1)
    hanging = np.stack([start[..., 0] * spread, start[..., 1] + fall, start[..., 2] * spread], axis=-1)
    hung = fall > 0
    points = np.where(hung[..., None], hanging, points).astype(np.float32)
    left = (ragged[None] - fall) / 2.0
    grows = margin[turn, columns][None] > 30
    return points, np.where(hung, np.where(grows, np.minimum(left, 60), -90), margin)


def _as_surface(
    hair: Hair, points: np.ndarray, margin: np.ndarray, parted: np.ndarray, rng: np.random.Generator
) -> HairSurface:
    """Make mesh, texture and strand directions from the grid of points."""
    index = np.arange(ROWS * (COLUMNS + 1), dtype=np.int32).reshape(ROWS, COLUMNS + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    alive, whole = margin > -14, margin > 3
    cells = alive[:-1, :-1] | alive[:-1, 1:] | alive[1:, 1:] | alive[1:, :-1]
    covered = (whole[:-1, :-1] & whole[:-1, 1:] & whole[1:, 1:] & whole[1:, :-1])[cells]
    triangles = np.concatenate([np.stack([a, c, b], -1)[cells], np.stack([a, d, c], -1)[cells]])
    flat = points.reshape(-1, 3)
    along, column = np.mgrid[:ROWS, : COLUMNS + 1].astype(np.float32)
    uv = np.stack(
        [column / COLUMNS * (TEXTURE_WIDTH - 1), along / (ROWS - 1) * (TEXTURE_HEIGHT - 1)], axis=-1
    ).reshape(-1, 2)
    normals = vertex_normals(flat, triangles)
    tangents = np.gradient(points, axis=0).reshape(-1, 3)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), 1e-6)
    surface = Surface(flat, normals, uv.astype(np.float32), triangles)
    casting = triangles[np.tile(covered, 2)]
    return HairSurface(surface, casting, _strands(hair, margin, parted, rng), tangents.astype(np.float32))


def _strands(hair: Hair, margin: np.ndarray, parted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return colour and alpha of the strands, (TEXTURE_HEIGHT, TEXTURE_WIDTH, 4)."""
    shape = (TEXTURE_HEIGHT, TEXTURE_WIDTH)
    fine = noise(rng, 1.3, 50 if hair.curl < 0.7 else 3, shape)
    locks = noise(rng, 6, 22 if hair.curl < 0.7 else 1.5, shape)
    broad = noise(rng, 34, 2.5, shape)
    if hair.curl > 0.1:
        v, u = np.mgrid[:TEXTURE_HEIGHT, :TEXTURE_WIDTH].astype(np.float32)
        shift = 8 * hair.curl * np.sin(v / (22 - 11 * hair.curl) + 1.5 * broad)
        fine = cv2.remap(fine, u + shift, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        locks = cv2.remap(locks, u + shift, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    brightness = np.exp(0.16 * fine + 0.10 * locks + 0.08 * broad)
    left = cv2.resize(margin, (TEXTURE_WIDTH, TEXTURE_HEIGHT), interpolation=cv2.INTER_LINEAR)
    # Hair that is combed back thins out at the hairline; a fringe ends in points.
    fray, soft = (1.6 * fine + 0.9 * locks, 2.5) if hair.fringe > 5 else (1.5 * fine + 0.3 * locks, 6.0)
    alpha = np.clip((left + fray) / soft + 0.5, 0, 1)
    if hair.density < 1:
        alpha = alpha * np.clip(hair.density + 0.07 * fine + 0.05 * broad, 0, 1)
    roots = 1 - 0.6 * cv2.resize(parted, shape[::-1], interpolation=cv2.INTER_LINEAR)
    roots -= 0.35 * np.exp(-np.maximum(left, 0) / 6)
    texture = np.empty((*shape, 4), np.float32)
    texture[..., :3] = np.asarray(hair.colour, np.float32) * (brightness * np.maximum(roots, 0.2))[..., None]
    texture[..., 3] = alpha
    return texture


def restyle(hair: Hair, rng: np.random.Generator) -> Hair:
    """Return the same person's hair on another day: a little longer, fuller or lower on the forehead."""
    length = None if hair.length is None else hair.length * rng.uniform(0.85, 1.1)
    return replace(
        hair,
        length=length,
        top=hair.top * rng.uniform(0.8, 1.25),
        side=hair.side * rng.uniform(0.8, 1.25),
        fringe=max(hair.fringe + rng.normal(0, 1.0), 0),
        opening=hair.opening + rng.normal(0, 2),
        seed=int(rng.integers(2**31)),
    )

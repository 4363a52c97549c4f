"""The surroundings of a made-up face: shoulders and clothes, glasses, background."""

from dataclasses import dataclass

import cv2
import numpy as np

from augmentor.head.head_model import grid_triangles
from augmentor.made_up.raster import Surface, vertex_normals
from augmentor.made_up.skin import linear, noise


@dataclass(frozen=True)
class Clothes:
    """A garment; `colours` and `accent` are linear RGB, lengths are mm."""

    kind: str
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    pattern: str
    accent: tuple[float, float, float]
    neckline: float
    shoulder: float
    seed: int


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses; `colour` is linear RGB, lengths are mm."""

    half_width: float
    half_height: float
    roundness: float
    thickness: float
    colour: tuple[float, float, float]
    tint: float


def shoulders(clothes: Clothes, neck: np.ndarray, neck_turn: np.ndarray, body_turn: np.ndarray) -> Surface:
    """Make neck and shoulders from rings that continue the head's last row and turn about the foot of the neck.

    Args:
        clothes: the garment, which says how broad the shoulders are.
        neck: (C, 3) the head's last row in the head's own frame, mm, from the back over the image's left.
        neck_turn: (3, 3) rotation of the head.
        body_turn: (3, 3) rotation of the body.
    """
    below = np.array(
        [-14, -6, 2, 8, 14, 20, 27, 35, 44, 55, 68, 85, 105, 130, 160, 200, 260, 320], np.float32
    )
    heights = [-14, 0, 8, 16, 26, 38, 52, 70, 95, 130, 200, 320]
    half_widths = [54, 57, 64, 76, 100, 132, 160, 182, 196, 204, 206, 206]
    half_depths = [46, 50, 55, 60, 66, 74, 84, 94, 103, 109, 113, 116]
    middle = np.array([0, neck[:, 1].mean(), neck[:, 2].mean()], np.float32)
    around = np.arctan2(neck[:, 0], -(neck[:, 2] - middle[2]))
    around[0], around[-1] = -np.pi, np.pi
    power = np.interp(below, [10, 60], [1.0, 0.8])[:, None]
    sine, cosine = np.sin(around)[None], np.cos(around)[None]
    breadth = np.where(below > 10, clothes.shoulder, 1.0)
    x = (np.interp(below, heights, half_widths) * breadth)[:, None] * np.sign(sine) * np.abs(sine) ** power
    z = -np.interp(below, heights, half_depths)[:, None] * np.sign(cosine) * np.abs(cosine) ** power
    y = np.broadcast_to(below[:, None], x.shape)
    body = np.stack([x, y, z + np.interp(below, [0, 80], [0, 14])[:, None]], axis=-1) @ body_turn.T
    tuck = np.interp(below, [-14, -6, 0], [0.84, 0.93, 0.985])[:, None, None] * np.array([1, 0, 1]) + [
        0,
        1,
        0,
    ]
    upper = (neck - middle)[None] * tuck + below[:, None, None] * np.array([0, 1, 0.12])
    share = np.clip(below / 34, 0, 1)[:, None, None]
    share = share * share * (3 - 2 * share)
    points = neck_turn @ middle + (upper @ neck_turn.T) * (1 - share) + body * share
    triangles = grid_triangles(np.ones((len(below) - 1, len(around) - 1), bool))
    points = points.reshape(-1, 3).astype(np.float32)
    uv = np.stack([np.broadcast_to(around, x.shape), y], axis=-1).reshape(-1, 2).astype(np.float32)
    return Surface(points, vertex_normals(points, triangles), uv, triangles)


def dress(clothes: Clothes, uv: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the linear albedo of clothes at points, and how much they cover the skin there.

    Args:
        clothes: the garment.
        uv: (N, 2) azimuth and height of the points on the body.
        points: (N, 3), mm.

    Returns:
        Colours (N, 3) float32 and cover (N,) float32, 0 to 1.
    """
    rng = np.random.default_rng(clothes.seed)
    around, height = uv[:, 0], uv[:, 1]
    first, second = (np.asarray(c, np.float32) for c in clothes.colours)
    if clothes.pattern == "stripes":
        mix = ((points[:, 1] % 22) < 9).astype(np.float32)
    elif clothes.pattern == "check":
        mix = 0.5 * ((points[:, 0] % 26) < 11) + 0.5 * ((points[:, 1] % 26) < 11)
    elif clothes.pattern == "pinstripe":
        mix = ((points[:, 0] % 13) < 2).astype(np.float32)
    else:
        mix = np.zeros(len(uv), np.float32)
    colour = first + mix[:, None].astype(np.float32) * (second - first)
    folds = noise(rng, 26, 1.5, (256, 256))
    place_x = ((points[:, 0] + 256) / 2).astype(int) % 256
    place_y = (points[:, 1] / 2).astype(int) % 256
    colour = colour * (1 + 0.10 * folds[place_y, place_x])[:, None]
    side = np.abs(around)
    edge = 9 + 9 * np.cos(around) + clothes.neckline * np.clip(1 - side / 0.75, 0, 1)
    if clothes.kind == "jacket":
        across = np.abs(points[:, 0])
        shirt = (side < 1.2) & (across < np.clip((180 - height) * 0.40, 0, 62))
        tie = shirt & (across < 8 + 0.06 * height)
        colour = np.where(shirt[:, None], second, colour)
        colour = np.where(tie[:, None], np.asarray(clothes.accent, np.float32), colour)
    if clothes.kind in ("shirt", "jacket"):
        collar = (height < edge + 20 - 6 * side) & (side > 0.12)
        colour = np.where(collar[:, None], second * 0.92, colour)
    worn = np.clip((height - edge) / 2 + 0.5, 0, 1)
    rim = np.exp(-(((height - edge - 5) / 3.5) ** 2))[:, None] * 0.3
    return (colour * (1 - rim)).astype(np.float32), worn.astype(np.float32)


def frame_curves(glasses: Glasses, landmarks: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the outlines of the lenses, and bridge and temples, as (N, 3) curves in the head's frame."""
    eyes = [landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)]
    depth = min(float(landmarks[27, 2]) + 3, float(min(e[2] for e in eyes)) - 9)
    turn = np.linspace(0, 2 * np.pi, 60)
    power = 2 / glasses.roundness
    lenses = []
    for eye in eyes:
        sine, cosine = np.sin(turn), np.cos(turn)
        x = eye[0] * 1.03 + glasses.half_width * np.sign(cosine) * np.abs(cosine) ** power
        y = eye[1] + 3 + glasses.half_height * np.sign(sine) * np.abs(sine) ** power
        z = depth + 0.004 * (x - 0) ** 2
        lenses.append(np.stack([x, y, z], axis=1).astype(np.float32))
    inner = eyes[1][0] * 1.03 - glasses.half_width
    x = np.linspace(-inner, inner, 12)
    bridge = np.stack([x, eyes[0][1] - 3 - 3 * np.cos(x / inner * np.pi / 2), np.full(12, depth - 1)], axis=1)
    others = [bridge.astype(np.float32)]
    for side, eye, cheek in ((-1, eyes[0], landmarks[0]), (1, eyes[1], landmarks[16])):
        hinge = np.array([eye[0] * 1.03 + side * glasses.half_width, eye[1] - 4, 0])
        hinge[2] = depth + 0.004 * hinge[0] ** 2
        ear = np.array([cheek[0] + side * 6, eye[1] - 4, cheek[2] + 32])
        others.append((hinge + (ear - hinge) * np.linspace(0, 1, 50)[:, None]).astype(np.float32))
    return lenses, others


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a linear background (size, size, 3), out of focus: wall, room, street or greenery."""
    kind = rng.choice(["wall", "gradient", "blobs", "room", "outdoors"], p=[0.2, 0.2, 0.2, 0.2, 0.2])
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    base = _muted_colour(rng)
    image = np.empty((size, size, 3), np.float32)
    if kind == "outdoors":
        sky = linear(rng.uniform([150, 170, 195], [225, 230, 245]))
        green = linear(rng.uniform([50, 70, 35], [110, 125, 80]))
        horizon = rng.uniform(0.3, 0.8) + 0.08 * noise(rng, size / 4, 1, (size, size))
        mask = np.clip((y - horizon) * 8 + 0.5, 0, 1)[..., None]
        image[:] = sky + mask * (green - sky)
        image *= np.exp(0.3 * noise(rng, size / 16, 1, (size, size)))[..., None] * mask + (1 - mask)
    else:
        turn = rng.uniform(0, 2 * np.pi)
        ramp = (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn)
        other = base if kind == "wall" else _muted_colour(rng)
        image[:] = base + np.clip(ramp + 0.5, 0, 1)[..., None] * (other - base)
        image *= (1 + 0.4 * ramp * rng.uniform(-1, 1))[..., None]
    if kind == "blobs":
        for _ in range(rng.integers(8, 26)):
            centre = rng.uniform(0, 1, 2)
            radius = rng.uniform(0.02, 0.12)
            disc = np.clip((radius - np.hypot(x - centre[0], y - centre[1])) * 60 + 0.5, 0, 1)[..., None]
            image += 0.6 * disc * (_muted_colour(rng) * rng.uniform(0.5, 2) - image)
    if kind in ("room", "outdoors"):
        for _ in range(rng.integers(3, 9)):
            left, top = rng.uniform(-0.1, 0.9, 2)
            wide, high = rng.uniform(0.06, 0.4), rng.uniform(0.1, 0.7)
            box = ((x > left) & (x < left + wide) & (y > top) & (y < top + high)).astype(np.float32)[
                ..., None
            ]
            image += 0.7 * box * (_muted_colour(rng) - image)
    blur = size * rng.uniform(0.006, 0.03)
    return np.maximum(cv2.GaussianBlur(image, (0, 0), blur), 0.001)


def _muted_colour(rng: np.random.Generator) -> np.ndarray:
    """Return a linear colour typical of walls and furniture."""
    hue = rng.uniform(0, 179)
    hsv = np.array([[[hue, rng.uniform(5, 70), rng.uniform(50, 225)]]]).astype(np.uint8)
    return linear(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])

"""Ears for made-up people. The head's grid is too coarse for ears, so it is smoothed there and ears are attached."""

from dataclasses import dataclass

import numpy as np

from augmentor.head.head_model import HeadModel, grid_triangles
from augmentor.made_up.raster import Surface, vertex_normals
from augmentor.made_up.skin import chart

_TURNS = 33
# From the middle outwards: share of the outline's radius, height above the ear's plane (mm), openness to light.
_PROFILE = np.array(
    [
        [0.00, -6.0, 0.35],
        [0.25, -6.0, 0.38],
        [0.42, -4.0, 0.50],
        [0.55, 0.6, 0.85],
        [0.66, 1.6, 0.95],
        [0.76, 0.0, 0.70],
        [0.84, -0.4, 0.62],
        [0.91, 2.2, 0.95],
        [0.97, 2.4, 1.00],
        [1.00, 0.6, 0.95],
        [0.96, -4.0, 0.60],
        [0.80, -12.0, 0.40],
    ]
)


@dataclass(frozen=True)
class Ears:
    """A person's ears.

    Attributes:
        scale: size; at 1 an ear is 62 mm high.
        angle: how far the ears stand out, degrees.
        lobe: size of the lobes, 0 to 2.
    """

    scale: float
    angle: float
    lobe: float


class EarPlaces:
    """The places of the ears on the head's grid."""

    def __init__(self, head: HeadModel) -> None:
        rows, columns = head.grid_shape
        self._shape = (rows, columns)
        ear = (head.regions["ears"] > 0.02).reshape(rows, columns)[:, : columns // 2].any(axis=0)
        self._first, self._last = int(np.flatnonzero(ear)[0]) - 1, int(np.flatnonzero(ear)[-1]) + 1
        weight = head.regions["ears"].reshape(rows, columns)[:, : columns // 2]
        mean = head.mean.reshape(rows, columns, 3)[:, : columns // 2]
        middle_y = float((weight * mean[..., 1]).sum() / weight.sum()) - 4
        self._column = (self._first + self._last) // 2
        self._row = int(np.abs(mean[:, self._column, 1] - middle_y).argmin())

    def smooth(self, vertices: np.ndarray) -> np.ndarray:
        """Return the head (V, 3) without its ears: straight across from before them to behind them."""
        grid = vertices.reshape(*self._shape, 3).copy()
        share = np.linspace(0, 1, self._last - self._first + 1, dtype=np.float32)[None, :, None]
        for side in (grid, grid[:, ::-1]):
            before, behind = side[:, self._first : self._first + 1], side[:, self._last : self._last + 1]
            side[:, self._first : self._last + 1] = before + (behind - before) * share
        return grid.reshape(-1, 3)

    def attach(self, ears: Ears, vertices: np.ndarray) -> tuple[Surface, np.ndarray]:
        """Return both ears on the smoothed head `vertices`, and how open to light each of their points is, (V,)."""
        grid = vertices.reshape(*self._shape, 3)
        pieces = [
            _ear(ears, grid[self._row, column], side)
            for side, column in ((-1, self._column), (1, self._shape[1] - 1 - self._column))
        ]
        triangles = [pieces[0][1], pieces[1][1][:, ::-1] + len(pieces[0][0])]
        points = np.concatenate([piece[0] for piece in pieces]).astype(np.float32)
        joined = np.concatenate(triangles).astype(np.int32)
        openness = np.tile(np.repeat(_PROFILE[:, 2], _TURNS), 2).astype(np.float32)
        return Surface(points, vertex_normals(points, joined), chart(points), joined), openness


def _ear(ears: Ears, place: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of one ear, and triangles that face outwards on the image's left side (`side` -1)."""
    turn = np.linspace(0, 2 * np.pi, _TURNS)[None]
    share, height = _PROFILE[:, :1], _PROFILE[:, 1:2]
    back, down = np.sin(turn), -np.cos(turn)
    # Wide above and narrow at the lobe; the middle of the shell lies forward and low.
    half_width = 17.0 * (1 - 0.24 * down) * (1 + 0.05 * np.cos(2 * turn))
    half_height = np.where(down > 0, 30 + 3 * ears.lobe, 31)
    across = share * half_width * back - 3.5 * (1 - share)
    along = share * half_height * down + 4 * (1 - share)
    lobe = np.clip((down - 0.55) / 0.3, 0, 1)
    front = np.clip((-back - 0.35) / 0.4, 0, 1) * (1 - lobe)
    inner = np.clip((share - 0.3) / 0.3, 0, 1)
    lift = height * (1 - 0.8 * lobe * inner * (height > -3)) - 4.5 * front * inner
    tilt, out = np.deg2rad(9.0), np.deg2rad(ears.angle)
    across, along = across * np.cos(tilt) - along * np.sin(tilt), along * np.cos(tilt) + across * np.sin(tilt)
    # Hinged at the front edge, so that points farther back stand farther out.
    behind = across + 12
    x = side * (behind * np.sin(out) + lift * np.cos(out) + 1.0)
    z = across * np.cos(out) - lift * np.sin(out)
    points = np.stack([x, along + 0 * x, z], axis=-1) * ears.scale + place
    triangles = grid_triangles(np.ones((len(_PROFILE) - 1, _TURNS - 1), bool))
    return points.reshape(-1, 3), triangles

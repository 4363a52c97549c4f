"""True landmarks: the places in a picture of the 68 landmarks of a known head, and which of them the head hides.

Convention:
    Inner landmarks (17 to 67) and the chin (8) are places of the skin: the head model's landmarks, moved by its
    `landmark_offsets` to where annotators put them. Hidden ones are given, too.
    The other contour landmarks lie on the outline of the face. Each belongs to one row of the head's grid, and lies
    where this row reaches furthest out on its own side: on the near side of a turned face that is a fixed place before
    the ear, on the far side it wanders from the jaw to the cheek. `augmentor.head.pose.fit_face` makes the same choice.
    A landmark is visible if no part of the head lies in front of it. Hair, glasses, masks and hands do not count.

Source:
    Zhu et al., "Face Alignment Across Large Poses", CVPR 2016, section 4.1 (landmark marching along the grid's rows).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from augmentor.head.head_model import HeadModel
from augmentor.head.surface import surface_normals, surface_triangles
from augmentor.views.raster import interpolate, rasterise

Project = Callable[[np.ndarray], np.ndarray]

CHIN = 8
LEFT, RIGHT = (
    np.arange(8),
    np.arange(9, 17),
)  # contour landmarks on the image's left and right of a frontal face
_CONTOUR = np.concatenate([LEFT, RIGHT])
_REACH = 0.7  # candidates for the outline go this far towards the middle of the face, as in `fit_face`
_CANDIDATES = 24
_FINE = 8  # steps per cell of the grid when the place of a moved contour landmark is searched
_MAP_SIDE = 128
_IN_FRONT_MM = 6.0
_FACING = 0.4  # largest component along the line of sight of the normal of a visible landmark


@dataclass(frozen=True, eq=False)
class TrueLandmarks:
    """The landmarks of one head in one picture.

    Attributes:
        points: (68, 3) float64 mm, model frame.
        landmarks_2d: (68, 2) float32 (x, y) pixels.
    """

    points: np.ndarray
    landmarks_2d: np.ndarray


def true_landmarks(
    vertices: np.ndarray, inner: np.ndarray, project: Project, head: HeadModel
) -> TrueLandmarks:
    """Return the landmarks of a head, by the module's convention.

    Args:
        vertices: (V, 3) mm, model frame: the head with this person's shape and expression.
        inner: (68, 3) mm, model frame: the landmarks at their fixed places; contour ones are not used.
        project: brings points (N, 3) of the model frame to pixels (N, 2).
        head: the head model.
    """
    index, weight = _outline_candidates(head)
    candidates = (vertices[index] * weight[..., None]).sum(2)  # (16, M, 3)
    flat = project(candidates.reshape(-1, 3)).reshape(*candidates.shape[:2], 2)
    sideways = flat @ _across(project, inner)
    side = np.repeat([-1.0, 1.0], 8)
    furthest = np.argmax(side[:, None] * sideways, axis=1)
    points = np.array(inner, float)
    points[_CONTOUR] = candidates[np.arange(16), furthest]
    return TrueLandmarks(points, project(points).astype(np.float32))


def visible_landmarks(
    truth: TrueLandmarks,
    vertices: np.ndarray,
    project: Project,
    depth: Callable[[np.ndarray], np.ndarray],
    head: HeadModel,
) -> np.ndarray:
    """Return (68,) bool, true where the head does not hide the landmark.

    Args:
        truth: the landmarks.
        vertices: (V, 3) mm, model frame.
        project: brings points (N, 3) of the model frame to pixels (N, 2).
        depth: returns the distances (N,) of points (N, 3) of the model frame from the camera's plane, mm.
        head: the head model.
    """
    pixels = project(vertices)
    low, high = pixels.min(0), pixels.max(0)
    scale = (_MAP_SIDE - 1) / float((high - low).max())
    triangles = surface_triangles(head)
    distance = depth(vertices)
    triangle, weights = rasterise((pixels - low) * scale, distance, triangles, (_MAP_SIDE, _MAP_SIDE))
    front = interpolate(triangle, weights, triangles, distance[:, None])[..., 0]
    front = np.where(triangle >= 0, front, np.inf).astype(np.float32)
    # The farthest of the neighbouring pixels, because a pixel of a slanted surface spans many mm of depth.
    farthest = cv2.dilate(front, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    spot = np.clip(np.rint((truth.landmarks_2d - low) * scale), 0, _MAP_SIDE - 1).astype(int)
    hidden = depth(truth.points) > farthest[spot[:, 1], spot[:, 0]] + _IN_FRONT_MM
    normals = surface_normals(vertices, head)[head.landmarks68]
    towards = depth(truth.points + normals) - depth(truth.points)
    averted = towards > _FACING
    averted[_CONTOUR] = False  # they lie on the outline, where the surface turns away
    return ~hidden & ~averted


def _across(project: Project, inner: np.ndarray) -> np.ndarray:
    """Return the unit vector (2,) that points to the image's right, perpendicular to the head's own vertical axis."""
    middle = inner.mean(0)
    ends = project(np.stack([middle - [0, 50, 0], middle + [0, 50, 0]]))
    down = ends[1] - ends[0]
    return np.array([down[1], -down[0]]) / max(float(np.linalg.norm(down)), 1e-9)


@lru_cache(maxsize=4)
def _outline_candidates(head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Return vertex numbers and weights, both (16, M, 4), of the candidates for the contour landmarks."""
    rows, columns = head.grid_shape
    grid = head.mean.reshape(rows, columns, 3).astype(float)
    places = np.empty((16, _CANDIDATES, 2))
    for number, landmark in enumerate(_CONTOUR.tolist()):
        vertex = int(head.landmarks68[landmark])
        wanted = head.mean[vertex] + head.landmark_offsets[landmark]
        row, column = _nearest_place(grid, wanted, *divmod(vertex, columns))
        places[number, :, 0] = row
        places[number, :, 1] = column + (columns // 2 - column) * np.linspace(0, _REACH, _CANDIDATES)
    low = np.floor(places).astype(int)
    low = np.minimum(low, [rows - 2, columns - 2])
    part = places - low
    index, weight = [], []
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        index.append((low[..., 0] + down) * columns + low[..., 1] + right)
        shares = [part[..., k] if step else 1 - part[..., k] for k, step in enumerate((down, right))]
        weight.append(shares[0] * shares[1])
    return np.stack(index, -1), np.stack(weight, -1)


def _nearest_place(grid: np.ndarray, wanted: np.ndarray, row: int, column: int) -> tuple[float, float]:
    """Return the place (row, column) on the grid (R, C, 3), with fractions, nearest to a point, in its surroundings."""
    around = 4
    fraction = np.arange(-around * _FINE, around * _FINE + 1) / _FINE
    r, c = np.meshgrid(row + fraction, column + fraction, indexing="ij")
    r, c = np.clip(r, 0, grid.shape[0] - 1.001), np.clip(c, 0, grid.shape[1] - 1.001)
    r0, c0 = r.astype(int), c.astype(int)
    u, v = (r - r0)[..., None], (c - c0)[..., None]
    surface = (1 - u) * ((1 - v) * grid[r0, c0] + v * grid[r0, c0 + 1])
    surface += u * ((1 - v) * grid[r0 + 1, c0] + v * grid[r0 + 1, c0 + 1])
    best = int(np.argmin(((surface - wanted) ** 2).sum(-1)))
    return float(r.ravel()[best]), float(c.ravel()[best])

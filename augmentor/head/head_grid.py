"""Place the nodes of this project's head grid on the ICT face mesh.

For every node a ray leaves the vertical axis of the head; the node lies where the ray crosses the mesh last. A ray is
given by azimuth (degrees, 0 = front, negative = image left) and level (0 = crown, 1 = neck). Both are smooth functions
of the grid, bent so that the 68 landmarks fall on nodes. The result is a matrix, the same for the mean and all modes:
grid = matrix @ mesh.

Source:
    This project's own construction. The bending minimises the squared Laplacian of the displacement (a thin plate).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.interpolate import PchipInterpolator
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

from augmentor.errors import InputError
from augmentor.faces.landmark_net import MIRROR68 as MIRROR68
from augmentor.head.ict_facekit import IctModel

ROWS, COLS = 61, 67
MIDDLE = COLS // 2
UPPER_LIP_ROW, LOWER_LIP_ROW, MOUTH_CORNER = 41, 42, 7

# Level, elevation of the ray in degrees, y of its origin on the axis in mm. Origins sink as rays turn downwards, so
# that no two rays of one azimuth cross and rays meet even the underside of the jaw from inside.
_RAYS = np.array(
    [[0, 89, -25], [0.25, 30, -25], [0.45, 0, -15], [0.6, -10, 5], [0.8, -26, 40], [1, -30, 80]], float
)
_ELEVATION = PchipInterpolator(_RAYS[:, 0], _RAYS[:, 1])
_ORIGIN = PchipInterpolator(_RAYS[:, 0], _RAYS[:, 2])
# Columns from the middle → azimuth, and rows → level; dense where eyes, nose and mouth are.
_COLUMN_AZIMUTH = PchipInterpolator(
    [0, 8, 14, 17, 19, 21, 23, 25, 27, 29, 30, 31, 32, MIDDLE],
    [0, 14, 27.3, 36, 43, 51.7, 62.5, 76, 87.5, 99, 106, 119, 144, 180],
)
_ROW_LEVEL = PchipInterpolator(
    [0, 7, 11, 12, 16, 18, 19, 21, 24, 28, 34, 38, 41, 42, 45, 54, 60],
    [
        0,
        0.265,
        0.308,
        0.3185,
        0.366,
        0.3825,
        0.392,
        0.411,
        0.4455,
        0.489,
        0.5535,
        0.5965,
        0.6235,
        0.632,
        0.655,
        0.75,
        1,
    ],
)
# Landmarks of the image-left half and the middle → (row, columns left of the middle). The corner and the middle of the
# inner lips (60, 62, 66 ...) lie on the slit; `_fixed_nodes` places them.
_NODES = {
    0: (16, 23), 1: (24, 23), 2: (32, 22), 3: (40, 21), 4: (47, 19), 5: (52, 15), 6: (53, 10), 7: (53, 5), 8: (54, 0),
    17: (13, 17), 18: (11, 15), 19: (11, 11), 20: (11, 7), 21: (12, 4),
    27: (17, 0), 28: (21, 0), 29: (24, 0), 30: (28, 0), 31: (34, 4), 32: (34, 2), 33: (34, 0),
    36: (18, 14), 37: (16, 12), 38: (16, 9), 39: (18, 7), 40: (19, 9), 41: (19, 12),
    48: (42, 8), 49: (39, 5), 50: (38, 2), 51: (38, 0), 57: (45, 0), 58: (45, 3), 59: (44, 5),
    61: (41, 3), 62: (41, 0), 66: (42, 0), 67: (42, 3), 60: (41, 7),
}  # fmt: skip

# Landmarks around the image-left eye, in order; a patch between them closes the eye.
_LIDS = (36, 37, 38, 39, 40, 41)
_PATCH_RINGS = 5
# How far (mm) an eyeball stands out in front of the flat patch between the lids.
EYE_BULGE = 1.5
EAR_Y = (-48.0, 30.0)  # mm, y of the upper and the lower end of the ears


@dataclass(frozen=True)
class GridSampling:
    """Positions of the grid's nodes as weights of the mesh's vertices.

    Attributes:
        matrix: (ROWS * COLS, mesh vertices) sparse; multiplied by positions or modes of the mesh, it gives the grid's.
        offset: (ROWS * COLS, 3) mm, added to positions only (eyeballs bulge between the lids).
        azimuth: (ROWS, COLS) degrees of each node.
        level: (ROWS, COLS) of each node.
        landmarks68: (68,) int32 node ids.
    """

    matrix: sparse.csr_matrix
    offset: np.ndarray
    azimuth: np.ndarray
    level: np.ndarray
    landmarks68: np.ndarray


def sample_grid(ict: IctModel) -> GridSampling:
    """Lay the grid over the neutral mesh.

    Raises:
        InputError: the mesh is not the ICT head (not symmetric, or rays miss it).
    """
    swap = mesh_mirror(ict.neutral)
    skin = _close_eye(ict)
    fixed = _fixed_nodes(ict)
    azimuth, level = _bend(fixed, ict.neutral)
    half = _cast(skin, ict.neutral, azimuth[:, : MIDDLE + 1], level[:, : MIDDLE + 1], fixed)
    half = _smooth_ears(azimuth, level) @ half
    bulge = half @ skin.bulge
    left = (half @ skin.lift).tocsr()
    right = left[:, swap]
    # Express all rows of the grid by [left half, its mirror image, the mean of both].
    count = left.shape[0]
    side = np.arange(count).reshape(ROWS, MIDDLE + 1)
    order = np.concatenate([side[:, :-1], side[:, -1:] + 2 * count, side[:, -2::-1] + count], axis=1).ravel()
    return GridSampling(
        matrix=sparse.vstack([left, right, 0.5 * (left + right)]).tocsr()[order],
        offset=np.tile(bulge, 3)[order][:, None] * np.array([0, 0, -1.0]),
        azimuth=azimuth,
        level=level,
        landmarks68=landmark_nodes(),
    )


def landmark_nodes() -> np.ndarray:
    """Return the node ids (68,) int32 of the landmarks."""
    nodes = np.full(68, -1, np.int32)
    for landmark, (row, left) in _NODES.items():
        nodes[landmark] = row * COLS + MIDDLE - left
        nodes[MIRROR68[landmark]] = row * COLS + MIDDLE + left
    return nodes


def mesh_mirror(neutral: np.ndarray) -> np.ndarray:
    """Return, for each vertex (V,), the one on the other side of the head.

    Args:
        neutral: (V, 3) mm.

    Raises:
        InputError: the mesh is not symmetric.
    """
    distance, swap = cKDTree(neutral).query(neutral * np.array([-1, 1, 1], neutral.dtype))
    if distance.max() > 0.5 or not np.array_equal(swap[swap], np.arange(len(swap))):
        raise InputError("the ICT neutral mesh is not symmetric: damaged, or another model")
    return swap


def ray_coordinates(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return azimuth (N,) in degrees and level (N,) of the rays that pass through points (N, 3) mm."""
    table = np.linspace(0, 1, 4001)
    azimuth = np.degrees(np.arctan2(points[:, 0], -points[:, 2]))
    radius = np.hypot(points[:, 0], points[:, 2])
    level = np.empty(len(points))
    for i, (a, r, y) in enumerate(zip(azimuth, radius, points[:, 1], strict=True)):
        level[i] = np.interp(y, _ORIGIN(table) - r * np.tan(np.radians(_elevation(table, a))), table)
    return azimuth, level


def seen_from_outside(ict: IctModel) -> np.ndarray:
    """Return which vertices (V,) bool are the outermost on their rays, not inside lids, lips, nostrils or ears."""
    left = np.flatnonzero(ict.neutral[:, 0] <= 1e-6)
    azimuth, level = ray_coordinates(ict.neutral[left].astype(float))
    origin, direction = _rays(-np.abs(azimuth), level)
    corners = ict.neutral[ict.triangles].astype(float)
    corners = corners[(corners[:, :, 0] < 1e-6).any(axis=1)]
    hit, weights = _outermost(corners, origin, direction)
    outermost = (weights[:, :, None] * corners[hit]).sum(1)
    near = (hit >= 0) & (np.linalg.norm(outermost - ict.neutral[left], axis=1) < 1.0)
    outside = np.zeros(len(ict.neutral), bool)
    outside[left[near]] = True
    return outside | outside[mesh_mirror(ict.neutral)]


def _elevation(level: np.ndarray, azimuth: np.ndarray | float) -> np.ndarray:
    """Return the elevation of rays in degrees; beside and behind the jaw they sink less, to miss the shoulders."""
    elevation = _ELEVATION(level)
    back = np.clip((np.abs(azimuth) - 60) / 60, 0, 1)
    return np.where(elevation < 0, elevation * (1 - 0.65 * back**2 * (3 - 2 * back)), elevation)


def _rays(azimuth: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return origins and unit directions of rays, (..., 3) each."""
    elevation, around = np.radians(_elevation(level, azimuth)), np.radians(azimuth)
    origin = np.stack([np.zeros_like(level), _ORIGIN(level), np.zeros_like(level)], axis=-1)
    flat = np.cos(elevation)
    return origin, np.stack([flat * np.sin(around), -np.sin(elevation), -flat * np.cos(around)], axis=-1)


@dataclass(frozen=True)
class _Skin:
    """The mesh with its eye closed: extended vertices = lift @ mesh vertices, plus bulge (mm towards -z)."""

    lift: sparse.csr_matrix
    bulge: np.ndarray
    triangles: np.ndarray


def _close_eye(ict: IctModel) -> _Skin:
    """Fill the image-left eye with a patch between the lid margins, made of rings that shrink to their centre."""
    graph = _edges(ict)
    lids = [int(ict.landmarks68[i]) for i in _LIDS]
    margin: list[int] = []
    for a, b in zip(lids, lids[1:] + lids[:1], strict=True):
        margin += _path(graph, a, b)[:-1]
    count, n = len(ict.neutral), len(margin)
    to_margin = sparse.csr_matrix((np.ones(n), (np.arange(n), margin)), shape=(n, count))
    to_centre = sparse.csr_matrix(np.full((n, n), 1 / n)) @ to_margin
    parts, bulge, triangles = [sparse.eye(count, format="csr")], [np.zeros(count)], [ict.triangles]
    ring = np.array(margin)
    for step in range(1, _PATCH_RINGS + 1):
        t = step / _PATCH_RINGS
        parts.append((1 - t) * to_margin + t * to_centre)
        bulge.append(np.full(n, EYE_BULGE * (1 - (1 - t) ** 2)))
        inner = count + (step - 1) * n + np.arange(n)
        following, inner_following = np.roll(ring, -1), np.roll(inner, -1)
        triangles += [np.stack([ring, following, inner], 1), np.stack([following, inner_following, inner], 1)]
        ring = inner
    return _Skin(sparse.vstack(parts).tocsr(), np.concatenate(bulge), np.concatenate(triangles))


def _edges(ict: IctModel) -> sparse.csr_matrix:
    """Return the edge lengths of the mesh, (V, V) sparse."""
    a = ict.triangles[:, [0, 1, 2]].ravel()
    b = ict.triangles[:, [1, 2, 0]].ravel()
    length = np.linalg.norm(ict.neutral[a] - ict.neutral[b], axis=1)
    graph = sparse.csr_matrix((length, (a, b)), shape=(len(ict.neutral),) * 2)
    return graph.maximum(graph.T)


def _path(graph: sparse.csr_matrix, start: int, end: int) -> list[int]:
    """Return the shortest path along edges, with both ends."""
    before = dijkstra(graph, indices=start, return_predecessors=True)[1]
    path = [end]
    while path[-1] != start:
        if before[path[-1]] < 0:
            raise InputError("the ICT mesh has no path between two landmarks: damaged, or another model")
        path.append(int(before[path[-1]]))
    return path[::-1]


def _fixed_nodes(ict: IctModel) -> dict[tuple[int, int], dict[int, float]]:
    """Map (row, columns left of the middle) to {mesh vertex: weight}, for landmarks and the slit of the mouth."""
    fixed = {node: {int(ict.landmarks68[i]): 1.0} for i, node in _NODES.items()}
    graph = _edges(ict)
    for row, landmarks in ((UPPER_LIP_ROW, (60, 61, 62)), (LOWER_LIP_ROW, (60, 67, 66))):
        columns = [_NODES[i][1] for i in landmarks]
        fixed[row, columns[0]] = {int(ict.landmarks68[60]): 1.0}
        for i in (0, 1):
            path = _path(graph, *(int(ict.landmarks68[landmarks[k]]) for k in (i, i + 1)))
            along = np.cumsum([0, *np.linalg.norm(np.diff(ict.neutral[path], axis=0), axis=1)])
            for column in range(columns[i] - 1, columns[i + 1], -1):
                at = np.interp(column, [columns[i + 1], columns[i]], [along[-1], 0])
                k = min(int(np.searchsorted(along, at, side="right")) - 1, len(path) - 2)
                t = float((at - along[k]) / (along[k + 1] - along[k]))
                fixed[row, column] = {path[k]: 1 - t, path[k + 1]: t}
    return fixed


def _bend(
    fixed: dict[tuple[int, int], dict[int, float]], neutral: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return azimuth and level of all nodes, (ROWS, COLS) each: the smooth functions, bent through the fixed nodes."""
    columns = np.arange(COLS) - MIDDLE
    base = [
        np.broadcast_to(np.sign(columns) * _COLUMN_AZIMUTH(np.abs(columns)), (ROWS, COLS)),
        np.broadcast_to(_ROW_LEVEL(np.arange(ROWS))[:, None], (ROWS, COLS)),
    ]
    points = np.array([sum(w * neutral[v] for v, w in weights.items()) for weights in fixed.values()])
    target = ray_coordinates(points.astype(float))
    row, left = np.array(list(fixed)).T
    nodes = np.concatenate([row * COLS + MIDDLE - left, row * COLS + MIDDLE + left])
    side = np.arange(ROWS * COLS).reshape(ROWS, COLS)
    edge = np.concatenate([side[0], side[-1]])
    laplacian = _grid_laplacian()
    bent = []
    for field, goal, sign, still in (
        (base[0], target[0], -1, np.concatenate([edge, side[:, 0], side[:, -1], side[:, MIDDLE]])),
        (base[1], target[1], 1, edge),
    ):
        flat = field.ravel()
        moved = np.zeros(flat.size)
        moved[nodes] = np.concatenate([goal, sign * goal]) - flat[nodes]
        moved[side[:, MIDDLE]] *= sign > 0
        known = np.zeros(flat.size, bool)
        known[nodes] = known[still] = True
        stiffness = (laplacian.T @ laplacian + 0.01 * laplacian).tocsr()
        moved[~known] = spsolve(stiffness[~known][:, ~known], -(stiffness[~known][:, known] @ moved[known]))
        grid = moved.reshape(ROWS, COLS)
        bent.append(field + (grid + sign * grid[:, ::-1]) / 2)
    return bent[0], bent[1]


def _grid_laplacian(cols: int = COLS) -> sparse.csr_matrix:
    """Return the graph Laplacian of the grid's first `cols` columns."""

    def line(n: int) -> sparse.csr_matrix:
        steps = sparse.diags([np.full(n - 1, -1.0), np.full(n - 1, 1.0)], [0, 1], shape=(n - 1, n))
        return (steps.T @ steps).tocsr()

    return sparse.kronsum(line(cols), line(ROWS)).tocsr()


def _cast(
    skin: _Skin,
    neutral: np.ndarray,
    azimuth: np.ndarray,
    level: np.ndarray,
    fixed: dict[tuple[int, int], dict[int, float]],
) -> sparse.csr_matrix:
    """Return the weights of nodes of the image-left half and the middle on the extended vertices their rays cross last.

    Raises:
        InputError: a ray does not meet the mesh.
    """
    vertices = skin.lift @ neutral.astype(float)
    vertices[:, 2] -= skin.bulge
    triangles = skin.triangles[(vertices[skin.triangles][:, :, 0] < 1e-6).any(axis=1)]
    origin, direction = (m.reshape(-1, 3) for m in _rays(azimuth, level))
    hit, weights = _outermost(vertices[triangles], origin, direction)
    entries: list[tuple[int, int, float]] = []
    for node in range(len(origin)):
        place = (node // azimuth.shape[1], MIDDLE - node % azimuth.shape[1])
        if place in fixed:
            entries += [(node, vertex, weight) for vertex, weight in fixed[place].items()]
        elif hit[node] < 0:
            raise InputError("the ICT mesh does not enclose the head's axis: damaged, or another model")
        else:
            corners = triangles[hit[node]]
            entries += [(node, int(v), float(w)) for v, w in zip(corners, weights[node], strict=True)]
    row, column, value = zip(*entries, strict=True)
    return sparse.csr_matrix((value, (row, column)), shape=(len(origin), len(vertices)))


def _smooth_ears(azimuth: np.ndarray, level: np.ndarray) -> sparse.csr_matrix:
    """Return weights (half, half) that average over neighbours around the ears; rays meet their folds by chance."""
    ends = ray_coordinates(np.array([[-90.0, y, 5.0] for y in EAR_Y]))[1]
    inside = (np.abs(azimuth) > 74) & (np.abs(azimuth) < 116) & (level > ends[0]) & (level < ends[1])
    keep = MIDDLE + 1
    step = _grid_laplacian(keep)
    inside_half = inside[:, :keep].ravel()
    count = inside_half.size
    smooth = sparse.eye(count) - sparse.diags(np.where(inside_half, 0.2, 0.0)) @ step
    return smooth.tocsr()


def _outermost(
    corners: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the last triangle that each ray crosses (-1 if none) and the crossing's barycentric weights (N, 3).

    Args:
        corners: (T, 3, 3) mm, of the triangles.
        origin: (N, 3) mm.
        direction: (N, 3) unit vectors.

    Source:
        Möller, Trumbore, "Fast, minimum storage ray-triangle intersection", 1997.
    """
    # A ray stays in one half-plane through the axis, so only triangles that this half-plane cuts are tested.
    around = np.degrees(np.arctan2(np.abs(np.minimum(corners[:, :, 0], 0)), -corners[:, :, 2]))
    near_axis = np.hypot(corners[:, :, 0], corners[:, :, 2]).min(axis=1) < 12
    first = np.where(near_axis, 0, around.min(axis=1) - 0.01)
    last = np.where(near_axis, 180, around.max(axis=1) + 0.01)
    azimuth = np.degrees(np.arctan2(np.abs(direction[:, 0]), -direction[:, 2]))
    hit, weights = np.full(len(origin), -1), np.zeros((len(origin), 3))
    for i, (o, d, a) in enumerate(zip(origin, direction, azimuth, strict=True)):
        cut = np.flatnonzero((first <= a) & (a <= last))
        ab, ac = corners[cut, 1] - corners[cut, 0], corners[cut, 2] - corners[cut, 0]
        p = np.cross(d, ac)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / (ab * p).sum(1)
            s = o - corners[cut, 0]
            u = (s * p).sum(1) * scale
            q = np.cross(s, ab)
            v = (q @ d) * scale
            t = (ac * q).sum(1) * scale
            inside = (u >= -1e-7) & (v >= -1e-7) & (u + v <= 1 + 1e-7) & (t > 0)
        if inside.any():
            k = np.flatnonzero(inside)[np.argmax(t[inside])]
            hit[i], weights[i] = cut[k], (1 - u[k] - v[k], u[k], v[k])
    return hit, weights

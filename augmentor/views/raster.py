"""Rasterise triangles with a depth buffer: which triangle each pixel shows, and where in the triangle it lies.

Plain numpy, all triangles at once. It suits surfaces whose triangles cover a few pixels each (a head of about ten
thousand triangles at 150 px): every pixel of every triangle's bounding box is tested in one array.
"""

import numpy as np

# Largest sum of the pixels of all bounding boxes; with more the arrays would not fit in memory.
MAX_CANDIDATES = 20_000_000


def rasterise(
    points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest triangle at every pixel centre.

    Deterministic: among triangles at equal depth the one with the lowest number wins. Only triangles whose corners run
    clockwise on the screen (y down) are drawn; the others show their back.

    Convention:
        Pixel centres have integer coordinates; smaller depth is nearer.

    Args:
        points: (V, 2) float, (x, y) in pixels.
        depth: (V,) float.
        triangles: (T, 3) int vertex numbers.
        size: (height, width) in pixels.

    Returns:
        `triangle` (H, W) int32, -1 where there is none, and `weights` (H, W, 3) float32, barycentric, in the order of
        the triangle's vertices.

    Raises:
        ValueError: the triangles cover too many pixels (MAX_CANDIDATES).
    """
    height, width = size
    triangle_map = np.full(height * width, -1, np.int32)
    weight_map = np.zeros((height * width, 3), np.float32)
    corner = np.asarray(points, np.float64)[triangles]  # (T, 3, 2)
    low = np.maximum(np.ceil(corner.min(1)), 0).astype(np.int64)
    high = np.minimum(np.floor(corner.max(1)), [width - 1, height - 1]).astype(np.int64)
    area = _cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    kept = np.flatnonzero((high >= low).all(1) & (area > 1e-9))
    if len(kept) == 0:
        return triangle_map.reshape(size), weight_map.reshape(height, width, 3)
    low, extent = low[kept], (high - low + 1)[kept]
    count = extent.prod(1)
    if count.sum() > MAX_CANDIDATES:
        raise ValueError(f"{count.sum()} candidate pixels, more than {MAX_CANDIDATES}: use a smaller picture")
    owner = np.repeat(np.arange(len(kept)), count)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    row, column = np.divmod(step, np.repeat(extent[:, 0], count))
    inside, weights = _inside(_edge_functions(corner[kept], area[kept], low), owner, column, row)
    owner = owner[inside]
    pixel = (row[inside] + low[owner, 1]) * width + column[inside] + low[owner, 0]
    number = kept[owner]
    candidate_depth = (weights * np.asarray(depth, np.float64)[triangles[number]]).sum(1)
    # The farthest come first, so that the nearest triangle is the last to be written to a pixel.
    order = np.lexsort((-number, -candidate_depth))
    triangle_map[pixel[order]] = number[order]
    weight_map[pixel[order]] = weights[order]
    return triangle_map.reshape(size), weight_map.reshape(height, width, 3)


def interpolate(
    triangle_map: np.ndarray, weights: np.ndarray, triangles: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Interpolate per-vertex values at the pixels that `rasterise` covered.

    Args:
        triangle_map: (H, W) int32, -1 where there is none.
        weights: (H, W, 3) float32.
        triangles: (T, 3) int.
        values: (V, C) float.

    Returns:
        (H, W, C) float32, zero where there is no triangle.
    """
    covered = triangle_map >= 0
    out = np.zeros((*triangle_map.shape, values.shape[1]), np.float32)
    corner, share = triangles[triangle_map[covered]], weights[covered]
    single = values.astype(np.float32)
    out[covered] = sum(single[corner[:, k]] * share[:, k, None] for k in range(3))
    return out


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the z components of the cross products of rows."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _edge_functions(corner: np.ndarray, area: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Return barycentric coordinates as linear functions (T, 3 weights, [x, y, 1]) of pixels counted from `origin`."""
    corner = corner - origin[:, None]
    start, end = np.roll(corner, -1, 1), np.roll(corner, -2, 1)
    functions = np.stack([start[..., 1] - end[..., 1], end[..., 0] - start[..., 0], _cross(start, end)], -1)
    return functions / area[:, None, None]


def _inside(
    functions: np.ndarray, owner: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the candidate pixels inside their triangles, and their barycentric coordinates."""
    index = np.arange(len(owner))
    for k in range(3):
        a, b, c = functions[owner[index], k].T
        index = index[a * x[index] + b * y[index] + c >= -1e-9]
    place = np.stack([x[index], y[index], np.ones(len(index))], 1)
    return index, np.einsum("nkc,nc->nk", functions[owner[index]], place)

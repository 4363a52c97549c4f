"""Rasterise triangles with numpy alone, with normals and shadows, for the pictures of made-up people.

Convention:
    Points are in the camera's frame (x right, y down, z away from the camera; mm) or projected to pixels. Triangles
    are ordered so that cross(b - a, c - a) points outwards, like the head model's.
"""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Surface:
    """A textured mesh.

    Attributes:
        points: (V, 3) float32, mm.
        normals: (V, 3) float32 unit vectors pointing outwards.
        uv: (V, 2) float32 texture coordinates in texture pixels.
        triangles: (T, 3) int32.
    """

    points: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray


@dataclass(frozen=True)
class Fragments:
    """The pixels that one surface covers, flattened.

    Attributes:
        pixel: (N,) int32 index into the flattened image.
        triangle: (N,) int64 row of the triangles.
        weights: (N, 3) float32 barycentric coordinates.
    """

    pixel: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray

    def only(self, kept: np.ndarray) -> "Fragments":
        """Return only those pixels that `kept`, (N,) bool, marks."""
        return Fragments(self.pixel[kept], self.triangle[kept], self.weights[kept])

    def interpolate(self, values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Interpolate values (V, C) at the vertices to values (N, C) at the pixels."""
        corners = triangles[self.triangle]
        result = values[corners[:, 0]] * self.weights[:, 0:1]
        result += values[corners[:, 1]] * self.weights[:, 1:2]
        result += values[corners[:, 2]] * self.weights[:, 2:3]
        return result


def rasterise(
    points_2d: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: tuple[int, int], *, side: int = 1
) -> Fragments:
    """Determine the nearest triangle at every pixel.

    Every triangle is expanded to the pixels of its bounding box at once. The painter's algorithm, triangle by triangle,
    decides which are hidden; this is exact enough for meshes as fine as a head's.

    Args:
        points_2d: (V, 2) in (x, y) pixels.
        depth: (V,); larger is farther.
        triangles: (T, 3).
        size: (height, width) in pixels.
        side: +1 keeps triangles that face the camera, -1 those that face away, 0 both.
    """
    height, width = size
    a, b, c = (points_2d[triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    low = np.ceil(np.minimum(np.minimum(a, b), c) - 0.5).astype(np.int32)
    high = np.floor(np.maximum(np.maximum(a, b), c) - 0.5).astype(np.int32)
    low = np.maximum(low, 0)
    high = np.minimum(high, np.array([width - 1, height - 1], np.int32))
    facing = np.abs(area) > 1e-6 if side == 0 else area * side < -1e-6
    keep = np.flatnonzero(facing & (high >= low).all(axis=1))
    keep = keep[np.argsort(-depth[triangles[keep]].mean(axis=1), kind="stable")]
    span = high[keep] - low[keep] + 1
    count = span[:, 0] * span[:, 1]
    owner = np.repeat(np.arange(len(keep), dtype=np.int32), count)
    first = (np.cumsum(count) - count).astype(np.int32)
    local = np.arange(len(owner), dtype=np.int32) - first[owner]
    wide = span[:, 0][owner]
    row = local // wide
    column = local - row * wide
    column += low[keep, 0][owner]
    row += low[keep, 1][owner]
    # Barycentric coordinates are linear in x and y, so two planes describe a triangle.
    scale = 1.0 / area[keep]
    corner_a, corner_b, corner_c = a[keep], b[keep], c[keep]
    plane_b = np.stack([corner_c[:, 1] - corner_a[:, 1], corner_a[:, 0] - corner_c[:, 0]], axis=1)
    plane_c = np.stack([corner_a[:, 1] - corner_b[:, 1], corner_b[:, 0] - corner_a[:, 0]], axis=1)
    plane_b *= scale[:, None]
    plane_c *= scale[:, None]
    offset_b = -(plane_b * corner_a).sum(axis=1)
    offset_c = -(plane_c * corner_a).sum(axis=1)
    x = column.astype(np.float32) + np.float32(0.5)
    y = row.astype(np.float32) + np.float32(0.5)
    weight_b = plane_b[owner, 0] * x + plane_b[owner, 1] * y + offset_b[owner]
    weight_c = plane_c[owner, 0] * x + plane_c[owner, 1] * y + offset_c[owner]
    inside = np.flatnonzero((weight_b >= 0) & (weight_c >= 0) & (weight_b + weight_c <= 1))
    pixel = row[inside] * width + column[inside]
    winner = np.full(height * width, -1, np.int32)
    winner[pixel] = inside  # for repeated indices the last assignment, the nearest, stays
    pixel = np.flatnonzero(winner >= 0).astype(np.int32)
    chosen = winner[pixel]
    second, third = weight_b[chosen], weight_c[chosen]
    weights = np.stack([1 - second - third, second, third], axis=1).astype(np.float32)
    return Fragments(pixel, keep[owner[chosen]], weights)


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return unit normals (V, 3) at the vertices, weighted by the area of the triangles around them."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.empty_like(points)
    flat = triangles.ravel()
    for axis in range(3):
        normals[:, axis] = np.bincount(flat, np.repeat(faces[:, axis], 3), minlength=len(points))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Look up texture pixels (N, 2) bilinearly; beyond the edge, the edge continues. Returns (N, C)."""
    columns = 512
    rows = -(-len(uv) // columns)
    padded = np.zeros((rows * columns, 2), np.float32)
    padded[: len(uv)] = uv
    grid = padded.reshape(rows, columns, 2)
    looked_up = cv2.remap(
        texture, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return looked_up.reshape(rows * columns, -1)[: len(uv)]


@dataclass(frozen=True)
class ShadowMap:
    """Depth from the direction of the light, which decides which points the light reaches.

    Attributes:
        axes: (3, 3); rows are the directions right, down and away from the light.
        origin: (2,) mm along the first two axes, the corner of the map.
        scale: pixels per mm.
        depth: (resolution, resolution) mm along the third axis.
    """

    axes: np.ndarray
    origin: np.ndarray
    scale: float
    depth: np.ndarray

    def lit(self, points: np.ndarray, bias: float = 4.0) -> np.ndarray:
        """Return how much of the light reaches each of (N, 3) points, 0 to 1, with edges that are a few mm soft."""
        place = points @ self.axes.T
        x = (place[:, 0] - self.origin[0]) * self.scale - 0.5
        y = (place[:, 1] - self.origin[1]) * self.scale - 0.5
        reached = np.zeros(len(points), np.float32)
        for shift_x, shift_y in ((-0.8, -0.4), (0.8, 0.4), (-0.4, 0.8), (0.4, -0.8)):
            nearest = sample_texture(self.depth, np.stack([x + shift_x, y + shift_y], axis=1))[:, 0]
            reached += np.clip((nearest + bias - place[:, 2]) / bias + 1, 0, 1)
        return reached / 4


def shadow_map(surfaces: list[Surface], to_light: np.ndarray, resolution: int = 128) -> ShadowMap:
    """Compute the depth of surfaces from the direction of the light.

    Args:
        surfaces: the surfaces that cast shadows.
        to_light: (3,) unit vector from the scene to the light.
        resolution: pixels along each side.
    """
    forward = -np.asarray(to_light, np.float32)
    right = np.cross(np.array([0, 1, 0], np.float32), forward)
    right /= max(float(np.linalg.norm(right)), 1e-6)
    axes = np.stack([right, np.cross(forward, right), forward]).astype(np.float32)
    places = [surface.points @ axes.T for surface in surfaces]
    corner = np.min([p[:, :2].min(axis=0) for p in places], axis=0)
    extent = float((np.max([p[:, :2].max(axis=0) for p in places], axis=0) - corner).max())
    scale = resolution / extent
    depth = np.full(resolution * resolution, 1e6, np.float32)
    for surface, points in zip(surfaces, places, strict=True):
        points_2d = (points[:, :2] - corner) * scale
        fragments = rasterise(points_2d, points[:, 2], surface.triangles, (resolution, resolution), side=0)
        values = fragments.interpolate(points[:, 2:3], surface.triangles)[:, 0]
        depth[fragments.pixel] = np.minimum(depth[fragments.pixel], values)
    return ShadowMap(axes, corner.astype(np.float32), scale, depth.reshape(resolution, resolution))

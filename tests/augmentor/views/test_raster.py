"""Tests of `augmentor.views.raster`: pixels worked out by hand, a sphere and a plane from geometry."""

import cv2
import numpy as np

from augmentor.views.raster import interpolate, rasterise

TRIANGLE = np.array([[0, 1, 2]])


def test_triangle_covers_exactly_the_pixel_centres_inside() -> None:
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    triangle_map, _ = rasterise(points, np.ones(3), TRIANGLE, (4, 4))
    expected = np.array([[0, 0, 0, 0], [0, 0, 0, -1], [0, 0, -1, -1], [0, -1, -1, -1]])
    np.testing.assert_array_equal(triangle_map, expected)


def test_nearer_triangle_wins_whatever_the_order() -> None:
    square = np.array([[-1.0, -1.0], [9.0, -1.0], [-1.0, 9.0]])
    points = np.concatenate([square, square])
    depth = np.array([5.0, 5, 5, 2, 2, 2])
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    assert (rasterise(points, depth, triangles, (3, 3))[0] == 1).all()
    assert (rasterise(points, depth, triangles[::-1], (3, 3))[0] == 0).all()


def test_back_of_a_triangle_is_not_drawn() -> None:
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    assert (rasterise(points, np.ones(3), TRIANGLE[:, ::-1], (4, 4))[0] == -1).all()


def test_values_are_interpolated_linearly() -> None:
    points = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    triangle_map, weights = rasterise(points, np.ones(3), TRIANGLE, (5, 5))
    values = interpolate(triangle_map, weights, TRIANGLE, points)  # a pixel's own coordinates
    y, x = np.nonzero(triangle_map >= 0)
    np.testing.assert_allclose(values[y, x], np.stack([x, y], 1), atol=1e-5)
    assert not interpolate(triangle_map, weights, TRIANGLE, points)[triangle_map < 0].any()


def test_triangles_outside_the_picture_cost_nothing_and_draw_nothing() -> None:
    triangle_map, weights = rasterise(
        np.array([[50.0, 50], [60, 50], [50, 60]]), np.ones(3), TRIANGLE, (4, 4)
    )
    assert (triangle_map == -1).all() and not weights.any()


def test_a_sphere_has_the_depth_and_normals_of_a_sphere() -> None:
    radius, distance, focal, size = 50.0, 400.0, 400.0, 101
    polar, around = np.meshgrid(np.linspace(0, np.pi, 181), np.linspace(0, 2 * np.pi, 361))
    normals = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), -np.cos(polar)], -1
    ).reshape(-1, 3)
    vertices = radius * normals + [0, 0, distance]
    number = np.arange(361 * 181).reshape(361, 181)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
    points = vertices[:, :2] * focal / vertices[:, 2:] + size // 2
    triangle_map, weights = rasterise(points, vertices[:, 2], triangles, (size, size))
    shown = interpolate(triangle_map, weights, triangles, np.concatenate([vertices, normals], 1))
    y, x = np.mgrid[:size, :size] - size // 2
    ray = np.stack([x / focal, y / focal, np.ones_like(x, float)], -1)
    # A ray meets the sphere twice, where |t ray - centre| = radius; the nearer place counts.
    along, across = (ray**2).sum(-1), distance
    inside = across**2 - along * (distance**2 - radius**2)
    true = ((across - np.sqrt(np.maximum(inside, 0))) / along)[..., None] * ray
    well = inside > 0.15 * inside.max()  # off the outline, where depth falls away steeply
    assert (triangle_map[well] >= 0).all() and (triangle_map[inside < -0.02 * inside.max()] < 0).all()
    assert np.abs(shown[..., :3] - true)[well].max() < 0.3  # mm; facets of one degree
    cosine = (shown[..., 3:] * ((true - [0, 0, distance]) / radius)).sum(-1)
    assert np.degrees(np.arccos(np.clip(cosine[well], -1, 1))).max() < 2


def test_a_slanted_plane_lies_where_its_homography_says() -> None:
    focal, size = 300.0, 64
    corners = np.array([[-40.0, -40, 380], [40, -40, 420], [-40, 40, 380], [40, 40, 420]])
    texture = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    fine = 40  # weights are linear in the picture, not in space; small triangles keep the difference small
    grid = np.linspace(0, 1, fine + 1)
    u, v = (axis.ravel() for axis in np.meshgrid(grid, grid))
    bilinear = np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], 1)
    vertices, places = bilinear @ corners, bilinear @ texture
    number = np.arange((fine + 1) ** 2).reshape(fine + 1, -1)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
    points = vertices[:, :2] * focal / vertices[:, 2:] + size / 2
    triangle_map, weights = rasterise(points, vertices[:, 2], triangles, (size, size))
    shown = interpolate(triangle_map, weights, triangles, places)
    homography = cv2.getPerspectiveTransform(
        (corners[:, :2] * focal / corners[:, 2:] + size / 2).astype(np.float32), texture.astype(np.float32)
    )
    y, x = np.nonzero(triangle_map >= 0)
    true = cv2.perspectiveTransform(np.stack([x, y], 1)[None].astype(float), homography)[0]
    assert len(x) > 3000
    np.testing.assert_allclose(shown[y, x], true, atol=1e-3)

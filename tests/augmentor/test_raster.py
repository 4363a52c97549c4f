"""`augmentor.raster`: pixels by hand."""

import numpy as np

from augmentor.raster import interpolate, rasterise

TRIANGLE = np.array([[0, 1, 2]])


def test_triangle_covers_exactly_the_pixel_centres_inside() -> None:
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    found, _ = rasterise(points, np.ones(3), TRIANGLE, (4, 4))
    expected = np.array([[0, 0, 0, 0], [0, 0, 0, -1], [0, 0, -1, -1], [0, -1, -1, -1]])
    np.testing.assert_array_equal(found, expected)


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
    found, weights = rasterise(points, np.ones(3), TRIANGLE, (5, 5))
    values = interpolate(found, weights, TRIANGLE, points)  # a pixel's own coordinates
    y, x = np.nonzero(found >= 0)
    np.testing.assert_allclose(values[y, x], np.stack([x, y], 1), atol=1e-5)
    assert not interpolate(found, weights, TRIANGLE, points)[found < 0].any()


def test_triangles_outside_the_picture_cost_nothing_and_draw_nothing() -> None:
    found, weights = rasterise(np.array([[50.0, 50], [60, 50], [50, 60]]), np.ones(3), TRIANGLE, (4, 4))
    assert (found == -1).all() and not weights.any()

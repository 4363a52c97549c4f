import numpy as np
import pytest

from augmentor.faces.five_points import USUAL_PLACES, five_of_68, five_point_transform, similarity


def moved(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


def test_a_turned_scaled_and_moved_face_comes_back_to_its_places() -> None:
    angle, scale = 0.7, 3.2
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = USUAL_PLACES @ linear.T + [400, 30]
    np.testing.assert_allclose(moved(points, five_point_transform(points)), USUAL_PLACES, atol=1e-9)


def test_a_smaller_chip_shows_the_same_part_of_the_photo() -> None:
    whole, half = (five_point_transform(USUAL_PLACES * 2 + 7, size) for size in (150, 75))
    corners = np.array([[-0.5, -0.5], [149.5, -0.5], [-0.5, 149.5]])
    back = np.linalg.solve(whole[:, :2], (corners - whole[:, 2]).T).T
    np.testing.assert_allclose(moved(back, half), (corners + 0.5) / 2 - 0.5, atol=1e-9)


def test_no_other_similarity_comes_nearer() -> None:
    rng = np.random.default_rng(0)
    points = USUAL_PLACES + rng.normal(size=(5, 2)) * 4
    best = similarity(points, USUAL_PLACES)
    least = np.square(moved(points, best) - USUAL_PLACES).sum()
    for _ in range(50):
        cos, sin, x, y = np.array([best[0, 0], best[1, 0], *best[:, 2]]) + rng.normal(size=4) * 0.01
        other = np.array([[cos, -sin, x], [sin, cos, y]])
        assert np.square(moved(points, other) - USUAL_PLACES).sum() >= least


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2))])
def test_points_that_give_no_chip_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError):
        five_point_transform(points)


def test_five_points_of_68_landmarks() -> None:
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48] = (10, 20), (30, 20)
    landmarks[30], landmarks[48], landmarks[54] = (20, 30), (12, 40), (28, 40)
    np.testing.assert_array_equal(five_of_68(landmarks), [(10, 20), (30, 20), (20, 30), (12, 40), (28, 40)])

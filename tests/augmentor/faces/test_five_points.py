"""The five points, and the similarity between two sets of points."""

import numpy as np
import pytest

from augmentor.faces.five_points import five_of_68, similarities, similarity

PLACES = np.array([(47.0, 46.0), (102.0, 46.0), (74.0, 78.0), (51.0, 104.0), (97.0, 103.0)])


def moved(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


def test_a_turned_scaled_and_moved_face_comes_back_to_its_places() -> None:
    angle, scale = 0.7, 3.2
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = PLACES @ linear.T + [400, 30]
    np.testing.assert_allclose(moved(points, similarity(points, PLACES)), PLACES, atol=1e-9)


def test_a_mirror_image_is_not_mirrored_back() -> None:
    transform = similarity(PLACES * (-1, 1), PLACES)
    assert np.linalg.det(transform[:, :2]) > 0


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2))])
def test_points_that_give_no_similarity_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError):
        similarity(points, PLACES)


def test_one_face_whose_points_coincide_is_noticed_among_others() -> None:
    with pytest.raises(ValueError, match="coincide"):
        similarities(np.stack([PLACES, np.zeros((5, 2))]), PLACES)


def test_five_points_of_68_landmarks() -> None:
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48] = (10, 20), (30, 20)
    landmarks[30], landmarks[48], landmarks[54] = (20, 30), (12, 40), (28, 40)
    expected = [(10, 20), (30, 20), (20, 30), (12, 40), (28, 40)]
    np.testing.assert_array_equal(five_of_68(landmarks), expected)
    np.testing.assert_array_equal(five_of_68(np.stack([landmarks, landmarks + 1]))[1], np.array(expected) + 1)
    assert five_of_68(np.zeros((68, 3))).shape == (5, 3)

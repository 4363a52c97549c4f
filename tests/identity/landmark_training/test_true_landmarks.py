"""True landmarks of turned heads."""

import functools

import numpy as np
import pytest

from augmentor.faces.landmark_net import MIRROR68
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.head.pose import HeadPose, rotation_from_pose
from identity.landmark_training.true_landmarks import TrueLandmarks, true_landmarks, visible_landmarks

_DISTANCE, _FOCAL = 2000.0, 2000.0


@functools.cache
def head() -> HeadModel:
    return load_head_model()


def seen_at(yaw: float, pitch: float = 0.0) -> tuple[TrueLandmarks, np.ndarray]:
    """Return the mean head's landmarks at a pose, and which are visible."""
    rotation = rotation_from_pose(HeadPose(yaw, pitch, 0))
    inner = head().mean[head().landmarks68] + head().landmark_offsets

    def to_pixels(points: np.ndarray) -> np.ndarray:
        in_camera = points @ rotation.T + [0, 0, _DISTANCE]
        return in_camera[:, :2] * (_FOCAL / in_camera[:, 2:])

    def depth(points: np.ndarray) -> np.ndarray:
        return points @ rotation[2] + _DISTANCE

    truth = true_landmarks(head().mean, inner, to_pixels, head())
    return truth, visible_landmarks(truth, head().mean, to_pixels, depth, head())


def test_a_frontal_head_shows_all_landmarks_and_is_symmetric() -> None:
    truth, visible = seen_at(0)
    assert visible.all()
    assert np.allclose(truth.landmarks_2d, truth.landmarks_2d[MIRROR68] * [-1, 1], atol=0.2)
    inner = head().mean[head().landmarks68] + head().landmark_offsets
    assert np.array_equal(truth.points[17:], inner[17:])


@pytest.mark.parametrize("yaw", [30.0, 60.0, 90.0])
def test_the_far_side_of_the_contour_lies_on_the_outline(yaw: float) -> None:
    truth, _ = seen_at(yaw)
    far = truth.landmarks_2d[:8]
    own_places = head().mean[head().landmarks68[:8]]
    in_camera = own_places @ rotation_from_pose(HeadPose(yaw, 0, 0)).T + [0, 0, _DISTANCE]
    fixed = in_camera[:, :2] * (_FOCAL / in_camera[:, 2:])
    # The nose points to the image's left, and the outline is further left than the places before the far ear.
    assert (far[:, 0] < fixed[:, 0] + 5).all()
    assert (far[:3, 0] < fixed[:3, 0] - 4).all()


def test_the_other_profile_is_the_mirror_image() -> None:
    one, shown = seen_at(75)
    other, seen = seen_at(-75)
    assert np.allclose(one.landmarks_2d, other.landmarks_2d[MIRROR68] * [-1, 1], atol=0.3)
    assert (shown == seen[MIRROR68]).mean() > 0.95


def test_a_profile_hides_the_far_eye_and_brow_and_shows_the_near_ones() -> None:
    _, visible = seen_at(85)  # the far side is that on the image's left of a frontal face
    hidden = [*range(36, 42), *range(17, 21), 31, 48, 60]
    shown = [44, 45, 46, *range(23, 27), 35, 54, 8, *range(9, 17), 27, 30]
    assert not visible[hidden].any() and visible[shown].all()


def test_a_head_turned_by_30_degrees_hides_nothing() -> None:
    assert seen_at(30)[1].all() and seen_at(-30)[1].all()

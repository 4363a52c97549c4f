"""The choice of the predictor by turn, and landmarks of tilted and turned made-up people."""

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest

from augmentor.faces import landmarks_by_turn
from augmentor.faces.face_search import Detection
from augmentor.faces.five_points import five_of_68
from augmentor.faces.landmark_net import find_landmarks
from augmentor.faces.landmarks_by_turn import LandmarksByTurn, turn_of_landmarks, upright_landmarks
from augmentor.head.head_model import load_head_model
from augmentor.head.pose import HeadPose, fit_face, rotation_from_pose
from augmentor.made_up.person import make_person, plan_shot
from augmentor.made_up.render import Studio


@functools.cache
def studio() -> Studio:
    return Studio(load_head_model())


@functools.cache
def photo_at(yaw: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a made-up photo of 256 px at a yaw, and the head model's landmarks in it."""
    person = make_person(3, 0, len(studio().head.identity_modes), name="nobody")
    shot = replace(plan_shot(person, 3, 0, 0), yaw=yaw, pitch=0.0, roll=0.0, face_share=0.35, glasses=None)
    photo = studio().take(person, studio().looks(person), shot, 256)
    return photo.image, photo.landmarks


def detection(points: np.ndarray) -> Detection:
    return Detection((0, 0, 10, 10), 1.0, points.astype(np.float32))


@pytest.mark.parametrize("yaw", [-60, -20, 0, 20, 60])
def test_the_turn_follows_from_the_landmarks(yaw: float) -> None:
    head = load_head_model()
    turned = head.landmarks() @ rotation_from_pose(HeadPose(yaw, 0, 15)).T
    assert turn_of_landmarks(turned[:, :2]) == pytest.approx(yaw, abs=10)


def test_frontal_faces_get_dlibs_landmarks_and_turned_ones_the_nets() -> None:
    image, true = photo_at(5.0)
    points = five_of_68(true)
    found = LandmarksByTurn()(image, detection(points))
    assert np.allclose(found.places, upright_landmarks(image, points.astype(np.float32)), atol=1e-3)
    assert np.array_equal(found.visible, find_landmarks(image, points).visible)
    image, true = photo_at(70.0)
    points = five_of_68(true)
    found = LandmarksByTurn()(image, detection(points))
    assert np.allclose(found.places, find_landmarks(image, points).places, atol=1e-3)


@pytest.mark.parametrize("yaw", [-80.0, -45.0, 0.0, 45.0, 80.0])
def test_the_fitted_turn_is_the_true_one(yaw: float) -> None:
    image, true = photo_at(yaw)
    found = LandmarksByTurn()(image, detection(five_of_68(true)))
    fit = fit_face(found.places, load_head_model(), image.shape[:2], visible=found.visible)
    assert abs(fit.camera.turn.turn - yaw) < 10


def test_a_profile_hides_the_far_eye() -> None:
    image, true = photo_at(80.0)
    visible = LandmarksByTurn()(image, detection(five_of_68(true))).visible
    assert not visible[36:42].any() and visible[[45, 30, 8]].all()


def test_dlib_places_a_tilted_face_as_an_upright_one() -> None:
    image, true = photo_at(5.0)
    points = five_of_68(true)
    upright = upright_landmarks(image, points)
    middle = (image.shape[0] - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), 70, 1.0)
    tilted = cv2.warpAffine(image, turn, image.shape[:2], borderMode=cv2.BORDER_REPLICATE)
    found = upright_landmarks(tilted, points @ turn[:, :2].T + turn[:, 2])
    eyes = np.linalg.norm(true[36] - true[45])
    assert np.linalg.norm(found - (upright @ turn[:, :2].T + turn[:, 2]), axis=1).mean() < 0.02 * eyes


def test_a_face_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="five points"):
        LandmarksByTurn()(np.zeros((90, 90, 3), np.uint8), Detection((0, 0, 10, 10), 1.0))


def test_the_source_can_be_compared_and_names_both_predictors() -> None:
    source = LandmarksByTurn()
    source.check_models()
    assert source == LandmarksByTurn() and source.offsets.shape == (68, 3)
    assert source.version.startswith(f"{landmarks_by_turn.VERSION}-dlib")

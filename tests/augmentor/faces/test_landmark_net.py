"""The landmark net, on made-up people, whose landmarks are known."""

import functools
from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces import landmark_net
from augmentor.faces.five_points import MEAN_FACE, MIRROR5, five_of_68
from augmentor.faces.landmark_net import MIRROR68, SIDE, check_net, crop_transform, find_landmarks
from augmentor.head.head_model import load_head_model
from augmentor.head.pose import HeadPose, fit_face
from augmentor.made_up.person import make_person, plan_shot
from augmentor.made_up.render import Studio


@functools.cache
def made_up_photo() -> tuple[np.ndarray, np.ndarray, HeadPose]:
    """Return a made-up photo of 256 px, its landmarks as the head model has them, and its pose."""
    head = load_head_model()
    studio = Studio(head)
    person = make_person(3, 0, len(head.identity_modes), name="nobody")
    photo = studio.take(person, studio.looks(person), plan_shot(person, 3, 0, 0), 256)
    return photo.image, photo.landmarks, HeadPose(photo.yaw, photo.pitch, photo.roll)


def test_the_crop_has_the_usual_places_where_a_chip_has_them() -> None:
    crop_from_chip = crop_transform(MEAN_FACE)
    assert np.allclose(crop_from_chip[:, :2], np.eye(2) * SIDE / landmark_net.WINDOW)
    middle = crop_from_chip[:, :2] @ landmark_net.CENTRE + crop_from_chip[:, 2]
    assert np.allclose(middle, (SIDE - 1) / 2)


def test_mirroring_landmarks_twice_changes_nothing() -> None:
    assert np.array_equal(MIRROR68[MIRROR68], np.arange(68))
    assert np.array_equal(MIRROR68[[0, 8, 17, 36, 39, 48, 60]], [16, 8, 26, 45, 42, 54, 64])


def test_landmarks_lie_near_the_true_ones_and_give_the_pose() -> None:
    image, true, pose = made_up_photo()
    found, visible = find_landmarks(image, five_of_68(true))
    assert found.shape == (68, 2) and found.dtype == np.float32
    assert visible.shape == (68,) and visible.dtype == bool
    eyes = np.linalg.norm(true[36] - true[45])
    assert (
        np.linalg.norm(found - true, axis=1).mean() < 0.1 * eyes
    )  # the head's own landmarks, not the annotators'
    fitted = fit_face(found, load_head_model(), image.shape[:2]).camera.pose
    assert abs(fitted.yaw - pose.yaw) < 6 and abs(fitted.roll - pose.roll) < 4


def test_a_mirrored_photo_has_mirrored_landmarks() -> None:
    image, true, _ = made_up_photo()
    points = five_of_68(true)
    found, visible = find_landmarks(image, points)
    flipped = np.ascontiguousarray(image[:, ::-1])
    across = image.shape[1] - 1
    other, seen = find_landmarks(flipped, points[MIRROR5] * [-1, 1] + [across, 0])
    # Resampling rounds a little differently in a mirror image.
    assert np.abs(other[MIRROR68] * [-1, 1] + [across, 0] - found).max() < 1.5
    assert (seen[MIRROR68] == visible).mean() > 0.95


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_that_lies_on_its_side_has_the_same_landmarks(turns: int) -> None:
    image, true, _ = made_up_photo()
    points = five_of_68(true)
    found, _ = find_landmarks(image, points)
    side = image.shape[0] - 1
    turned, moved, expected = image, points, found
    for _ in range(turns):
        turned = cv2.rotate(turned, cv2.ROTATE_90_CLOCKWISE)
        moved, expected = (np.column_stack([side - p[:, 1], p[:, 0]]) for p in (moved, expected))
    again, _ = find_landmarks(turned, moved)
    assert np.abs(again - expected).max() < 1.0


def test_the_size_of_the_photo_does_not_matter_much() -> None:
    image, true, _ = made_up_photo()
    found, _ = find_landmarks(image, five_of_68(true))
    large = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    again, _ = find_landmarks(large, (five_of_68(true) + 0.5) * 3 - 0.5)
    eyes = np.linalg.norm(true[36] - true[45])
    assert np.abs((again + 0.5) / 3 - 0.5 - found).max() < 0.05 * eyes


def test_points_that_coincide_are_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        find_landmarks(np.zeros((90, 90, 3), np.uint8), np.ones((5, 2)))


def test_the_file_is_the_published_one() -> None:
    check_net()


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark_net, "FILE", tmp_path / "landmarks68.tflite")
    with pytest.raises(InputError, match="cannot be read"):
        check_net()
    landmark_net.FILE.write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        check_net()

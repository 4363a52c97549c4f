"""The crop geometry: the same at any scale, and of a frontal face nearly that of dlib."""

from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest

from augmentor.faces.chip import chip_landmarks, chip_transform, chip_transforms, cut_chip, usual_places
from augmentor.faces.face_source import face_source
from augmentor.model_files.known_models import FACE_EMBEDDING
from augmentor.model_files.model_store import model_path
from augmentor.photos.images import load_image
from tests.augmentor.faces.test_hog_faces import draw_face, plain

LFW = Path(__file__).parents[3].parent / "shared" / "data" / "lfw1013"


POINTS = np.array([[60.0, 70.0], [110.0, 66.0], [88.0, 95.0], [66.0, 122.0], [108.0, 119.0]])


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    """A drawn face, (500, 500, 3), slightly turned, and its five points."""
    image = draw_face(plain(500, 500), (250, 250), 380)
    turn = cv2.getRotationMatrix2D((250, 250), 10, 1)
    image = cv2.warpAffine(image, turn, (500, 500), borderMode=cv2.BORDER_REPLICATE)
    return image, face_source("hog")(image).faces[0].points


def moved(points: np.ndarray, scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    """Points turned, scaled and shifted."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


def test_chip_does_not_depend_on_scale_turn_and_place(face: tuple[np.ndarray, np.ndarray]) -> None:
    points = face[1].astype(np.float64)
    expected = chip_landmarks(points, chip_transform(points))
    for scale, degrees, shift in [(0.1, 0, (0, 0)), (7.3, 25, (-90, 40)), (1, -170, (0.25, 0.5))]:
        other = moved(points, scale, degrees, shift)
        found = chip_landmarks(other, chip_transform(other))
        assert np.abs(found - expected).max() < 0.1


def test_points_keep_their_fractions(face: tuple[np.ndarray, np.ndarray]) -> None:
    points = face[1] + np.float32(0.25)
    shift = chip_transform(points)[:, 2] - chip_transform(face[1])[:, 2]
    linear = chip_transform(face[1])[:, :2]
    assert np.allclose(shift, -linear @ [0.25, 0.25], atol=1e-6)


def test_transform_brings_the_points_nearest_to_their_usual_places() -> None:
    transform = chip_transform(POINTS)
    assert transform.shape == (2, 3) and transform.dtype == np.float64
    (a, b), (c, d) = transform[:, :2]
    assert np.isclose(a, d) and np.isclose(b, -c)
    least = np.square(chip_landmarks(POINTS, transform) - usual_places()).sum()
    for change in np.random.default_rng(0).normal(size=(50, 4)) * 0.01:
        other = np.array([[a + change[0], b - change[1], 0], [c + change[1], d + change[0], 0]])
        other[:, 2] = transform[:, 2] + change[2:]
        assert np.square(chip_landmarks(POINTS, other) - usual_places()).sum() >= least


def test_a_face_whose_points_lie_at_their_usual_places_is_not_moved() -> None:
    for size, padding in [(150, 0.25), (96, 0.25), (150, 0.9)]:
        np.testing.assert_allclose(
            chip_transform(usual_places(size, padding), size, padding), np.eye(2, 3), atol=1e-9
        )


def test_more_padding_shows_the_same_face_smaller_around_the_same_middle() -> None:
    near, wide = usual_places(150, 0.25), usual_places(150, 1.0)
    np.testing.assert_allclose(wide - 74.5, (near - 74.5) / 2, atol=1e-9)


def test_a_transform_does_not_depend_on_the_faces_beside_it() -> None:
    faces = np.stack([POINTS, POINTS[:, ::-1], POINTS * 3 + 0.1])
    together = chip_transforms(faces)
    assert all(
        np.array_equal(chip_transform(one), with_others)
        for one, with_others in zip(faces, together, strict=True)
    )


def test_size_scales_the_chip(face: tuple[np.ndarray, np.ndarray]) -> None:
    small, large = (chip_landmarks(face[1], chip_transform(face[1], size)) for size in (75, 150))
    assert np.allclose(2 * (small + 0.5), large + 0.5, atol=0.05)


@pytest.mark.parametrize("scale", [2, 4])
def test_large_photos_are_averaged_not_sampled(face: tuple[np.ndarray, np.ndarray], scale: int) -> None:
    image, points = face
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 20, large.shape)
    noisy = np.clip(large + noise, 0, 255).astype(np.uint8)
    chip = cut_chip(noisy, (points + 0.5) * scale - 0.5)
    difference = chip.astype(float) - cut_chip(image, points)
    assert np.std(difference) < 12 / scale * 1.5
    assert abs(difference.mean()) < 1


def test_beyond_the_edge_the_photo_is_mirrored(face: tuple[np.ndarray, np.ndarray]) -> None:
    image, points = face
    columns = np.linspace(40, 200, 500).astype(np.uint8)
    ramp = np.ascontiguousarray(np.broadcast_to(columns[None, :, None], (500, 500, 3)))
    chip = cut_chip(ramp, points - np.float32([250, 0]))
    assert chip.min() >= 39
    far = cut_chip(ramp, points - np.float32([5000, 0]))
    assert far.shape == (150, 150, 3) and far.min() >= 39
    whole = cut_chip(image, points)
    assert whole.min() > 0


def test_image_is_not_modified_and_result_repeats(face: tuple[np.ndarray, np.ndarray]) -> None:
    before = face[0].copy()
    assert np.array_equal(cut_chip(*face), cut_chip(*face))
    assert np.array_equal(face[0], before)


def test_mistakes_of_the_caller_raise(face: tuple[np.ndarray, np.ndarray]) -> None:
    image, points = face
    with pytest.raises(ValueError, match="five points"):
        chip_transform(np.zeros((68, 2)))
    with pytest.raises(ValueError, match="finite points"):
        chip_transform(np.where(np.arange(10).reshape(5, 2) == 7, np.nan, POINTS))
    with pytest.raises(ValueError, match="coincide"):
        chip_transform(np.full((5, 2), 12.5))
    with pytest.raises(ValueError, match="expected"):
        cut_chip(image[..., 0], points)


@pytest.mark.data
@pytest.mark.skipif(not LFW.is_dir(), reason=f"{LFW} is not here")
def test_dlib_embeds_our_chips_nearly_as_its_own() -> None:
    embed = dlib.face_recognition_model_v1(str(model_path(FACE_EMBEDDING))).compute_face_descriptor
    finder, distances = face_source("hog"), []
    for photo in sorted((LFW / "train").rglob("*.jpg"))[::350]:
        image = load_image(photo)
        for found in finder(image).faces:
            points = dlib.points([dlib.point(int(x), int(y)) for x, y in found.landmarks])
            shape = dlib.full_object_detection(dlib.rectangle(0, 0, 1, 1), points)
            theirs = np.array(embed(dlib.get_face_chip(image, shape, 150, 0.25)))
            distances.append(np.linalg.norm(np.array(embed(cut_chip(image, found.points))) - theirs))
    assert np.median(distances) < 0.25  # dlib calls two photos the same person up to 0.6

"""The crop geometry: the same as dlib's, and the same at any scale."""

from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest

from augmentor.faces.chip import chip_landmarks, chip_transform, cut_chip
from augmentor.faces.face_source import face_source
from augmentor.faces.landmark_source import FACE_EMBEDDING, model_path
from augmentor.photos.images import load_image
from tests.augmentor.faces.test_hog_faces import draw_face, plain

LFW = Path(__file__).parents[3].parent / "shared" / "data" / "lfw1013"


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    """A drawn face, (500, 500, 3), and its landmarks, slightly turned."""
    image = draw_face(plain(500, 500), (250, 250), 380)
    turn = cv2.getRotationMatrix2D((250, 250), 10, 1)
    image = cv2.warpAffine(image, turn, (500, 500), borderMode=cv2.BORDER_REPLICATE)
    return image, face_source()(image).faces[0].landmarks


def moved(landmarks: np.ndarray, scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    """Landmarks turned, scaled and shifted."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * landmarks @ turn.T + shift


def dlib_chip(image: np.ndarray, landmarks: np.ndarray, size: int = 150) -> np.ndarray:
    """What dlib itself cuts out for these landmarks (whole pixels)."""
    points = dlib.points([dlib.point(int(x), int(y)) for x, y in landmarks])
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, 1, 1), points)
    return dlib.get_face_chip(image, shape, size, 0.25)


@pytest.mark.parametrize("size", [112, 150, 224])
def test_chip_matches_dlib(face: tuple[np.ndarray, np.ndarray], size: int) -> None:
    chip = cut_chip(*face, size)
    assert chip.shape == (size, size, 3) and chip.dtype == np.uint8
    assert np.abs(chip.astype(int) - dlib_chip(*face, size)).mean() < 2


def test_chip_does_not_depend_on_scale_turn_and_place(face: tuple[np.ndarray, np.ndarray]) -> None:
    landmarks = face[1].astype(np.float64)
    expected = chip_landmarks(landmarks, chip_transform(landmarks))
    for scale, degrees, shift in [(0.1, 0, (0, 0)), (7.3, 25, (-90, 40)), (1, -170, (0.25, 0.5))]:
        other = moved(landmarks, scale, degrees, shift)
        found = chip_landmarks(other, chip_transform(other))
        assert np.abs(found - expected).max() < 0.1


def test_landmarks_keep_their_fractions(face: tuple[np.ndarray, np.ndarray]) -> None:
    landmarks = face[1] + np.float32(0.25)
    shift = chip_transform(landmarks)[:, 2] - chip_transform(face[1])[:, 2]
    linear = chip_transform(face[1])[:, :2]
    assert np.allclose(shift, -linear @ [0.25, 0.25], atol=1e-6)


def test_transform_is_a_similarity_that_sets_the_eyes_level(face: tuple[np.ndarray, np.ndarray]) -> None:
    transform = chip_transform(face[1])
    assert transform.shape == (2, 3) and transform.dtype == np.float64
    (a, b), (c, d) = transform[:, :2]
    assert np.isclose(a, d) and np.isclose(b, -c)
    points = chip_landmarks(face[1], transform)
    assert points.dtype == np.float32
    eyes = np.array([points[36:42].mean(0), points[42:48].mean(0)])
    assert abs(eyes[1, 1] - eyes[0, 1]) < 3
    assert 20 < eyes[0, 0] < 65 < 85 < eyes[1, 0] < 130


def test_size_scales_the_chip(face: tuple[np.ndarray, np.ndarray]) -> None:
    small, large = (chip_landmarks(face[1], chip_transform(face[1], size)) for size in (75, 150))
    assert np.allclose(2 * (small + 0.5), large + 0.5, atol=0.05)


@pytest.mark.parametrize("scale", [2, 4])
def test_large_photos_are_averaged_not_sampled(face: tuple[np.ndarray, np.ndarray], scale: int) -> None:
    image, landmarks = face
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 20, large.shape)
    noisy = np.clip(large + noise, 0, 255).astype(np.uint8)
    chip = cut_chip(noisy, (landmarks + 0.5) * scale - 0.5)
    difference = chip.astype(float) - cut_chip(image, landmarks)
    assert np.std(difference) < 12 / scale * 1.5
    assert abs(difference.mean()) < 1


def test_beyond_the_edge_the_photo_is_mirrored(face: tuple[np.ndarray, np.ndarray]) -> None:
    image, landmarks = face
    columns = np.linspace(40, 200, 500).astype(np.uint8)
    ramp = np.ascontiguousarray(np.broadcast_to(columns[None, :, None], (500, 500, 3)))
    chip = cut_chip(ramp, landmarks - np.float32([250, 0]))
    assert chip.min() >= 39
    far = cut_chip(ramp, landmarks - np.float32([5000, 0]))
    assert far.shape == (150, 150, 3) and far.min() >= 39
    whole = cut_chip(image, landmarks)
    assert whole.min() > 0


def test_image_is_not_modified_and_result_repeats(face: tuple[np.ndarray, np.ndarray]) -> None:
    before = face[0].copy()
    assert np.array_equal(cut_chip(*face), cut_chip(*face))
    assert np.array_equal(face[0], before)


def test_mistakes_of_the_caller_raise(face: tuple[np.ndarray, np.ndarray]) -> None:
    image, landmarks = face
    with pytest.raises(ValueError, match="68 finite landmarks"):
        chip_transform(landmarks[:5])
    with pytest.raises(ValueError, match="68 finite landmarks"):
        chip_transform(np.where(np.arange(136).reshape(68, 2) == 70, np.nan, landmarks))
    with pytest.raises(ValueError, match="coincide"):
        chip_transform(np.full((68, 2), 12.5))
    with pytest.raises(ValueError, match="expected"):
        cut_chip(image[..., 0], landmarks)


@pytest.mark.data
@pytest.mark.skipif(not LFW.is_dir(), reason=f"{LFW} is not here")
def test_dlib_embeds_our_chips_as_its_own() -> None:
    embed = dlib.face_recognition_model_v1(str(model_path(FACE_EMBEDDING))).compute_face_descriptor
    finder, distances = face_source(), []
    for photo in sorted((LFW / "train").rglob("*.jpg"))[::350]:
        image = load_image(photo)
        for found in finder(image).faces:
            ours = np.array(embed(cut_chip(image, found.landmarks)))
            theirs = np.array(embed(dlib_chip(image, found.landmarks)))
            distances.append(np.linalg.norm(ours - theirs))
    assert np.median(distances) < 0.02 and max(distances) < 0.05

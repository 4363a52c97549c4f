"""Examples of landmarks: how they are cut, stored and varied."""

from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces.five_points import five_of_68
from augmentor.faces.landmark_net import SIDE, crop_transform
from augmentor.head.head_model import load_head_model
from identity.landmark_training.examples import (
    CANVAS,
    PHOTO,
    UNKNOWN,
    Examples,
    cut_example,
    examples_of,
    joined,
    read_examples,
)
from identity.landmark_training.from_photos import seen_from, turn_of
from identity.landmark_training.variation import plain_batch, training_batch


def some_landmarks() -> np.ndarray:
    """Return the mean head's landmarks, (68, 2) pixels of a picture of 200 px."""
    head = load_head_model()
    return head.mean[head.landmarks68][:, :2] * 0.8 + 100


def dotted() -> np.ndarray:
    """Return a picture (200, 200, 3) with a white spot at every landmark."""
    image = np.full((200, 200, 3), 60, np.uint8)
    for x, y in np.rint(some_landmarks()).astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return image


def some_examples(count: int = 6) -> Examples:
    rows = []
    for person in range(count):
        crop, landmarks, points = cut_example(dotted(), some_landmarks(), None)
        visible = np.full(68, UNKNOWN if person % 2 else 1, np.uint8)
        rows.append((crop, landmarks, visible, points, (0.0, 0.0), PHOTO, person))
    return examples_of(rows)


def test_the_crop_moves_picture_and_landmarks_alike() -> None:
    crop, landmarks, points = cut_example(dotted(), some_landmarks(), None)
    assert crop.shape == (CANVAS, CANVAS, 3)
    assert np.allclose(points, five_of_68(landmarks), atol=1e-3)
    x, y = np.rint(landmarks).astype(int).T
    assert (crop[y, x, 0] > 90).all()  # on 60


def test_examples_come_back_from_their_file(tmp_path: Path) -> None:
    examples = some_examples()
    examples.write(tmp_path / "a.npz")
    again = joined([read_examples(tmp_path / "a.npz")])
    assert len(again) == 6
    for name, value in vars(examples).items():
        assert np.array_equal(value, getattr(again, name)), name


def test_a_file_without_examples_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"a\.npz"):
        read_examples(tmp_path / "a.npz")


def test_variation_keeps_landmarks_on_their_spots() -> None:
    examples = some_examples(40)
    pixels, wanted, weights = training_batch(examples, np.arange(40), np.random.default_rng(0))
    assert pixels.shape == (40, SIDE, SIDE, 3) and wanted.shape == weights.shape == (40, 204)
    places = np.rint(wanted[:, :136].reshape(40, 68, 2) * SIDE + (SIDE - 1) / 2).astype(int)
    places = np.clip(places, 0, SIDE - 1)
    at = np.stack([crop[p[:, 1], p[:, 0]].mean() for crop, p in zip(pixels, places, strict=True)])
    # Blur, cover and contrast dim the spots of some crops, but in most they stand out.
    assert np.median(at - pixels.mean((1, 2, 3))) > 25


def test_unknown_visibility_has_no_weight() -> None:
    _, wanted, weights = training_batch(some_examples(), np.array([0, 1]), np.random.default_rng(0))
    assert (weights[0, 136:] == 1).all() and (wanted[0, 136:] == 1).all()
    assert (weights[1, 136:] == 0).all()


def test_variation_is_repeated_by_its_seed() -> None:
    first, second = (
        training_batch(some_examples(), np.arange(6), np.random.default_rng(4)) for _ in range(2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_plain_batch_is_placed_by_the_points() -> None:
    examples = some_examples(1)
    crop = plain_batch(examples)[0]
    transform = crop_transform(examples.points[0].astype(float))
    x, y = np.rint(examples.landmarks[0] @ transform[:, :2].T + transform[:, 2]).astype(int).T
    assert np.median(crop[y, x, 0]) > 100  # on 60


@pytest.mark.parametrize(("turn", "lean"), [(0, 0), (45, 30), (-80, -20), (90, 10)])
def test_a_direction_gives_a_pose_and_back(turn: float, lean: float) -> None:
    assert turn_of(seen_from(turn, lean)) == pytest.approx(turn, abs=1e-6)

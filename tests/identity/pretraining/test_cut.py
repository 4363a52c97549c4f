"""Crops of faces for pre-training, and the chips that are resampled from them."""

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces.chip import USUAL_PLACES, warp_chip
from augmentor.faces.five_points import similarity
from identity.pretraining.cut import PLAIN, POINTS5, Cut, cut_named
from identity.pretraining.mobilefacenet import CHIP_SIZE, PLACES

POINTS = USUAL_PLACES * 1.7 + [40, 90]


@pytest.fixture
def photo() -> np.ndarray:
    """A photo of soft shapes that extends beyond every chip of the face in it."""
    import cv2

    noise = np.random.default_rng(0).uniform(0, 255, (18, 18, 3)).astype("f4")
    return np.clip(cv2.resize(noise, (500, 500), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def net_chip(picture: np.ndarray, cut: Cut, size: int, places: np.ndarray | None) -> np.ndarray:
    rows, columns = cut.resampling(size, places)
    return np.einsum("ij,jkc,lk->ilc", rows, picture.astype("f4"), columns, optimize=True)


def test_the_student_gets_the_middle_of_a_picture(photo: np.ndarray) -> None:
    whole = warp_chip(photo, POINTS5.transform(POINTS, POINTS5.edge), POINTS5.edge)
    middle = warp_chip(photo, POINTS5.transform(POINTS, POINTS5.rendered), POINTS5.rendered)
    assert np.abs(POINTS5.student(whole[None])[0].astype(int) - middle).max() <= 1
    assert PLAIN.room == 1 and PLAIN.margin == 0


@pytest.mark.parametrize(("size", "places"), [(150, None), (CHIP_SIZE, PLACES)])
def test_a_teachers_chip_can_be_resampled_from_a_picture(
    photo: np.ndarray, size: int, places: np.ndarray | None
) -> None:
    picture = warp_chip(photo, POINTS5.transform(POINTS, POINTS5.edge), POINTS5.edge)
    expected = warp_chip(photo, similarity(POINTS, USUAL_PLACES if places is None else places), size)
    chip = net_chip(picture, POINTS5, size, places)
    apart = [np.abs(chip - np.roll(expected, by, axis=1)).mean() for by in (-1, 0, 1)]
    assert apart[1] < 4 < min(apart[0], apart[2])  # a shift by one pixel would be noticed


def test_dlibs_chip_is_the_picture_itself_if_it_was_aligned_by_landmarks() -> None:
    rows, columns = PLAIN.resampling(150, None)
    np.testing.assert_allclose(rows, np.eye(150), atol=1e-6)
    np.testing.assert_allclose(columns, np.eye(150), atol=1e-6)


def test_pictures_are_mirrored_beyond_their_edges() -> None:
    rows, _ = PLAIN.resampling(CHIP_SIZE, PLACES)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert rows[0].argmax() == 37  # MobileFaceNet's chip extends 37 px further up than dlib's


def test_an_unknown_crop_is_refused() -> None:
    with pytest.raises(InputError, match="plain, points5"):
        cut_named("points7")

"""`identity.chips.sharpness`: blurred faces are told before they are enrolled."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.faces.chip import cut_chip
from augmentor.faces.face_source import face_source
from augmentor.photos.images import list_photos, load_image
from identity.chips.photo_faces import PhotoFaces
from identity.chips.sharpness import LITTLE_DETAIL, blurred_line, detail
from tests.stand_in_faces import one_face

LFW = Path(__file__).parents[4] / "shared" / "data" / "lfw1013"


def textured(sigma: float, size: int = 150) -> np.ndarray:
    """A chip of noise, blurred."""
    noise = np.random.default_rng(0).normal(128, 60, (size, size, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma)
    return (128 + (blurred - 128) * (40 / blurred.std())).clip(0, 255).astype(np.uint8)


def photo(chip: np.ndarray, name: str) -> PhotoFaces:
    return one_face(Path(name), chip, name, 0)


def test_detail_falls_with_blur_and_not_with_light_or_size() -> None:
    values = [detail(textured(sigma)) for sigma in (1, 3, 6, 12)]
    assert values == sorted(values, reverse=True) and values[-1] < LITTLE_DETAIL < values[0]
    dark = (textured(3).astype(float) * 0.4).astype(np.uint8)
    assert detail(dark) == pytest.approx(detail(textured(3)), rel=0.1)
    half = cv2.resize(textured(6), (75, 75), interpolation=cv2.INTER_AREA)
    assert detail(half) == pytest.approx(detail(textured(6)), rel=0.2)
    assert detail(np.full((150, 150, 3), 90, np.uint8)) == 0


def test_the_line_names_blurred_photos_and_what_follows_if_all_are() -> None:
    sharp, soft = photo(textured(1), "a.jpg"), photo(textured(12), "b.jpg")
    assert blurred_line("Ann", [sharp], ["a.jpg"]) == ""
    assert blurred_line("Ann", [sharp, soft], ["a.jpg", "b.jpg"]) == (
        "1 of 2 photos of Ann are blurred (b.jpg); leave them out"
    )
    line = blurred_line("Ann", [soft] * 5, list("abcde"))
    assert line.startswith(
        "all photos of Ann are blurred (a, b, c, ...), so blurred strangers may be taken for Ann"
    )


@pytest.mark.data
@pytest.mark.skipif(not LFW.is_dir(), reason="needs ../shared/data/lfw1013")
def test_real_faces_are_told_apart_when_they_are_blurred() -> None:
    find, sharp, soft = face_source(), [], []
    for path in list_photos(LFW / "train")[:: 4192 // 24]:
        image = load_image(path)
        for values, seen in ((sharp, image), (soft, cv2.GaussianBlur(image, (0, 0), 4))):
            if search := find(seen):
                values.append(detail(cut_chip(seen, search.faces[0].points, 150)))
    assert len(sharp) > 20 and len(soft) > 15
    assert np.mean(np.array(sharp) < LITTLE_DETAIL) <= 0.05
    assert np.mean(np.array(soft) < LITTLE_DETAIL) >= 0.9

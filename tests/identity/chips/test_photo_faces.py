"""From one photo to the faces cut out of it; a stand-in finds the faces."""

from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import REASONS, PhotoError
from augmentor.faces.chip import cut_chip
from augmentor.faces.face_search import MIN_FACE, SEARCH_REASONS, Face, FaceSearch, Policy
from augmentor.photos.images import MAX_PIXELS, encode_jpeg, load_image, perceptual_hash
from identity.chips.photo_faces import PhotoFaces, PhotoReader, cut_again, failed
from identity.chips.whole_photo import whole_chip
from tests.stand_in_faces import StandInFaces, first_or_all


def places(x: float) -> np.ndarray:
    """(68, 2) scattered points of a face of some 60 pixels, `x` pixels to the right."""
    return np.random.default_rng(0).uniform(20, 80, (68, 2)).astype(np.float32) + np.float32([x, 0])


class TwoFaces(StandInFaces):
    """Finds two faces side by side in every photo that is not dark."""

    def __call__(
        self, image: np.ndarray, policy: Policy = "central", min_face: int = MIN_FACE, landmarks: bool = True
    ) -> FaceSearch:
        faces = [Face((x + 20.0, 20.0, 60.0, 60.0), places(x), 1.0) for x in (0, 100)]
        return first_or_all(faces if image.mean() > 50 else [], policy)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(80, 220, (100, 200, 3), np.uint8)


READER = PhotoReader(40, source=TwoFaces(), poses=False)


def test_every_face_is_cut_out_and_nothing_else_is_said_of_the_photo(image: np.ndarray) -> None:
    found = READER.image(image, "a.jpg")
    assert (found.photo, found.path, found.status, found.reason, found.detail) == (
        "a.jpg",
        Path("a.jpg"),
        "ok",
        None,
        "",
    )
    assert [face.box[0] for face in found.faces] == [20, 120] and len(found.chips) == 2
    for face in found.faces:
        assert face.chip is not None and np.array_equal(face.chip, cut_chip(image, face.points, 40))
        assert face.pose is None
    assert found.box == found.faces[0].box and np.array_equal(found.landmarks, places(0))  # type: ignore[arg-type]
    assert READER.image(np.zeros_like(image), "dark.jpg").status == "no_face"


def test_the_status_follows_from_the_reason() -> None:
    for reason in REASONS:
        expected = "no_face" if reason in SEARCH_REASONS else "error"
        assert PhotoFaces("a", Path("a"), reason).status == expected
    unread = failed(PhotoError("unreadable", "a.jpg", "no image"), "a.jpg")
    assert (unread.status, unread.detail, unread.chip, unread.box) == ("error", "no image", None, None)


def test_a_file_and_its_content_give_the_same(image: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(encode_jpeg(image))
    by_file = READER.file(file, hashed=True)
    by_content = READER.content(file.read_bytes(), "a.jpg", MAX_PIXELS)
    assert np.array_equal(by_file.chips, by_content.chips)
    assert by_file.phash == perceptual_hash(load_image(file)) and by_content.phash is None
    assert READER.content(b"no image", "b.jpg", MAX_PIXELS).reason == "unreadable"
    assert READER.content(file.read_bytes(), "a.jpg", 1000).reason == "too_large"
    known = READER.file(file, known=by_file.without_chips())
    assert by_file.without_chips().chips == [] and np.array_equal(known.chips, by_file.chips)
    faceless = PhotoFaces("", Path(), "no_face")
    assert READER.file(tmp_path / "not there", known=faceless).reason == "no_face", "it is not even opened"


def test_a_photo_used_whole_counts_as_one_face_without_landmarks(image: np.ndarray, tmp_path: Path) -> None:
    found = PhotoReader(40, "whole", source=TwoFaces()).image(image, "a.jpg")
    assert found.status == "ok" and found.box == (0, 0, 200, 100) and found.landmarks is None
    assert np.array_equal(found.chips, [whole_chip(image, 40)])


def test_a_chip_can_be_cut_again(image: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(encode_jpeg(image))
    for reader in (READER, PhotoReader(40, "whole", source=TwoFaces())):
        found = reader.file(file)
        assert np.array_equal(cut_again(found.without_chips(), 40), found.chips[0])
    with pytest.raises(ValueError, match="no face"):
        cut_again(PhotoFaces("a", file, "no_face"))


def test_a_face_is_found_again_where_it_was(image: np.ndarray) -> None:
    again = READER.face_again(image, Path("a.jpg"), (118.0, 22.0, 60.0, 60.0))
    assert again is not None and again.path == Path("a.jpg") and again.box == (120, 20, 60, 60)
    assert READER.face_again(image, Path("a.jpg"), (60.0, 20.0, 60.0, 60.0)) is None


def test_another_geometry_of_chips_goes_in_as_a_function(image: np.ndarray) -> None:
    def corner(_landmarks: np.ndarray, _size: int) -> np.ndarray:
        return np.eye(2, 3)

    found = PhotoReader(40, source=TwoFaces(), poses=False, transform=corner).image(image, "a.jpg")
    assert np.array_equal(found.chips[0], image[:40, :40])

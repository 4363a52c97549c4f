"""Finding faces, on drawn ones whose landmarks are known and on real ones."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces import hog_faces as faces
from augmentor.faces.face_search import Detection, Face, FaceSearch, centrality, overlap
from augmentor.faces.hog_faces import HogFaces, search_scales
from augmentor.faces.landmark_source import Landmarks
from augmentor.photos.images import load_image
from tests.stand_in_faces import StandInLandmarks

LFW = Path(__file__).parents[3].parent / "shared" / "data" / "lfw1013"
NO_FACE = LFW.parent / "no_face"
needs_data = pytest.mark.skipif(not LFW.is_dir(), reason=f"{LFW} is not here")


def plain(height: int, width: int) -> np.ndarray:
    """A photo of nothing."""
    return np.full((height, width, 3), (120, 140, 160), np.uint8)


def draw_face(image: np.ndarray, centre: tuple[float, float], size: float) -> np.ndarray:
    """Draw a face of `size` pixels from hair to chin onto a copy of `image`; centre (x, y), pixels."""
    scale = size / 200
    image = image.copy()

    def ellipse(x: float, y: float, a: float, b: float, colour: tuple[int, int, int]) -> None:
        middle = (round((centre[0] + x * scale) * 8), round((centre[1] + y * scale) * 8))
        axes = (round(a * scale * 8), round(b * scale * 8))
        cv2.ellipse(image, middle, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, 3)

    ellipse(0, -10, 72, 98, (60, 40, 30))
    ellipse(0, 8, 62, 84, (205, 165, 140))
    ellipse(0, -62, 58, 28, (60, 40, 30))
    for side in (-1, 1):
        ellipse(side * 27, -18, 19, 4, (70, 50, 40))
        ellipse(side * 27, -2, 15, 8, (150, 110, 90))
        ellipse(side * 27, 0, 12, 5.5, (245, 245, 245))
        ellipse(side * 27, 0, 5.5, 5.5, (40, 30, 25))
        ellipse(side * 9, 34, 4, 3, (110, 70, 60))
        ellipse(side * 12, 26, 7, 10, (185, 140, 118))
    ellipse(0, 18, 6, 26, (222, 185, 160))
    ellipse(0, 32, 11, 7, (195, 150, 128))
    ellipse(0, 56, 24, 7, (165, 80, 80))
    ellipse(0, 55, 22, 1.5, (90, 30, 30))
    ellipse(0, 72, 14, 3, (180, 135, 115))
    return cv2.GaussianBlur(image, (0, 0), 1.2 * scale)


@pytest.mark.parametrize(
    "side, centre, size",
    [
        pytest.param(250, (125, 125), 200, id="large in a small photo"),
        pytest.param(250, (120, 130), 60, id="small: only at twice the size"),
        pytest.param(250, (120, 130), 40, id="smaller: only at four times the size"),
        pytest.param(3000, (1400, 1500), 900, id="large photo, reduced"),
    ],
)
def test_a_drawn_face_and_its_landmarks_are_found(
    side: int, centre: tuple[float, float], size: float
) -> None:
    image = draw_face(plain(side, side), centre, size)
    before = image.copy()
    search = HogFaces()(image, min_face=20)
    assert search and search.reason is None and len(search.faces) == 1
    face = search.faces[0]
    assert face.landmarks.shape == (68, 2) and face.landmarks.dtype == np.float32
    assert 0.4 * size < face.side < size
    mouth = np.array([[-24, 56], [24, 56]]) * size / 200 + centre
    eyes = np.array([[-27, 0], [27, 0]]) * size / 200 + centre
    found_eyes = [face.landmarks[36:42].mean(0), face.landmarks[42:48].mean(0)]
    assert np.abs(face.landmarks[[48, 54]] - mouth).max() < 0.05 * size
    assert np.abs(np.array(found_eyes) - eyes).max() < 0.05 * size
    assert np.array_equal(image, before)


@pytest.fixture(scope="module")
def group() -> np.ndarray:
    """A large face at the left edge, a middle one in the centre, a small one at the right."""
    image = draw_face(plain(300, 640), (100, 150), 220)
    image = draw_face(image, (320, 150), 150)
    return draw_face(image, (530, 200), 90)


def centres(search: FaceSearch) -> list[int]:
    """Position of each face across the photo, pixels, to the nearest 50."""
    return [round((face.box[0] + face.box[2] / 2) / 50) * 50 for face in search.faces]


def test_policies_choose_among_several_faces(group: np.ndarray) -> None:
    assert centres(HogFaces()(group, "central")) == [300]
    assert centres(HogFaces()(group, "largest")) == [100]
    assert centres(HogFaces()(group, "all")) == [100, 300, 550]
    rejected = HogFaces()(group, "reject")
    assert not rejected and rejected.reason == "several_faces" and rejected.faces == ()


def test_reject_accepts_a_single_face() -> None:
    assert HogFaces()(draw_face(plain(250, 250), (125, 125), 180), "reject")


def test_faces_below_min_face_do_not_count(group: np.ndarray) -> None:
    assert centres(HogFaces()(group, "all", min_face=70)) == [100, 300]
    lone = draw_face(plain(200, 200), (100, 100), 80)
    assert HogFaces()(lone, min_face=32)
    assert HogFaces()(lone, min_face=100).reason == "too_small"


def test_a_central_face_wins_unless_it_is_far_smaller() -> None:
    size = (250, 250)
    subject, neighbour = (75, 75, 100, 100), (150, 40, 110, 110)
    assert centrality(subject, size) > centrality(neighbour, size)
    speck = (115, 115, 20, 20)
    assert centrality((40, 60, 110, 110), size) > centrality(speck, size)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 20)])
def test_photos_smaller_than_a_face_are_too_small(shape: tuple[int, int]) -> None:
    assert HogFaces()(plain(*shape)).reason == "too_small"


def test_a_photo_of_nothing_has_no_face() -> None:
    search = HogFaces()(plain(64, 64))
    assert not search and search.reason == "no_face"


def test_scanned_area_is_bounded() -> None:
    assert search_scales(250 * 250, every_face=False) == [2.0, 4.0]
    assert search_scales(250 * 250, every_face=True) == [2.0, 4.0]
    for pixels in (1, 10**5, 10**6, 12 * 10**6, 10**8):
        for every_face in (False, True):
            scales = search_scales(pixels, every_face=every_face)
            assert scales == sorted(scales) and scales[-1] <= 4
            assert all(scale * scale * pixels <= 16_000_001 for scale in scales)
    assert search_scales(12_000_000, every_face=False)[-1] == 1.0


def test_another_landmark_source_can_be_used() -> None:
    image = draw_face(plain(250, 250), (125, 125), 180)
    source = HogFaces(landmarks=StandInLandmarks())
    face = source(image).faces[0]
    assert face.landmarks[5].tolist() == list(face.box[:2])
    assert source.version == f"{HogFaces().version.removesuffix('-unchecked')}-corner-1-unchecked"


def test_finder_travels_to_another_process_and_finds_the_same() -> None:
    image = draw_face(plain(200, 200), (100, 100), 160)
    source = HogFaces()
    again = pickle.loads(pickle.dumps(source))
    assert again == source
    assert again(image).faces[0].box == source(image).faces[0].box
    assert np.array_equal(again(image).faces[0].landmarks, source(image).faces[0].landmarks)


def test_mistakes_of_the_caller_raise() -> None:
    with pytest.raises(ValueError, match="unknown policy"):
        HogFaces()(plain(50, 50), "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_face"):
        HogFaces()(plain(50, 50), min_face=0)
    with pytest.raises(ValueError, match="expected"):
        HogFaces()(np.zeros((50, 50), np.uint8))
    with pytest.raises(ValueError, match="either faces or a reason"):
        FaceSearch((), None)
    with pytest.raises(ValueError, match="either faces or a reason"):
        FaceSearch((Face((0, 0, 9, 9), np.zeros((68, 2), np.float32), 0.0),), "no_face")


def test_an_error_of_the_landmark_source_is_not_swallowed() -> None:
    class Broken(StandInLandmarks):
        def __call__(self, image: np.ndarray, detection: Detection) -> Landmarks:
            raise InputError("model damaged")

    with pytest.raises(InputError, match="model damaged"):
        HogFaces(landmarks=Broken())(draw_face(plain(250, 250), (125, 125), 180))


@pytest.mark.data
@needs_data
def test_real_faces_are_found_in_the_centre_and_pets_are_not() -> None:
    photos = sorted((LFW / "train").rglob("*.jpg"))[::130]
    finder = HogFaces()
    searches = [finder(load_image(photo)) for photo in photos]
    assert sum(map(bool, searches)) >= len(photos) - 1
    middles = np.array([search.faces[0].landmarks[30] for search in searches if search])
    assert np.abs(middles - 125).max() < 50
    pets = sorted(NO_FACE.rglob("*.jpg"))[::40]
    assert sum(bool(finder(load_image(photo))) for photo in pets) <= 1


def test_a_glance_counts_only_for_a_large_face_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    scales: list[float] = []
    look = faces._detect_at

    def watched(image: np.ndarray, scale: float) -> list[Detection]:
        scales.append(scale)
        return look(image, scale)

    monkeypatch.setattr(faces, "_detect_at", watched)
    assert HogFaces()(draw_face(plain(300, 300), (150, 150), 200))
    assert scales == [1.0], "a glance is enough"
    scales.clear()
    assert HogFaces()(draw_face(plain(900, 900), (160, 160), 200))
    assert len(scales) == 2 and scales[1] == pytest.approx((1_200_000 / 810_000) ** 0.5), (
        "far from the middle: the whole photo again"
    )
    scales.clear()
    assert HogFaces()(draw_face(plain(300, 300), (150, 150), 200), "all")
    assert scales == [2.0], "all faces are wanted: no glance"


class Opinions:
    """Stands in for both detectors: HOG sees boxes with scores, the CNN boxes with confidences, in photo pixels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hog: list, cnn: list) -> None:
        self.asked: list[tuple[int, ...]] = []
        self.cnn = cnn
        detections = [Detection(box, score) for box, score in hog]
        monkeypatch.setattr(faces, "_detect_at", lambda image, scale: detections)
        monkeypatch.setattr(faces, "cnn_faces", self.look)

    def look(self, image: np.ndarray) -> list:
        self.asked.append(image.shape)
        return self.cnn


BOX = (60.0, 60.0, 80.0, 80.0)


def test_a_sure_face_needs_no_second_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    opinions = Opinions(monkeypatch, [(BOX, 1.3)], [])
    assert HogFaces(True, StandInLandmarks())(plain(200, 200), "all").faces[0].box == BOX
    assert not opinions.asked


def test_a_doubtful_face_counts_only_where_the_cnn_sees_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    opinions = Opinions(
        monkeypatch, [(BOX, 0.2)], [((48.0, 48.0, 80.0, 80.0), 0.9)]
    )  # of the part it is shown
    assert HogFaces(True, StandInLandmarks())(plain(200, 200), "all")
    assert opinions.asked == [(176, 176, 3)]  # the face and what is around it
    elsewhere = [((150.0, 150.0, 20.0, 20.0), 0.6)]
    for unconvincing in ([], elsewhere, [((48.0, 48.0, 80.0, 80.0), 0.3)]):
        Opinions(monkeypatch, [(BOX, 0.2)], unconvincing)
        assert HogFaces(True, StandInLandmarks())(plain(200, 200), "all").reason == "no_face"
    assert HogFaces(landmarks=StandInLandmarks())(plain(200, 200), "all")  # without a second opinion it stays


def test_the_cnn_finds_what_hog_missed_if_it_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    Opinions(monkeypatch, [], [(BOX, 0.9)])
    found = HogFaces(True, StandInLandmarks())(plain(200, 200), "central")
    assert found.faces[0].box == BOX and found.faces[0].score == 0.9
    assert HogFaces(landmarks=StandInLandmarks())(plain(200, 200), "central").reason == "no_face"
    Opinions(monkeypatch, [], [(BOX, 0.6)])
    assert HogFaces(True, StandInLandmarks())(plain(200, 200), "central").reason == "no_face"


def test_overlap_by_hand() -> None:
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (20, 0, 10, 10)) == 0
    assert overlap(BOX, BOX) == 1


@needs_data
def test_cats_dogs_and_houses_have_no_face_on_second_thoughts() -> None:
    doubted = [NO_FACE / "dog" / f"{name}.jpg" for name in ("1464", "8889", "5404")]
    doubted += [NO_FACE / "cat" / "11072.jpg", NO_FACE / "house" / "231_bedroom.jpg"]
    assert all(HogFaces()(load_image(path)) for path in doubted)  # HOG sees faces there
    finder = HogFaces(second_opinion=True)
    assert not any(finder(load_image(path)) for path in doubted)

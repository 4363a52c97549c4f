"""CenterFace: its maps read by hand, its further outputs, its check, and the whole source on real photos."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.errors import InputError
from augmentor.faces import centerface_faces, face_check
from augmentor.faces.centerface import Maps, centerface, decode, input_size, run_net
from augmentor.faces.centerface_faces import CenterFaces, roll_of, turned_back
from augmentor.faces.chip import chip_transform
from augmentor.faces.face_check import log_odds, look_transform, probability
from augmentor.faces.face_search import Detection, FaceSearch, overlap
from augmentor.faces.onnx_outputs import with_outputs
from augmentor.head.head_model import load_head_model
from augmentor.made_up.person import make_person, plan_shot
from augmentor.made_up.render import Studio
from augmentor.photos.images import load_image

DATA = Path(__file__).parents[3].parent / "shared" / "data"
LFW, NO_FACE, BOXED = DATA / "lfw1013", DATA / "no_face", DATA / "faces_boxed"
needs_data = pytest.mark.skipif(not LFW.is_dir(), reason=f"{LFW} is not here")
POINTS = np.array([(10, 10), (20, 10), (15, 16), (11, 22), (19, 22)], np.float32)


def maps_with(places: dict[tuple[int, int], float]) -> Maps:
    """Return maps of 8 by 8 places; at (row, column) a face of 16 x 24 pixels with this score."""
    scores = np.zeros((1, 1, 8, 8), np.float32)
    for place, score in places.items():
        scores[0, 0][place] = score
    sizes = np.stack([np.full((8, 8), math.log(6.0)), np.full((8, 8), math.log(4.0))])[None]
    offsets = np.stack([np.full((8, 8), 0.25), np.full((8, 8), -0.5)])[None]
    points = np.tile(np.linspace(0.1, 1.0, 10)[:, None, None], (1, 8, 8))[None]
    return Maps(scores, sizes, offsets, points, ())


def test_maps_are_read_as_by_hand() -> None:
    found = decode(maps_with({(4, 3): 0.9}), 0, 0.5, np.array([2.0, 0.5]))
    assert len(found) == 1 and found[0].score == pytest.approx(0.9)
    # The middle is at 4 * (3 + 0.5 - 0.5) = 12 and 4 * (4 + 0.5 + 0.25) = 19 pixels of the net, the corner at (4, 7);
    # a pixel of the net is 2 wide and 0.5 high.
    assert found[0].box == pytest.approx((8, 3.5, 32, 12))
    # The first point lies 0.1 of the height below the corner and 0.2 of the width to its right.
    assert found[0].points is not None
    assert found[0].points[0] == pytest.approx([(4 + 0.2 * 16) * 2 - 0.5, (7 + 0.1 * 24) * 0.5 - 0.5])
    assert found[0].points[4] == pytest.approx([(4 + 1.0 * 16) * 2 - 0.5, (7 + 0.9 * 24) * 0.5 - 0.5])


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1000.0, -1000.0, 1e30, 0.0])
@pytest.mark.parametrize("which", ["sizes", "offsets", "points"])
def test_answers_that_give_no_chip_are_no_faces(which: str, odd: float) -> None:
    maps = maps_with({(4, 3): 0.9, (0, 0): 0.8})
    getattr(maps, which)[..., 4, 3] = odd
    found = decode(maps, 0, 0.5, np.ones(2))
    assert any(d.score == pytest.approx(0.8) for d in found)
    for detection in found:
        assert detection.points is not None
        assert np.isfinite(chip_transform(detection.points)).all() and np.isfinite(detection.box).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_to_turn_the_reduced_picture_is_to_reduce_the_turned_one(turns: int) -> None:
    head = load_head_model()
    person = make_person(3, 0, len(head.identity_modes), name="nobody")
    studio = Studio(head)
    photo = studio.take(person, studio.looks(person), plan_shot(person, 3, 0, 0), 256).image
    picture = np.ascontiguousarray(np.rot90(photo[10:, :200], -turns))  # upright if turned
    found = centerface(picture, 0.6, 0.3, turns)
    expected = centerface(np.ascontiguousarray(np.rot90(picture, turns)), 0.6, 0.3)
    assert len(found) == len(expected) == 1
    assert found[0].box == pytest.approx(expected[0].box, abs=0.5)
    assert found[0].points == pytest.approx(expected[0].points, abs=0.5)
    assert found[0].score == pytest.approx(expected[0].score, abs=0.02)


@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from(["noise", "black", "white", "steps"]),
    st.integers(1, 40),
    st.integers(0, 1000),
)
@settings(deadline=None, max_examples=40)
def test_any_picture_can_be_searched(size: tuple[int, int], kind: str, min_face: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = {
        "noise": lambda: rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        "black": lambda: np.zeros((*size, 3), np.uint8),
        "white": lambda: np.full((*size, 3), 255, np.uint8),
        "steps": lambda: np.broadcast_to(rng.integers(0, 256, (size[0], 1, 3), dtype=np.uint8), (*size, 3)),
    }[kind]()
    assert isinstance(CenterFaces()(picture, "all", min_face, "pose"), FaceSearch)


def test_of_two_boxes_of_one_face_the_surer_remains() -> None:
    one = np.ones(2)
    assert [d.score for d in decode(maps_with({(4, 3): 0.6, (4, 4): 0.8}), 0, 0.5, one)] == pytest.approx(
        [0.8]
    )
    apart = decode(maps_with({(1, 1): 0.6, (7, 7): 0.8}), 0, 0.5, one)
    assert [d.score for d in apart] == pytest.approx([0.8, 0.6])
    assert decode(maps_with({(4, 3): 0.4}), 0, 0.5, one) == []


@pytest.mark.parametrize(
    "size, scale, expected",
    [((250, 250), 1.0, (256, 256)), ((250, 250), 0.75, (192, 192)), ((9, 70), 1.0, (32, 96))],
)
def test_the_net_sees_multiples_of_32(size: tuple[int, int], scale: float, expected: tuple[int, int]) -> None:
    assert input_size(size, scale) == expected


def test_no_image_of_a_batch_changes_what_the_net_says_of_another() -> None:
    images = np.random.default_rng(0).uniform(0, 255, (3, 3, 64, 96)).astype(np.float32)
    together = run_net(images)
    for k in range(3):
        alone = run_net(images[k : k + 1])
        assert np.allclose(together.scores[k], alone.scores[0], atol=1e-4)
        assert np.allclose(together.points[k], alone.points[0], atol=1e-3)
        assert all(np.allclose(a[k], b[0], atol=1e-3) for a, b in zip(together.deep, alone.deep, strict=True))


def test_outputs_are_appended_to_the_graph() -> None:
    model = b"\x08\x04" + b"\x3a\x03abc" + b"\x42\x01x"  # a version, a graph of three bytes, another field
    more = with_outputs(model, ["507"])
    assert (
        more.startswith(b"\x08\x04\x3a")
        and more.endswith(b"\x42\x01x")
        and b"abc\x62" in more
        and b"507" in more
    )
    assert more[3] == len(more) - len(model) + 3  # the graph's size counts what was added
    assert with_outputs(model, []) == model


@pytest.mark.parametrize("model", [b"", b"\x42\x01x", b"\x3a\x09abc", b"\x3d1234", b"\x3a\xff"])
def test_what_is_no_onnx_file_is_refused(model: bytes) -> None:
    with pytest.raises(ValueError, match="not an ONNX file"):
        with_outputs(model, ["507"])


@given(st.integers(0, 3), st.integers(30, 90), st.integers(30, 90), st.integers(0, 10**6))
def test_a_face_of_a_turned_photo_lies_where_its_pixels_were(
    turns: int, height: int, width: int, seed: int
) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (height, width))
    turned = np.rot90(photo, turns)
    back = turned_back(Detection((3, 5, 12, 20), 0.5, POINTS), turns, (height, width))
    assert back.points is not None
    for (x, y), (u, v) in zip(POINTS.astype(int), back.points.astype(int), strict=True):
        assert photo[v, u] == turned[y, x]
    x, y, w, h = (round(value) for value in back.box)
    assert sorted(photo[y : y + h, x : x + w].ravel()) == sorted(turned[5:25, 3:15].ravel())


def test_the_tilt_follows_from_the_points() -> None:
    face = Detection((5, 5, 20, 22), 0.9, POINTS)
    assert roll_of(face) == pytest.approx(0, abs=1e-4)
    for turns, tilt in (
        (1, 90),
        (2, 180),
        (3, -90),
    ):  # a photo turned counter-clockwise is put back clockwise
        assert abs((roll_of(turned_back(face, turns, (60, 50))) - tilt + 180) % 360 - 180) < 1e-3


@given(st.floats(-170, 170), st.floats(10, 300))
def test_the_second_look_is_upright_and_of_one_size(tilt: float, size: float) -> None:
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    points = (POINTS - 15) * (size / 20) @ np.array([[cos, sin], [-sin, cos]]) + 200
    face = Detection((200 - size / 2, 200 - size / 2, size, size), 0.5, points)
    transform = look_transform(face)
    eyes = points[:2] @ transform[:, :2].T + transform[:, 2]
    assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=0.5) and eyes[0, 0] < eyes[1, 0]
    assert eyes[1, 0] - eyes[0, 0] == pytest.approx(28, abs=0.1)  # 10 of 20 pixels, 56 pixels for the face
    assert transform @ (199.5, 199.5, 1) == pytest.approx([47.5, 47.5], abs=1e-4)


def test_probabilities_and_odds_are_inverse() -> None:
    assert [log_odds(probability(value)) for value in (-8.0, 0.0, 3.5)] == pytest.approx([-8.0, 0.0, 3.5])
    assert 0 < probability(-1e9) < probability(1e9) <= 1


def test_company_makes_a_doubtful_face_count_but_nothing_else_does() -> None:
    sure, doubtful = Detection((0, 0, 9, 9), probability(4.0), POINTS), Detection((20, 0, 9, 9), 0.5, POINTS)
    counted = centerface_faces._counting([doubtful, sure], 1.5)
    assert counted[0] is sure and log_odds(counted[1].score) == pytest.approx(2.5)
    assert centerface_faces._counting([doubtful], 1.5) == []
    assert centerface_faces._counting([], 1.5) == []


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (
        "{",
        json.dumps({"bias": 0, "weights": [1, 2]}),
        json.dumps({"bias": None, "weights": []}),
    ):
        (tmp_path / "face_check.json").write_text(content)
        monkeypatch.setattr(face_check, "FILE", tmp_path / "face_check.json")
        face_check._weights.cache_clear()
        with pytest.raises(InputError, match="reinstall"):
            face_check._weights()
    face_check._weights.cache_clear()


def test_a_source_can_be_pickled_and_compared() -> None:
    source = CenterFaces(second_opinion=True)
    assert pickle.loads(pickle.dumps(source)) == source != CenterFaces()


def test_a_photo_of_nothing_has_no_face() -> None:
    source = CenterFaces(second_opinion=True)
    assert source(np.full((90, 120, 3), 128, np.uint8)).reason == "no_face"
    assert source(np.full((20, 120, 3), 128, np.uint8)).reason == "too_small"
    with pytest.raises(ValueError, match="uint8"):
        source(np.zeros((90, 120, 3), np.float32))


@needs_data
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_people_are_found_upright_however_the_photo_is_turned(turns: int) -> None:
    source = CenterFaces(second_opinion=True)
    for path in sorted((LFW / "test").rglob("*.jpg"))[::170]:
        image = load_image(path)
        upright = source(image, "central", landmarks=False).faces[0]
        search = source(np.ascontiguousarray(np.rot90(image, turns)), "central", landmarks=False)
        assert search, path
        found = search.faces[0]
        face = turned_back(Detection(found.box, found.score, found.points), turns, image.shape[:2])
        assert overlap(face.box, upright.box) > 0.6
        assert face.points is not None and np.abs(face.points - upright.points).max() < 0.2 * upright.side


@needs_data
def test_a_crowd_is_found_and_animals_are_not() -> None:
    source = CenterFaces(second_opinion=True)
    pets = sorted(NO_FACE.rglob("*.jpg"))[7::40]
    assert sum(bool(source(load_image(path), "all", 1, landmarks=False)) for path in pets) <= 1
    crowd = load_image(next(BOXED.glob("972baff5*.jpg")))  # 74 marked faces
    assert len(source(crowd, "all", 12, landmarks=False).faces) > 60

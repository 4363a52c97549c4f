"""From photos to names: the finder and the networks are stand-ins, the rest is real."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces.chip import usual_places
from augmentor.faces.face_search import MIN_FACE, Face, FaceSearch, Policy
from augmentor.photos.images import encode_jpeg
from identity import identify
from identity.decisions.open_set import ProbabilityCurve
from identity.runs.bundle import Bundle
from identity.runs.recogniser import UNKNOWN, Recogniser
from tests.identity.changed_run import with_crowding, with_decision
from tests.identity.test_enrol import trained
from tests.stand_in_faces import StandInFaces, find_with, first_or_all

SIDE = 60


class SquareFaces(StandInFaces):
    """Every 60-pixel square of one bright colour, left to right, is a face; landmarks are dlib's mean ones in it."""

    def __call__(
        self, image: np.ndarray, policy: Policy = "central", min_face: int = MIN_FACE, landmarks: bool = True
    ) -> FaceSearch:
        found = [
            Face((float(x), 0.0, float(SIDE), float(SIDE)), places(x), 1.0)
            for x in range(0, image.shape[1], SIDE)
            if image[:SIDE, x : x + SIDE].mean() > 50
        ]
        return first_or_all(found, policy)


def places(x: int) -> np.ndarray:
    points = np.random.default_rng(0).uniform(15, 45, (68, 2)).astype(np.float32)
    left_eye, right_eye, *others = usual_places(SIDE)  # so that the chip shows the square and nothing else
    points[36:42], points[42:48], points[[30, 48, 54]] = left_eye, right_eye, others
    return points + [x, 0]


def photo(*colours: tuple[int, int, int]) -> np.ndarray:
    """Squares beside each other."""
    return np.concatenate([np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in colours], axis=1)


def colour_of(bundle: Bundle, person: int) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in np.rint(100 + 90 * bundle.part_templates["dlib"][person]))
    return red, green, blue


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Bundle:
    find_with(SquareFaces, monkeypatch)
    bundle = trained(people=6, seed=3)
    bundle = with_decision(
        bundle,
        thresholds={"fpir_1": 0.9, "fpir_10": 0.5},
        probability=ProbabilityCurve(10.0, -9.0),
        stranger_scores=tuple(np.linspace(1.0, 0.0, 100).tolist()),
    )
    return with_crowding(bundle, np.zeros(6, np.float32))


def test_every_face_of_a_photo_gets_its_name_in_order(run: Bundle) -> None:
    found = Recogniser(run).images([photo(colour_of(run, 4), colour_of(run, 1))])[0]
    assert found.status == "ok" and [face.name for face in found.faces] == ["person 4", "person 1"]
    face = found.faces[0]
    assert face.best[0] == ("person 4", pytest.approx(1, abs=1e-3)) and len(face.best) == 5
    assert face.box == (0, 0, SIDE, SIDE) and 0.5 < face.probability <= 1


def test_the_false_positive_rate_asked_for_decides_who_is_unknown(run: Bundle) -> None:
    own, other = np.array(colour_of(run, 0)), np.array(colour_of(run, 1))
    between = tuple(int(v) for v in (0.62 * own + 0.38 * other))
    score = Recogniser(run).images([photo(between)])[0].faces[0].score  # type: ignore[arg-type]
    scores = (*np.linspace(score + 2, score + 0.001, 30), *np.linspace(score - 0.001, score - 2, 70))
    run = with_decision(run, stranger_scores=tuple(map(float, scores)))
    strict, loose = (
        Recogniser(run, fpir).images([photo(between)])[0].faces[0].name  # type: ignore[arg-type]
        for fpir in (0.25, 0.35)
    )
    assert strict == UNKNOWN and loose != UNKNOWN


def test_a_rate_that_the_calibration_cannot_tell_is_refused(run: Bundle) -> None:
    with pytest.raises(InputError, match=r"100 strangers, enough for rates from 0\.01"):
        Recogniser(run, 0.0001)


def test_answers_come_in_order_whatever_is_wrong_with_some_photos(run: Bundle, tmp_path: Path) -> None:
    files = []
    for number in range(40):
        file = tmp_path / f"{number:02d}.png"
        picture = photo(*[colour_of(run, number % 6)] * (number % 3)) if number % 3 else photo((0, 0, 0))
        if number == 7:
            file.write_bytes(b"no picture")
        else:
            cv2.imwrite(str(file), picture[..., ::-1])
        files.append(file)
    found = list(Recogniser(run).files(files))
    assert [f.photo for f in found] == [str(file) for file in files]
    for number, recognition in enumerate(found):
        expected = "error" if number == 7 else "ok" if number % 3 else "no_face"
        assert recognition.status == expected
        if expected == "ok":
            assert [face.name for face in recognition.faces] == [f"person {number % 6}"] * (number % 3)
    assert found[7].as_json()["reason"].startswith("unreadable")
    assert found[0].as_json() == {
        "photo": str(files[0]),
        "status": "no_face",
        "reason": "no_face",
        "faces": [],
    }


def test_the_command_prints_one_json_line_a_photo_and_nothing_else(
    run: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Bundle, "load", classmethod(lambda _cls, _folder: run))
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photo(colour_of(run, 2))))
    code = identify.main(["--model", str(tmp_path), str(tmp_path / "a.jpg"), str(tmp_path / "gone.jpg")])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0 and [line["status"] for line in lines] == ["ok", "error"]
    assert lines[0]["faces"][0]["name"] == "person 2"
    assert set(lines[0]["faces"][0]) >= {"name", "score", "probability", "box"}
    assert lines[0]["faces"][0]["size"] == SIDE and lines[0]["faces"][0]["quality"] == 1


def test_no_run_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert identify.main(["--model", str(tmp_path), "a.jpg"]) == 2
    captured = capsys.readouterr()
    assert "no trained model" in captured.err and not captured.out

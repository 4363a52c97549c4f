"""Comparing two photos, with stand-ins for detector and networks; thresholds and faces are chosen by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces.face_source import FaceSource, face_source
from augmentor.photos.images import encode_jpeg
from identity import verify as module
from identity.decisions.open_set import ProbabilityCurve
from identity.decisions.same_person import SamePerson
from identity.networks.face_space import unit
from identity.runs.comparison import verify
from identity.verify import main
from tests.identity.runs.test_recogniser import SquareFaces, photo
from tests.stand_in_faces import find_with

RED, ORANGE, GREEN = (200, 60, 60), (200, 90, 60), (60, 200, 60)


class Colours:
    """A comparer that embeds a face as its mean colour minus grey; thresholds: cosine 0.9 at FMR 0.1 %, 0.5 at 10 %."""

    size = 8
    same_person: SamePerson | None = SamePerson(
        (0.001, 0.01, 0.1), (0.9, 0.7, 0.5), 1000, 100, 50, ProbabilityCurve(10.0, -7.0)
    )

    @property
    def faces(self) -> FaceSource:
        return face_source()

    def embed(self, chips: np.ndarray) -> np.ndarray:
        return unit(chips.reshape(len(chips), -1, 3).mean(axis=1) - 100)


@pytest.fixture(autouse=True)
def finder(monkeypatch: pytest.MonkeyPatch) -> None:
    find_with(SquareFaces, monkeypatch)


def test_distance_threshold_and_answer_agree() -> None:
    same = verify(Colours(), [photo(RED), photo(ORANGE)])
    cosine = float(
        np.prod([1]) * unit(np.array([[100, -40, -40.0]]))[0] @ unit(np.array([[100, -10, -40.0]]))[0]
    )
    assert same["same"] is True and same["distance"] == pytest.approx(1 - cosine, abs=1e-3)
    assert same["threshold"] == pytest.approx(0.1) and same["confidence"] == same["probability"] > 0.8
    other = verify(Colours(), [photo(RED), photo(GREEN)])
    assert other["same"] is False and other["confidence"] == pytest.approx(1 - other["probability"])


def test_a_higher_rate_allows_a_larger_distance() -> None:
    strict, loose = (verify(Colours(), [photo(RED), photo(GREEN)], fmr)["threshold"] for fmr in (0.001, 0.1))
    assert strict == pytest.approx(0.1) and loose == pytest.approx(0.5)


def test_the_best_pair_of_several_faces_must_be_more_similar() -> None:
    crowd = [photo(GREEN, RED), photo(ORANGE, GREEN, (60, 60, 200))]
    answer = verify(Colours(), crowd, fmr=0.06, face="best-pair")
    assert answer["faces"] == [2, 3] and answer["distance"] == pytest.approx(0, abs=1e-6)
    assert answer["boxes"][0][0] == 0 and answer["boxes"][1][0] == 60
    assert answer["threshold"] == pytest.approx(1 - 0.7)  # 6 % shared by six pairs is 1 % each
    assert verify(Colours(), crowd, fmr=0.06)["faces"] == [1, 1]


def test_photos_without_one_face_are_answered_not_skipped() -> None:
    answer = verify(Colours(), [photo(RED), photo((0, 0, 0))])
    assert answer["status"] == "no_face" and answer["reason"] == "b: no_face"
    assert answer["same"] is None and answer["distance"] is None
    several = verify(Colours(), [photo(RED, GREEN), photo(RED)], face="reject")
    assert several["reason"] == "a: several_faces"


def test_a_rate_beyond_calibration_is_refused_whatever_the_photos_show() -> None:
    with pytest.raises(InputError, match="enough for rates"):
        verify(Colours(), [photo((0, 0, 0)), photo(RED)], fmr=1e-7)
    without = Colours()
    without.same_person = None
    with pytest.raises(InputError, match="too few people"):
        verify(without, [photo(RED), photo(RED)])


def test_the_command_prints_one_json_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "load_comparer", lambda _model: Colours())
    files = []
    for name, colour in (("a", RED), ("b", ORANGE)):
        files.append(tmp_path / f"{name}.jpg")
        files[-1].write_bytes(encode_jpeg(photo(colour)))
    assert main([str(file) for file in files]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["photo_a"] == str(files[0]) and answer["same"] is True
    assert {"distance", "threshold", "same", "confidence"} <= set(answer)
    assert main([str(files[0]), str(tmp_path / "gone.jpg")]) == 2
    assert "gone.jpg" in capsys.readouterr().err


def test_a_missing_run_is_refused_in_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photo(RED)))
    assert main(["--model", str(tmp_path / "none"), *[str(tmp_path / "a.jpg")] * 2]) == 2
    assert "no such run" in capsys.readouterr().err

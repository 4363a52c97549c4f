"""Found boxes are matched fairly to marked ones, and the last line has the keys that scripts outside read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from augmentor.errors import InputError
from augmentor.faces.face_search import MIN_FACE, Face, FaceSearch, Policy
from augmentor.faces.face_source import DEFAULT, SOURCES
from benchmarks.finding import MarkedFace, PhotoFound, main, matched, read_boxes, summary
from tests.stand_in_faces import StandInFaces, first_or_all

KEYS = ["n_faces", "recall", "recall_open", "extra_per_photo", "no_face_found", "ms_per_photo"]
KEYS += ["hog_recall", "hog_ms_per_photo"]
LANDMARKS = np.stack([np.linspace(20, 60, 68), np.linspace(20, 70, 68) ** 1.01], 1).astype(np.float32)


class BrightHalf(StandInFaces):
    """A face source that finds one face in photos with a bright corner."""

    def __call__(
        self,
        image: np.ndarray,
        policy: Policy = "central",
        min_face: int = MIN_FACE,
        landmarks: bool = True,
    ) -> FaceSearch:
        found = [Face((20.0, 20.0, 40.0, 50.0), LANDMARKS, 1.0)] if image[0, 0, 0] > 127 else []
        return first_or_all(found, policy)


def test_a_smaller_box_inside_the_marked_one_is_the_same_face() -> None:
    assert matched([(100, 100, 80, 110)], [(106, 124, 68, 72)]).tolist() == [True]


def test_a_box_that_hardly_overlaps_is_another_face() -> None:
    assert matched([(0, 0, 100, 100)], [(70, 0, 100, 100)]).tolist() == [False]
    assert matched([(0, 0, 100, 100)], [(40, 40, 20, 20)]).tolist() == [False]


def test_one_found_box_is_one_face_only_and_as_many_as_possible_are_matched() -> None:
    marked = [(0, 0, 100, 100), (30, 0, 100, 100)]
    assert matched(marked, [(15, 0, 100, 100)]).sum() == 1
    # the first box fits both faces and the second only the left one, so the first has to go to the right one
    assert matched(marked, [(10, 0, 100, 100), (-40, 0, 100, 100)]).tolist() == [True, True]
    assert matched(marked, []).tolist() == [False, False] and matched([], marked).tolist() == []


def test_recalls_are_those_counted_by_hand() -> None:
    faces = [
        MarkedFace((0, 0, side, side), label) for side, label in ((20, "without_mask"), (60, "with_mask"))
    ]
    faces.append(MarkedFace((0, 0, 200, 200), "without_mask"))
    new = [PhotoFound(np.array([True, False]), 3, 0.01), PhotoFound(np.array([True]), 0, 0.03)]
    hog = [PhotoFound(np.array([False, False]), 0, 0.2), PhotoFound(np.array([True]), 0, 0.4)]
    result = summary(faces, new, hog, [True, False, False, False])
    assert result["recall"] == pytest.approx(2 / 3) and result["recall_open"] == 1.0
    assert result["extra_per_photo"] == 1.5 and result["no_face_found"] == 0.25
    assert result["ms_per_photo"] == pytest.approx(20) and result["hog_ms_per_photo"] == pytest.approx(300)
    assert result["hog_recall"] == pytest.approx(1 / 3)
    assert summary(faces[1:2], [PhotoFound(np.array([True]), 0, 0.1)], hog[1:], None)["recall_open"] is None


def test_the_last_line_has_every_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SOURCES, DEFAULT, BrightHalf)
    monkeypatch.setitem(SOURCES, "hog", BrightHalf)
    (tmp_path / "none").mkdir()
    for name, value in (("a.png", 200), ("b.png", 20), ("none/c.png", 30)):
        cv2.imwrite(str(tmp_path / name), np.full((96, 96, 3), value, np.uint8))
    rows = ["photo,x,y,width,height,label", "a.png,18,16,44,56,without_mask", "b.png,18,16,44,56,with_mask"]
    (tmp_path / "boxes.csv").write_text("\n".join(rows), "utf-8")
    arguments = ["--boxes", str(tmp_path), "--json"]
    assert main([*arguments, "--no-face", str(tmp_path / "none")]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(last) == KEYS
    assert (last["n_faces"], last["recall"], last["recall_open"], last["no_face_found"]) == (2, 0.5, 1.0, 0.0)
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["no_face_found"] is None


@pytest.mark.parametrize("row", ["a.png,1,2,3", "a.png,1,2,x,4,with_mask", "a.png,1,2,0,4,with_mask"])
def test_an_unusable_row_is_an_error_that_names_the_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "boxes.csv").write_text(f"photo,x,y,width,height,label\n{row}\n", "utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_boxes(tmp_path)


def test_a_missing_list_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--boxes", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1

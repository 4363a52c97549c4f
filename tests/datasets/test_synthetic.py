"""Tests of made-up people: reproducible, independent of how many are drawn, and with a correct truth."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from augmentor.faces.face_source import face_source
from augmentor.head.head_model import HeadModel, load_head_model
from augmentor.made_up.people import PeopleOptions, main, people_names, photo_range, write_people
from augmentor.made_up.person import make_person, plan_shot
from augmentor.made_up.raster import Surface, rasterise, shadow_map, vertex_normals
from augmentor.made_up.skin import paint_skin
from augmentor.photos.images import load_image

SMALL = PeopleOptions(identities=2, photos=(2, 2), strangers=1, seed=3, size=128)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "people"
    write_people(out, SMALL, workers=1, progress=False)
    return out


def test_layout_truth_and_photos_agree(made: Path) -> None:
    table = pq.read_table(made / "truth.parquet").to_pylist()
    photos = sorted(p.relative_to(made).as_posix() for p in made.rglob("*.jpg"))
    assert sorted(row["photo"] for row in table) == photos
    assert len(photos) == 5 and sum(p.startswith("strangers/") for p in photos) == 1
    for row in table:
        beside = json.loads((made / "truth" / row["photo"]).with_suffix(".json").read_text("utf-8"))
        assert beside["identity"] == row["identity"] and beside["yaw"] == pytest.approx(row["yaw"], abs=1e-3)
        assert np.allclose(np.ravel(beside["landmarks"]), row["landmarks"], atol=1e-3)
        assert load_image(made / row["photo"]).shape == (128, 128, 3)


def test_a_smaller_set_is_a_part_of_a_larger_one_with_the_same_seed(made: Path, tmp_path: Path) -> None:
    again = PeopleOptions(identities=1, photos=(2, 2), strangers=1, seed=3, size=128)
    write_people(tmp_path / "people", again, workers=1, progress=False)
    before, after = files_of(made), files_of(tmp_path / "people")
    del after["truth.parquet"]
    assert len(after) == 6
    assert all(before[name] == data for name, data in after.items())


def test_another_seed_makes_other_people() -> None:
    assert people_names(0, 30)[:10] == people_names(0, 10)
    assert len(set(people_names(0, 300))) == 300
    assert not set(people_names(0, 20)) & set(people_names(1, 20))
    first, second = (make_person(seed, 0, 20, name="A") for seed in (0, 1))
    assert np.abs(first.shape - second.shape).max() > 0.1


def test_strangers_are_nobody_among_the_people() -> None:
    assert (
        np.abs(make_person(0, 0, 20, name="A").shape - make_person(0, 0, 20, name="A", stream=1).shape).max()
        > 0.1
    )


def test_a_person_keeps_shape_and_skin_and_varies_in_pose(head: HeadModel) -> None:
    person = make_person(0, 5, len(head.identity_modes), name="A")
    shots = [plan_shot(person, 0, 5, photo) for photo in range(200)]
    yaw = np.array([shot.yaw for shot in shots])
    assert np.abs(yaw).max() <= 45 and 0.7 < (np.abs(yaw) < 25).mean() < 0.98
    assert max(abs(shot.pitch) for shot in shots) <= 20
    assert len({shot.expression.keys() >= {"mouthSmile"} for shot in shots}) == 2


def test_dlib_detects_the_face_near_the_true_landmarks(made: Path) -> None:
    finder = face_source()
    for row in pq.read_table(made / "truth.parquet").to_pylist():
        search = finder(load_image(made / row["photo"]))
        assert search
        truth = np.reshape(row["landmarks"], (68, 2))
        span = np.linalg.norm(truth[36] - truth[45])
        error = np.linalg.norm(search.faces[0].landmarks[17:] - truth[17:], axis=1).mean() / span
        assert error < 0.09, row["photo"]


def test_yaw_turns_the_nose_to_the_image_left(made: Path) -> None:
    for row in pq.read_table(made / "truth.parquet").to_pylist():
        truth = np.reshape(row["landmarks"], (68, 2))
        aside = (truth[30, 0] - truth[[36, 45], 0].mean()) / np.linalg.norm(truth[36] - truth[45])
        if abs(row["yaw"]) > 8 and abs(row["roll"]) < 8:
            assert np.sign(aside) == -np.sign(row["yaw"])


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    assert main(["--out", str(tmp_path), "--identities", "1"]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error and error.count("\n") == 1
    assert (tmp_path / "holiday.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong", [["--identities", "0"], ["--photos", "5-2"], ["--size", "8"], ["--workers", "0"]]
)
def test_wrong_calls_give_one_line_and_exit_code_2(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "new"), *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_photo_range_reads_a_number_or_a_range() -> None:
    assert photo_range("4") == (4, 4) and photo_range("1-6") == (1, 6)


def test_rasterise_covers_exactly_the_pixels_whose_centres_lie_inside() -> None:
    # A right triangle with legs of 4 px; its corners are ordered so that it faces the camera (-z).
    points = np.array([[0, 0], [0, 4], [4, 0]], np.float32)
    fragments = rasterise(points, np.ones(3, np.float32), np.array([[0, 1, 2]], np.int32), (4, 4))
    covered = np.zeros(16, int)
    covered[fragments.pixel] = 1
    assert covered.reshape(4, 4).tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    back = rasterise(points, np.ones(3, np.float32), np.array([[0, 1, 2]], np.int32), (4, 4), side=-1)
    assert len(back.pixel) == 0


def test_a_plate_shades_what_lies_behind_it() -> None:
    plate = np.array([[-10, -10, 0], [10, -10, 0], [10, 10, 0], [-10, 10, 0]], np.float32)
    triangles = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    wall = np.array([[-60, -60, 50], [60, -60, 50], [60, 60, 50], [-60, 60, 50]], np.float32)
    surfaces = [
        Surface(points, vertex_normals(points, triangles), np.zeros((4, 2), np.float32), triangles)
        for points in (plate, wall)
    ]
    shadows = shadow_map(surfaces, np.array([0, 0, -1], np.float32))
    lit = shadows.lit(np.array([[0, 0, 50], [40, 0, 50], [0, 0, 0]], np.float32))
    assert lit.round(2).tolist() == [0, 1, 1]


def test_textures_are_the_same_twice() -> None:
    head = load_head_model()
    person = make_person(0, 1, len(head.identity_modes), name="A")
    landmarks = head.mean[head.landmarks68]
    first, second = (paint_skin(person.skin, landmarks) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape[2] == 3 and first.min() > 0 and first.max() < 1
    assert cv2.Laplacian(first, cv2.CV_32F).std() > 0

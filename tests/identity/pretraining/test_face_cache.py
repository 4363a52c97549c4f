"""The cache of pre-training; the data that these tests need is not part of the project: ../shared/data."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import InputError
from identity.pretraining import face_cache as pretraining_faces
from identity.pretraining.cut import PLAIN, POINTS5
from identity.pretraining.face_cache import cache_faces, cache_renders
from identity.pretraining.faces_to_learn import load_faces

DATA = Path(__file__).parents[4] / "shared" / "data"
TEACHERS = [DATA / f"faces_unlabelled_{name}.npz" for name in ("dlib", "mobilefacenet")]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    if not TEACHERS[1].is_file():
        pytest.skip("needs ../shared/data")
    with zipfile.ZipFile(DATA / "faces_unlabelled.zip") as archive:
        names = sorted(i.filename for i in archive.infolist() if not i.is_dir())[::1000]
        with zipfile.ZipFile(tmp_path / "faces.zip", "w") as few:
            for name in names:
                few.writestr(name, archive.read(name))
    return tmp_path / "faces.zip"


@pytest.mark.slow
@pytest.mark.data
def test_faces_are_cropped_by_five_points_and_rendering_continues_after_a_kill(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining_faces, "VIEWS_PER_SIDE", 1)
    monkeypatch.setattr(pretraining_faces, "SAVED_EVERY", 10)
    work = tmp_path / "work"
    cache_faces(photos, TEACHERS, work, POINTS5)
    faces = load_faces(work)
    assert faces.chips.shape[1:] == (200, 200, 3) and 55 <= len(faces.chips) <= 61
    assert (faces.teachers, faces.widths, faces.cut) == (("dlib", "mobilefacenet"), (128, 192), POINTS5)

    whole = pretraining_faces._in_processes
    monkeypatch.setattr(pretraining_faces, "_in_processes", lambda *a: [*whole(*a)][:25])
    cache_renders(photos, work, 2 * len(faces.chips), 0)
    first = load_faces(work)
    assert 40 <= len(first.renders) == len(first.render_of) == len(first.render_yaw) <= 50
    monkeypatch.setattr(pretraining_faces, "_in_processes", whole)
    cache_renders(photos, work, 2 * len(faces.chips), 0)
    then = load_faces(work)
    assert len(then.renders) > len(first.renders) and np.abs(then.render_yaw).max() > 70
    np.testing.assert_array_equal(then.render_of[: len(first.render_of)], first.render_of)
    np.testing.assert_array_equal(then.renders[: len(first.renders)], first.renders)
    assert then.renders.shape[1:] == (150, 150, 3) and then.renders.std(axis=(1, 2, 3)).min() > 5


@pytest.mark.data
def test_a_cache_of_other_teachers_or_chips_is_refused(photos: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    np.savez(
        work / "faces.npz", paths=np.array(["a"]), teacher=np.zeros((1, 128))
    )  # as earlier versions wrote it
    cache_faces(photos, TEACHERS[:1], work, PLAIN)
    with pytest.raises(InputError, match="name another --work"):
        cache_faces(photos, TEACHERS, work, PLAIN)
    with pytest.raises(InputError, match="name another --work"):
        cache_faces(photos, TEACHERS[:1], work, POINTS5)


@pytest.mark.data
def test_chips_by_five_points_need_a_teachers_file_with_points(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has `points`"):
        cache_faces(photos, TEACHERS[:1], tmp_path / "work", POINTS5)
    with pytest.raises(InputError, match="give each teacher only once"):
        cache_faces(photos, TEACHERS[:1] * 2, tmp_path / "other")

"""The shared path from photo files to chips. Faces come from a stand-in; dlib's own are tested elsewhere."""

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from augmentor.faces.face_search import MIN_FACE, Face, FaceSearch, Policy
from augmentor.photos.images import encode_jpeg, load_image, perceptual_hash, sha256_of
from identity.chips import many_photos
from identity.chips.many_photos import find_chips
from tests.stand_in_faces import StandInFaces, find_with

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


def places() -> np.ndarray:
    """68 points, of which those that place a chip lie roughly where a face of 100 pixels has them."""
    points = np.full((68, 2), 100, np.float32)
    points[27:36] = [[100, 80 + 5 * i] for i in range(9)]
    points[36:42] += [-25, -20] + np.array([[-8, 0], [-3, -3], [3, -3], [8, 0], [3, 3], [-3, 3]])
    points[42:48] += [25, -20] + np.array([[-8, 0], [-3, -3], [3, -3], [8, 0], [3, 3], [-3, 3]])
    points[48:55] += [[-20 + 7 * i, 40] for i in range(7)]
    return points


class CountingFaces(StandInFaces):
    """Finds the same face in every photo brighter than grey, and counts."""

    calls: ClassVar[int] = 0

    def __call__(
        self, image: np.ndarray, policy: Policy = "central", min_face: int = MIN_FACE, landmarks: bool = True
    ) -> FaceSearch:
        type(self).calls += 1
        if image.mean() < 100:
            return FaceSearch((), "no_face")
        return FaceSearch((Face((50.0, 50.0, 100.0, 100.0), places(), 1.0),), None)


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> type[CountingFaces]:
    CountingFaces.calls = 0
    find_with(CountingFaces, monkeypatch)
    return CountingFaces


def photo(path: Path, brightness: int) -> Path:
    noise = np.random.default_rng(brightness).integers(0, 40, (20, 20, 3), dtype=np.uint8)
    image = cv2.resize(noise, (200, 200), interpolation=cv2.INTER_CUBIC) + np.uint8(brightness)
    path.write_bytes(encode_jpeg(image))
    return path


def test_every_photo_gives_one_result_in_order_with_a_reason_where_there_is_no_chip(
    tmp_path: Path, finder: type[CountingFaces]
) -> None:
    good, dark = photo(tmp_path / "good ü.jpg", 180), photo(tmp_path / "dark.jpg", 10)
    broken, absent = tmp_path / "broken.jpg", tmp_path / "absent.jpg"
    broken.write_bytes(b"no image")
    found = find_chips([dark, good, broken, absent], size=64)
    assert [p.path for p in found] == [dark, good, broken, absent]
    assert [p.reason for p in found] == ["no_face", None, "unreadable", "unreadable"]
    assert found[1].chip is not None and found[1].chip.shape == (64, 64, 3)
    assert all(p.chip is None for p in (found[0], found[2], found[3]))
    assert found[1].sha256 == sha256_of(good)
    assert found[0].phash == perceptual_hash(load_image(dark)) and found[2].phash is None


def test_cache_saves_looking_again_until_the_photo_changes(
    tmp_path: Path, finder: type[CountingFaces]
) -> None:
    paths = [photo(tmp_path / f"{i}.jpg", i) for i in (10, 120, 180)]
    first = find_chips(paths, cache=tmp_path / "cache")
    again = find_chips(paths, cache=tmp_path / "cache")
    assert finder.calls == 3
    for a, b in zip(first, again, strict=True):
        assert (a.reason, a.phash, a.box) == (b.reason, b.phash, b.box)
        assert np.array_equal(a.chip, b.chip) if a.chip is not None else b.chip is None
    photo(paths[0], 150)
    assert find_chips(paths, cache=tmp_path / "cache")[0].reason is None
    assert finder.calls == 4


def test_a_damaged_cache_is_said_and_made_anew(
    tmp_path: Path, finder: type[CountingFaces], capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "a.jpg", 180)
    find_chips([path], cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(b"PAR1 damaged")
    assert find_chips([path], cache=tmp_path / "cache")[0].reason is None
    assert "searched again" in capsys.readouterr().err
    assert find_chips([path], cache=tmp_path / "cache")[0].reason is None and finder.calls == 2


def test_policy_all_is_refused() -> None:
    with pytest.raises(ValueError, match="one chip"):
        find_chips([], policy="all")


@pytest.mark.data
def test_processes_give_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SHARED / "lfw1013" / "strangers_test"
    if not folder.is_dir():
        pytest.skip("../shared/data/lfw1013 is absent")
    paths = sorted(folder.iterdir())[:6]
    alone = find_chips(paths, workers=1)
    monkeypatch.setattr(many_photos, "_SECONDS_STARTING", 0.0)
    together = find_chips(paths, workers=2)
    assert sum(p.chip is not None for p in alone) >= 5
    for a, b in zip(alone, together, strict=True):
        assert a.path == b.path and a.reason == b.reason
        assert a.chip is None or np.array_equal(a.chip, b.chip)

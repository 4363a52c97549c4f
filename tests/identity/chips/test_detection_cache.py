"""What was detected is kept by content, source and settings, and by nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from identity.chips.detection_cache import FILES, DetectionCache, cache_file_name
from identity.chips.photo_faces import PhotoFaces, PhotoReader
from tests.stand_in_faces import StandInFaces, one_face


class Others(StandInFaces):
    """Another source, of another version."""


READER = PhotoReader(policy="central", source=StandInFaces(), poses=False)


def test_photos_are_read_back_as_they_were_kept(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 99, (68, 2)).astype(np.float32)
    kept = [
        one_face(Path("a.jpg"), np.zeros((9, 9, 3), np.uint8), "a", 2**63 + 1, points),
        PhotoFaces("b.jpg", Path("b.jpg"), "no_face", "2 pages", sha256="b", phash=7),
    ]
    cache = DetectionCache(tmp_path, READER)
    for photo in kept:
        cache.add(photo)
    cache.save()
    again = DetectionCache(tmp_path, READER)
    for photo in kept:
        found = again.get(photo.sha256)
        assert found is not None and found.chips == []
        assert (found.reason, found.detail, found.phash, found.box) == (
            photo.reason,
            photo.detail,
            photo.phash,
            photo.box,
        )
    assert np.array_equal(again.get("a").landmarks, points)  # type: ignore[union-attr, arg-type]
    assert again.get("c") is None


def test_two_processes_add_to_one_file(tmp_path: Path) -> None:
    one, other = DetectionCache(tmp_path, READER), DetectionCache(tmp_path, READER)
    for cache, sha256 in ((one, "a"), (other, "b")):
        cache.add(PhotoFaces("x", Path("x"), "no_face", sha256=sha256, phash=1))
        cache.save()
    assert {sha256 for sha256 in "abc" if DetectionCache(tmp_path, READER).get(sha256)} == {"a", "b"}


def test_another_source_or_other_settings_have_a_file_of_their_own(tmp_path: Path) -> None:
    readers = [
        READER,
        replace(READER, source=Others()),
        replace(READER, policy="largest"),
        replace(READER, min_face=60),
        replace(READER, align="whole"),
    ]
    for reader in readers:
        DetectionCache(tmp_path, reader).save()
    assert len(list(tmp_path.glob(FILES))) == len(readers)
    assert cache_file_name(StandInFaces(), "central", 32) == "faces-central-32-StandInFaces-1.parquet"


def test_without_a_folder_nothing_is_kept_on_disk(tmp_path: Path) -> None:
    cache = DetectionCache(None, READER)
    cache.add(PhotoFaces("x", Path("x"), "no_face", sha256="a"))
    cache.save()
    assert cache.get("a") is not None and not list(tmp_path.iterdir())

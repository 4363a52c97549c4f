"""Tests of `augmentor.photos.place` on a folder. tests/cluster runs the same operations on a bucket."""

import errno
from pathlib import Path

import pyarrow.fs
import pytest

from augmentor.errors import InputError
from augmentor.photos.people_folder import people_of, photos_of
from augmentor.photos.place import PATIENCE, BucketPlace, FolderPlace, is_local, patiently, place_of


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    folder = place_of(tmp_path / "place")
    assert isinstance(folder, FolderPlace)
    return folder


def test_what_is_written_is_listed_and_read(place: FolderPlace) -> None:
    assert place.files() == {} and place.entries() == ([], []) and place.stamp("a/b.jpg") is None
    place.write("a/b.jpg", b"one")
    place.write("c.txt", b"four")
    assert {path: stamp.size for path, stamp in place.files().items()} == {"a/b.jpg": 3, "c.txt": 4}
    assert place.entries() == (["a"], ["c.txt"]) and place.read("a/b.jpg") == b"one"
    stamp = place.stamp("a/b.jpg")
    assert stamp == place.files("a")["a/b.jpg"]


def test_a_file_leaves_with_the_folders_it_leaves_empty(place: FolderPlace) -> None:
    place.write("a/b/c.jpg", b"1")
    place.write("a/d.jpg", b"1")
    place.remove("a/b/c.jpg")
    place.remove("a/never.jpg")
    assert list(place.files()) == ["a/d.jpg"] and not (place.folder / "a" / "b").exists()
    place.remove_folder("a")
    place.remove_folder("a")
    assert place.entries() == ([], [])


def test_a_large_file_is_copied_whole(place: FolderPlace, tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"x" * 100_000)
    place.write_file("deep/made", tmp_path / "made")
    assert place.read("deep/made") == b"x" * 100_000 and list(place.files()) == ["deep/made"]


def test_uris_name_folders_buckets_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    named = place_of(f"file://{tmp_path}/a%20b")
    assert isinstance(named, FolderPlace) and named.folder == tmp_path / "a b"
    bucket = place_of("s3://bucket/photos?region=eu-central-1")
    assert isinstance(bucket, BucketPlace) and bucket.name("Ann/1.jpg") == "s3://bucket/photos/Ann/1.jpg"
    assert is_local(tmp_path) and is_local("file:///x") and not is_local("gs://bucket/x")
    with pytest.raises(InputError, match="ftp:// is not supported"):
        place_of("ftp://host/photos")
    with pytest.raises(InputError, match="file://"):
        place_of("file://photos")


def test_files_come_one_by_one_in_the_order_of_whole_paths(place: FolderPlace) -> None:
    paths = ["a-b/1.jpg", "a.jpg", "a/1.jpg", "a/deep/2.jpg", "b.jpg"]
    for path in (*paths, "__MACOSX/x.jpg", ".DS_Store"):
        place.write(path, path.encode())
    bucket = BucketPlace("s3://bucket/photos")
    bucket.__dict__["_opened"] = (pyarrow.fs.LocalFileSystem(), str(place.folder))
    for one in (place, bucket):
        assert list(one.walk()) == list(one.files().items()) and [path for path, _ in one.walk()] == paths
        assert [path for path, _ in one.walk("a")] == ["a/1.jpg", "a/deep/2.jpg"]
        with one.open("b.jpg") as file:
            file.seek(2)
            assert file.read() == b"jpg"
    (place.folder / "gone.jpg").symlink_to(place.folder / "nothing")
    assert dict(place.walk())["gone.jpg"].size == 0


def test_a_secret_in_a_uri_is_in_no_message() -> None:
    assert place_of("s3://key:secret@bucket/photos").name("a.jpg") == "s3://bucket/photos/a.jpg"


def test_an_operation_is_tried_again_only_after_an_error_that_may_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("augmentor.photos.place.time.sleep", lambda seconds: None)
    answers = [OSError(errno.ESTALE, "stale"), OSError(errno.ETIMEDOUT, "slow"), b"there"]

    def ask() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert patiently(ask, lambda error: error.errno != errno.EACCES) == b"there"
    answers[:] = [OSError(errno.EACCES, "no"), b"never asked"]
    with pytest.raises(OSError, match="no"):
        patiently(ask, lambda error: error.errno != errno.EACCES)
    assert answers == [b"never asked"]
    monkeypatch.setenv(PATIENCE, "0")
    answers[:] = [OSError(errno.ESTALE, "stale")]
    with pytest.raises(InputError, match=r"storage keeps failing, tried for 0 s \(stale\)"):
        patiently(ask, lambda error: True)


def test_people_and_their_photos(place: FolderPlace) -> None:
    for path in ("Zoë/1.jpg", "Zoë/deep/2.png", "Ann/.DS_Store", "licence.txt", "._x.jpg"):
        place.write(path, b"photo")
    assert people_of(place) == ["Ann", "Zoë"]
    assert list(photos_of(place, "Zoë")) == ["Zoë/1.jpg", "Zoë/deep/2.png"]
    assert photos_of(place, "Ann") == {}
    place.write("loose.jpg", b"photo")
    with pytest.raises(InputError, match=r"1 photo\(s\) beside the folders, the first is loose.jpg"):
        people_of(place)

"""Sets in shards or in a bucket: the same chips as from single files, unpacked once, and clear refusals."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.fs
import pytest

from augmentor.balanced_set.layout import LANDMARK_SET
from augmentor.balanced_set.manifest import write_manifest
from augmentor.errors import InputError
from augmentor.photos.place import BucketPlace, FolderPlace, place_of
from identity.forgetting.forget_person import Forgotten, _remove_caches
from identity.training import training_set, unpacked_images
from identity.training.cache_folder import MARK, use_cache_folder
from identity.training.training_set import located, read_training_set
from tests.identity.drawn_set import write_drawn_set
from tests.identity.training.packed_set import IMAGES, PEOPLE, SUFFIXES, drawn_images, shard_of, write_set

KINDS = sorted(SUFFIXES)
BUCKET = "s3://bucket/set?region=eu-central-1"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the files that are read from a set on disk."""
    seen: list[str] = []
    plain = FolderPlace.read

    def read(self: FolderPlace, path: str) -> bytes:
        seen.append(path)
        return plain(self, path)

    monkeypatch.setattr(FolderPlace, "read", read)
    return seen


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that stands for `BUCKET`."""
    folder = tmp_path / "bucket"
    folder.mkdir()

    def opened(uri: str) -> FolderPlace | BucketPlace:
        if uri != BUCKET:
            return place_of(uri)
        place = BucketPlace(uri)
        place.__dict__["_opened"] = (pyarrow.fs.LocalFileSystem(), str(folder))
        return place

    monkeypatch.setattr(training_set, "place_of", opened)
    return folder


def chips(root: Path | str, work: Path) -> np.ndarray:
    data = read_training_set(root).fetched(work)
    return data.chips(range(len(data)))


def expected_chips(folder: Path, seed: int = 0) -> np.ndarray:
    data = read_training_set(write_set(folder, "folder", seed))
    return data.chips(range(len(data)))


@pytest.mark.parametrize("kind", KINDS)
def test_shards_give_the_chips_of_single_files(kind: str, tmp_path: Path) -> None:
    single = read_training_set(write_set(tmp_path / "folder", "folder"))
    expected = single.chips(range(len(single)))
    root = write_set(tmp_path / "a set ü", kind)
    packed = read_training_set(root).fetched(tmp_path / "work")
    order = np.random.default_rng(0).permutation(len(packed))
    np.testing.assert_array_equal(packed.chips(order), expected[order])
    assert packed.files == single.files and packed.names == PEOPLE and packed.digest == single.digest
    assert packed.chips([]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("kind", ["folder", "webdataset"])
def test_a_file_uri_is_its_folder(kind: str, tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", kind)
    assert located(f"file://{root}") == root
    np.testing.assert_array_equal(
        chips(f"file://{root}", tmp_path / "work"), expected_chips(tmp_path / "folder")
    )


@pytest.mark.parametrize("kind", ["folder", *KINDS])
def test_a_set_in_a_bucket_gives_the_same_chips(kind: str, bucket: Path, tmp_path: Path) -> None:
    write_set(bucket, kind)
    np.testing.assert_array_equal(chips(BUCKET, tmp_path / "work"), expected_chips(tmp_path / "folder"))


def test_a_bucket_without_a_set_is_one_clear_line(bucket: Path) -> None:
    with pytest.raises(InputError, match=r"s3://bucket/set/manifest.parquet: no manifest"):
        read_training_set(BUCKET)
    (bucket / "manifest.parquet").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"s3://bucket/set/manifest.parquet: not a readable Parquet file"):
        read_training_set(BUCKET)


@pytest.mark.parametrize("uri", ["http://somewhere/set", "file://no/such%zz"])
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InputError):
        read_training_set(uri)


def test_single_files_on_disk_are_read_where_they_are(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", "folder")
    write_set(tmp_path / "earlier", "webdataset", seed=1)
    (tmp_path / "earlier" / "shards").rename(root / "shards")
    expected = expected_chips(tmp_path / "folder")
    np.testing.assert_array_equal(chips(root, tmp_path / "work"), expected)
    assert not (tmp_path / "work").exists()


def test_nothing_is_unpacked_twice(tmp_path: Path, reads: list[str]) -> None:
    root, work = write_set(tmp_path / "set", "webdataset"), tmp_path / "work"
    first = chips(root, work)
    assert sorted(reads) == ["shards/000003.tar", "shards/000017.tar"]
    np.testing.assert_array_equal(chips(root, work), first)
    assert len(reads) == 2


def test_unpacking_goes_on_after_the_shards_that_were_read(tmp_path: Path, reads: list[str]) -> None:
    root, work = write_set(tmp_path / "set", "parquet"), tmp_path / "work"
    last = root / "shards" / "000017.parquet"
    whole = last.read_bytes()
    last.write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"000017.parquet: damaged"):
        chips(root, work)
    last.write_bytes(whole)
    reads.clear()
    np.testing.assert_array_equal(chips(root, work), expected_chips(tmp_path / "folder"))
    assert reads == ["shards/000017.parquet"]


def test_another_manifest_is_unpacked_again(tmp_path: Path) -> None:
    root, work = write_set(tmp_path / "set", "webdataset"), tmp_path / "work"
    before = chips(root, work)
    write_set(root, "webdataset", seed=1)
    after = chips(root, work)
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, expected_chips(tmp_path / "folder", seed=1))


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1])])
@pytest.mark.parametrize("file", unpacked_images.FILES)
def test_half_of_what_was_unpacked_is_not_trusted(
    file: str, spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    root, work = write_set(tmp_path / "set", "webdataset"), tmp_path / "work"
    before = chips(root, work)
    spoil(work / file)
    np.testing.assert_array_equal(chips(root, work), before)


def test_an_image_in_no_shard_is_named(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", "webdataset")
    (root / "shards" / "000003.tar").unlink()
    with pytest.raises(InputError, match=rf"{IMAGES} of 12 images .* Ann Ü/0.jpg; run jobs/augment.py again"):
        chips(root, tmp_path / "work")


def test_a_shard_of_another_run_does_not_pass_for_this_one(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", "tfrecord")
    rows, images = drawn_images()
    longer = images | {rows[0].file: images[rows[0].file] + b"\0"}
    (root / "shards" / "000003.tfrecord").write_bytes(shard_of("tfrecord", rows[:IMAGES], longer))
    with pytest.raises(InputError, match=r"000003.tfrecord: Ann Ü/0.jpg has \d+ bytes, the manifest says"):
        chips(root, tmp_path / "work")


def test_images_that_the_manifest_does_not_name_are_left_out(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", "webdataset")
    rows, _ = drawn_images()
    write_manifest(root / "manifest.parquet", rows[:-1])
    np.testing.assert_array_equal(
        chips(root, tmp_path / "work"), expected_chips(tmp_path / "folder")[: len(rows) - 1]
    )


def test_a_damaged_image_is_named_with_what_to_do(tmp_path: Path) -> None:
    root, work = write_set(tmp_path / "set", "webdataset"), tmp_path / "work"
    shard = root / "shards" / "000003.tar"
    with tarfile.open(fileobj=io.BytesIO(shard.read_bytes())) as tar:
        start = tar.getmember("00000000.jpg").offset_data
    content = shard.read_bytes()
    shard.write_bytes(content[:start] + bytes(20) + content[start + 20 :])
    with pytest.raises(InputError, match=r"Ann Ü/0.jpg: .*augment.py again and delete .*images.bin"):
        chips(root, work)


def test_too_little_room_is_said_before_anything_is_read(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_set(tmp_path / "set", "webdataset")
    monkeypatch.setattr(unpacked_images.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="make room"):
        chips(root, tmp_path / "work")
    assert not reads


def test_a_packed_set_that_nobody_unpacked_says_so(tmp_path: Path) -> None:
    data = read_training_set(write_set(tmp_path / "set", "parquet"))
    with pytest.raises(InputError, match="--format folder"):
        data.chips([0])


def test_forgetting_deletes_what_was_unpacked(tmp_path: Path) -> None:
    root, work = write_set(tmp_path / "set", "webdataset"), tmp_path / "work"
    use_cache_folder(work, tmp_path / "run")
    chips(root, work)
    outcome = Forgotten()
    _remove_caches(work, tmp_path / "run", outcome)
    assert all(name in outcome.removed[0] for name in unpacked_images.FILES) and not outcome.left
    assert [path.name for path in work.iterdir()] == [MARK]


def test_a_set_with_labels_for_face_alignment_is_read(tmp_path: Path) -> None:
    root = write_drawn_set(tmp_path / "set", [2, 2])
    expected = read_training_set(root).chips([0, 1])
    (root / LANDMARK_SET).mkdir()
    for name in read_training_set(root).names:
        (root / name).rename(root / LANDMARK_SET / name)
    assert np.array_equal(read_training_set(root).chips([0, 1]), expected)

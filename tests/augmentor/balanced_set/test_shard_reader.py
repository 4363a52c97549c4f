"""Shards are read back as they were packed, and damage is one clear line."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augmentor.balanced_set.shard_reader import read_shard
from augmentor.errors import InputError
from tests.identity.training.packed_set import SUFFIXES, drawn_images, shard_of

KINDS = sorted(SUFFIXES)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_give_back_images_and_names_in_their_order(kind: str) -> None:
    rows, images = drawn_images()
    shard = shard_of(kind, rows[::-1], images)
    assert list(read_shard(shard, f"x.{SUFFIXES[kind]}")) == list(images.items())[::-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_shard_that_ends_too_early_is_damaged(kind: str, part: float) -> None:
    shard = shard_of(kind, *drawn_images())
    length = len(shard) if kind != "webdataset" else len(shard.rstrip(b"\0"))  # tar is filled up to 10 kB
    with pytest.raises(InputError, match=r"x\.\w+: damaged .* run jobs/augment.py again") as caught:
        list(read_shard(shard[: int(length * part)], f"x.{SUFFIXES[kind]}"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [b"", b"no shard at all" * 100, bytes(range(256)) * 8])
def test_what_is_no_shard_never_gives_an_image(kind: str, noise: bytes) -> None:
    if kind == "tfrecord" and not noise:
        assert not list(read_shard(noise, "x.tfrecord"))  # a TFRecord file has no header
        return
    with pytest.raises(InputError, match="damaged"):
        list(read_shard(noise, f"x.{SUFFIXES[kind]}"))


def test_flipped_bytes_never_raise_anything_else() -> None:
    for kind in KINDS:
        shard = shard_of(kind, *drawn_images())
        for place in range(0, len(shard), 97):
            flipped = shard[:place] + bytes([shard[place] ^ 0xFF]) + shard[place + 1 :]
            try:
                list(read_shard(flipped, f"x.{SUFFIXES[kind]}"))
            except InputError as error:
                assert "damaged" in str(error)


def test_an_image_without_its_description_is_damage() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("00000000.jpg"))
    with pytest.raises(InputError, match="one of its two files"):
        list(read_shard(packed.getvalue(), "x.tar"))


def test_a_table_of_something_else_is_damage() -> None:
    packed = io.BytesIO()
    pq.write_table(pa.table({"file": ["a.jpg"]}), packed)
    with pytest.raises(InputError, match="image"):
        list(read_shard(packed.getvalue(), "x.parquet"))

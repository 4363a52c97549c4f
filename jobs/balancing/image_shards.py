"""The formats of shards: all images of a partition of people (`jobs.balancing.partition`) in one file.

    webdataset      <partition>.tar, for each image NNNNNNNN.jpg and .json (its row of the manifest, and the label)
    tfrecord        <partition>.tfrecord of tf.train.Example: image (JPEG), label, identity, file, source, landmarks
    parquet         <partition>.parquet: the manifest's columns, label, and image (JPEG)

A label is the index of the identity among all folders of photos, sorted. Within a shard the images are in a random
order that depends on their files and the seed. A shard has about `SHARD_IMAGES` images, of people whom a hash brought
together, so readers that mix a few dozen shards mix people well. The same images give the same bytes.
`augmentor.balanced_set.shard_reader` reads the shards.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.balanced_set.manifest import ManifestRow, table_of

SHARD_IMAGES = 5000  # about 40 MB at 150 px


@dataclass(frozen=True)
class Packed:
    """An image and its row of the manifest."""

    row: ManifestRow
    image: bytes


def pack(kind: str, images: Sequence[Packed], labels: Mapping[str, int], seed: int) -> bytes:
    """Pack images into a shard.

    Args:
        kind: one of `augmentor.balanced_set.layout.SHARD_SUFFIXES`.
        images: the images, in any order.
        labels: identity → label.
        seed: seed of the order.

    Returns:
        The content of the shard.
    """
    ordered = sorted(images, key=lambda one: _lot(one.row.file, seed))
    rows = table_of(one.row for one in ordered)
    numbers = pa.array([labels[one.row.identity] for one in ordered], pa.int32())
    write = {"webdataset": _pack_tar, "tfrecord": _pack_tfrecord, "parquet": _pack_parquet}[kind]
    return write(rows.append_column("label", numbers), [one.image for one in ordered])


def _lot(file: str, seed: int) -> bytes:
    """Return a sort key that puts the images in a random order."""
    return hashlib.blake2b(f"{seed}\0{file}".encode(), digest_size=8).digest()


def _pack_tar(rows: pa.Table, images: list[bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (row, image) in enumerate(zip(rows.to_pylist(), images, strict=True)):
            described = json.dumps(row, ensure_ascii=False, sort_keys=True).encode()
            for suffix, content in (("jpg", image), ("json", described)):
                entry = tarfile.TarInfo(f"{number:08d}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _pack_parquet(rows: pa.Table, images: list[bytes]) -> bytes:
    packed = io.BytesIO()
    table = rows.append_column("image", pa.array(images, pa.binary())).combine_chunks()
    pq.write_table(table, packed, compression={"image": "NONE"} | dict.fromkeys(rows.schema.names, "ZSTD"))
    return packed.getvalue()


def _pack_tfrecord(rows: pa.Table, images: list[bytes]) -> bytes:
    import tempfile

    import tensorflow as tf

    def feature(value: Any) -> Any:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, list):
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            for row, image in zip(rows.to_pylist(), images, strict=True):
                values = {name: row[name].encode() for name in ("identity", "file", "source")}
                values |= {"image": image, "label": row["label"], "landmarks": row["landmarks"]}
                features = tf.train.Features(feature={name: feature(values[name]) for name in sorted(values)})
                writer.write(tf.train.Example(features=features).SerializeToString(deterministic=True))
        return Path(file.name).read_bytes()

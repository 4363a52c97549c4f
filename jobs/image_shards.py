"""The formats a balanced set can be written in.

`folder` is a file per image. The others pack them into shards of `SHARD_IMAGES` in `OUT/shards`, in a seeded order,
so that every shard holds images of everybody:

    webdataset      NNNNNN.tar, for each image NNNNNNNN.jpg and NNNNNNNN.json (its row of the manifest)
    tfrecord        NNNNNN.tfrecord of tf.train.Example: image (JPEG), label, identity, file, source, landmarks
    parquet         NNNNNN.parquet: the manifest's columns, label, and image (JPEG)

A label is the place of the identity among all, sorted. The single files stay in `OUT/.work/images`: the shards are
made from them, and a later run that changes a few images needs the others. Same images, same bytes.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.errors import InputError
from augmentor.images import write_whole

FORMATS = ("folder", "webdataset", "tfrecord", "parquet")
SUFFIXES = {"webdataset": "tar", "tfrecord": "tfrecord", "parquet": "parquet"}
SHARD_IMAGES = 5000  # some 40 MB at 150 px


def write_shards(folder: Path, images: Path, rows: pa.Table, kind: str, seed: int) -> int:
    """Pack the images; shards that are there already with the same content are left alone, others removed.

    Args:
        folder: of the shards.
        images: to which the manifest's files are relative.
        rows: of the manifest.
        kind: one of `FORMATS` but folder.
        seed: of the order.

    Returns:
        how many shards there are.

    Raises:
        InputError: an image cannot be read, or a shard not be written.
    """
    pack = {"webdataset": _pack_tar, "tfrecord": _pack_tfrecord, "parquet": _pack_parquet}[kind]
    order = sorted(range(rows.num_rows), key=_lot(rows["file"].to_pylist(), seed))
    labels = {name: i for i, name in enumerate(sorted(set(rows["identity"].to_pylist())))}
    names = set()
    for first in range(0, len(order), SHARD_IMAGES):
        part = rows.take(pa.array(order[first : first + SHARD_IMAGES], pa.int64()))
        part = part.append_column(
            "label", pa.array([labels[n] for n in part["identity"].to_pylist()], pa.int32())
        )
        path = folder / f"{first // SHARD_IMAGES:06d}.{SUFFIXES[kind]}"
        content = pack(part, [_read(images / file) for file in part["file"].to_pylist()], first)
        if not (path.is_file() and path.read_bytes() == content):
            write_whole(path, content)
        names.add(path.name)
    for path in folder.glob(f"*.{SUFFIXES[kind]}"):
        if path.name not in names:
            path.unlink()
    return len(names)


def _lot(files: list[str], seed: int) -> Callable[[int], bytes]:
    """Order of the images: by a lot drawn for each name."""
    lots = [hashlib.blake2b(f"{seed}\0{file}".encode(), digest_size=8).digest() for file in files]
    return lots.__getitem__


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be packed ({error.strerror or error}); start the job again"
        ) from error


def _pack_tar(rows: pa.Table, images: list[bytes], first: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (row, image) in enumerate(zip(rows.to_pylist(), images, strict=True), first):
            described = json.dumps(row, ensure_ascii=False, sort_keys=True).encode()
            for suffix, content in (("jpg", image), ("json", described)):
                entry = tarfile.TarInfo(f"{number:08d}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _pack_parquet(rows: pa.Table, images: list[bytes], _: int) -> bytes:
    packed = io.BytesIO()
    table = rows.append_column("image", pa.array(images, pa.binary())).combine_chunks()
    pq.write_table(table, packed, compression={"image": "NONE"} | dict.fromkeys(rows.schema.names, "ZSTD"))
    return packed.getvalue()


def _pack_tfrecord(rows: pa.Table, images: list[bytes], _: int) -> bytes:
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

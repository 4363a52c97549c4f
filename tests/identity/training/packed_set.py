"""Tiny balanced sets of random images, in each of the formats that `jobs/augment.py` writes."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.balanced_set.manifest import ManifestRow, table_of, write_manifest
from augmentor.photos.images import encode_jpeg

SUFFIXES = {"webdataset": "tar", "tfrecord": "tfrecord", "parquet": "parquet"}
PEOPLE, IMAGES, SIZE = ("Ann Ü", "Bo", "Cy"), 4, 16


def drawn_images(seed: int = 0) -> tuple[list[ManifestRow], dict[str, bytes]]:
    """The rows of a manifest, and its images by file."""
    rng = np.random.default_rng(seed)
    rows, images = [], {}
    for person in PEOPLE:
        for number in range(IMAGES):
            file = f"{person}/{number}.jpg"
            pixels = rng.integers(0, 256, (rng.integers(2, 9), 4, 3), dtype=np.uint8)
            images[file] = encode_jpeg(np.resize(pixels, (SIZE, SIZE, 3)))
            rows.append(
                ManifestRow(
                    file=file,
                    identity=person,
                    kind="render" if number else "photo",
                    source=f"{person}/photo.jpg",
                    source_sha256=person,
                    source_phash=1,
                    face=0,
                    shape=0 if number else None,
                    expression="neutral" if number else None,
                    yaw=0.0,
                    pitch=0.0,
                    roll=0.0,
                    light=0,
                    effects="",
                    landmarks=np.zeros((68, 2), np.float32),
                    visible=np.ones(68, bool),
                    size=SIZE,
                    seed=seed,
                    bytes=len(images[file]),
                )
            )
    return rows, images


def write_set(root: Path, kind: str, seed: int = 0) -> Path:
    """Write a set; shards hold images of unequal numbers of people, and their numbers have gaps. Returns `root`."""
    rows, images = drawn_images(seed)
    write_manifest(root / "manifest.parquet", rows)
    if kind == "folder":
        for file, content in images.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(content)
        return root
    (root / "shards").mkdir(exist_ok=True)
    for number, some in ((3, rows[:IMAGES]), (17, rows[: IMAGES - 1 : -1])):
        shard = shard_of(kind, some, images)
        (root / "shards" / f"{number:06d}.{SUFFIXES[kind]}").write_bytes(shard)
    return root


def shard_of(kind: str, rows: list[ManifestRow], images: dict[str, bytes]) -> bytes:
    """One shard with the images of some rows."""
    table = table_of(rows)
    table = table.append_column("label", pa.array([PEOPLE.index(row.identity) for row in rows], pa.int32()))
    contents = [images[row.file] for row in rows]
    return {"webdataset": _tar, "tfrecord": _tfrecord, "parquet": _parquet}[kind](table, contents)


def _tar(table: pa.Table, images: list[bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (row, image) in enumerate(zip(table.to_pylist(), images, strict=True)):
            for suffix, content in (("jpg", image), ("json", json.dumps(row).encode())):
                entry = tarfile.TarInfo(f"{number:08d}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _parquet(table: pa.Table, images: list[bytes]) -> bytes:
    packed = io.BytesIO()
    pq.write_table(table.append_column("image", pa.array(images, pa.binary())), packed)
    return packed.getvalue()


def _tfrecord(table: pa.Table, images: list[bytes]) -> bytes:
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
            for row, image in zip(table.to_pylist(), images, strict=True):
                values = {name: row[name].encode() for name in ("identity", "file", "source")}
                values |= {"image": image, "label": row["label"], "landmarks": row["landmarks"]}
                features = {name: feature(value) for name, value in values.items()}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
        return Path(file.name).read_bytes()

"""Read the images in a shard of a balanced set, each with its name in the manifest (`file`).

    .tar        WebDataset: NAME.jpg and NAME.json, whose `file` is the image's
    .tfrecord   tf.train.Example with `image` and `file`; read without TensorFlow
    .parquet    columns `image` and `file`

References: the TFRecord format (tensorflow.org/tutorials/load_data/tfrecord), the protocol buffers' wire format
(protobuf.dev/programming-guides/encoding).
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.errors import InputError

_BATCH = 512
_TAR_BLOCK = 512
_LENGTH_DELIMITED = 2  # the only type of field between a tf.train.Example and the strings in it


def read_shard(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the images of a shard, in its order.

    Args:
        content: content of the file.
        name: name of the file, for messages; its suffix gives the format.

    Yields:
        `file`, and the bytes of the JPEG.

    Raises:
        InputError: the file is not a shard, or is damaged.
    """
    try:
        yield from _READERS[PurePosixPath(name).suffix](content)
    except (pa.ArrowException, tarfile.TarError, ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{name}: damaged ({error}); run jobs/augment.py again") from error


def _read_tar(content: bytes) -> Iterator[tuple[str, bytes]]:
    halves: dict[str, dict[str, bytes]] = {}  # images of which only one of the two files was read so far
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        for entry in tar:
            opened = tar.extractfile(entry)
            stem, _, suffix = entry.name.partition(".")
            if opened is None or suffix not in ("jpg", "json"):
                continue
            half = halves.setdefault(stem, {})
            half[suffix] = opened.read()
            if len(half) == 2:
                described = json.loads(halves.pop(stem)["json"])
                yield str(described["file"]), half["jpg"]
        # tarfile takes a header that it cannot read for the end.
        if content[tar.offset : tar.offset + _TAR_BLOCK] != bytes(_TAR_BLOCK):
            raise ValueError("it ends too early")
    if halves:
        raise ValueError(f"{min(halves)}: only one of its two files is there")


def _read_parquet(content: bytes) -> Iterator[tuple[str, bytes]]:
    for batch in pq.ParquetFile(io.BytesIO(content)).iter_batches(_BATCH, columns=["file", "image"]):
        for file, image in zip(batch["file"].to_pylist(), batch["image"].to_pylist(), strict=True):
            if file is None or image is None:
                raise ValueError("a row has no file or no image")
            yield file, image


def _read_tfrecord(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Read records without checking sums, which is slow in Python; lengths and JPEG decoders reveal damage as well."""
    for record in _records(memoryview(content)):
        values = {}
        for entry in _fields(_field(record, 1)):  # Example.features, Features.feature: a map
            name = bytes(_field(entry[1], 1))
            if name in (b"file", b"image"):
                # Feature.bytes_list, and its value
                values[name] = bytes(_field(_field(_field(entry[1], 2), 1), 1))
        if len(values) != 2:
            raise ValueError("a record has no file or no image")
        yield values[b"file"].decode(), values[b"image"]


def _records(content: memoryview) -> Iterator[memoryview]:
    """Yield the records of a TFRecord file: length (8 bytes), its checksum (4), the record, its checksum (4), ..."""
    at = 0
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 8], "little")
        if end + 4 > len(content):
            raise ValueError("it ends within a record")
        yield content[at + 12 : end]
        at = end + 4


def _field(message: memoryview, number: int) -> memoryview:
    """Return the content of the first field with a number."""
    for field_number, value in _fields(message):
        if field_number == number:
            return value
    raise ValueError("a record is not a tf.train.Example")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields of a protocol buffers message, all of which are length-delimited."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        length, at = _varint(message, at)
        if tag & 7 != _LENGTH_DELIMITED or at + length > len(message):
            raise ValueError("a record is not a tf.train.Example")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, lowest first; the eighth bit says whether it goes on. Also return its end."""
    value = shift = 0
    while at < len(message):
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
        shift += 7
    raise ValueError("a record is not a tf.train.Example")


_READERS = {".tar": _read_tar, ".tfrecord": _read_tfrecord, ".parquet": _read_parquet}
SUFFIXES = frozenset(_READERS)

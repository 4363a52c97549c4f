"""The manifest of a balanced set: one Parquet row per image, with its origin and its content.

The columns are `SCHEMA`. Rows are sorted by file and written in one way, so the same rows give the same bytes. Readers
need nothing but Parquet. `source` and `source_sha256` say which photo an image belongs to, so that a split by photo can
be made and checked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.errors import InputError
from augmentor.faces.face_source import DEFAULT
from augmentor.photos.images import write_whole

# The descriptions are stored in every manifest as metadata of its columns.
_DESCRIBED: list[tuple[str, pa.DataType, str]] = [
    ("file", pa.string(), "path relative to the manifest, with slashes"),
    ("identity", pa.string(), "name of the person, the first folder of the photo"),
    ("kind", pa.string(), "photo (aligned, otherwise as taken) or render"),
    ("source", pa.string(), "the photo it shows, relative to the folder of photos"),
    ("source_sha256", pa.string(), "of the photo's file, hexadecimal"),
    ("source_phash", pa.uint64(), "of the photo's pixels (augmentor.photos.images.perceptual_hash)"),
    ("face", pa.int16(), "which face of the photo, 0 unless all faces are taken"),
    ("shape", pa.int16(), "head shape of the view; null for photos"),
    ("expression", pa.string(), "of the view; null for photos"),
    ("yaw", pa.float32(), "degrees, of the head in this image; + turns the nose to the image's left"),
    ("pitch", pa.float32(), "degrees, + is down"),
    ("roll", pa.float32(), "degrees, + is clockwise"),
    ("light", pa.int16(), "0 as in the photo, else number of another light"),
    (
        "effects",
        pa.string(),
        "name:strength:number of each, with blanks (augmentor.rendering.effects); none: empty",
    ),
    (
        "landmarks",
        pa.list_(pa.float32(), 136),
        "68 points x, y, x, y, ... in pixels of this image, dlib order",
    ),
    ("visible", pa.list_(pa.bool_(), 68), "whether the landmark is seen, not hidden behind the head"),
    ("size", pa.int16(), "height and width in pixels"),
    ("seed", pa.int64(), "of the run"),
    ("bytes", pa.int32(), "length of the file"),
]
SCHEMA = pa.schema([pa.field(name, kind, metadata={"about": about}) for name, kind, about in _DESCRIBED])
# Metadata of the whole table: the name of the face source by whose points the images were cut out.
_DETECTOR = b"detector"


@dataclass(frozen=True)
class ManifestRow:
    """One row of the manifest. Fields are those of `SCHEMA`; `landmarks` is (68, 2) float32, `visible` (68,) bool."""

    file: str
    identity: str
    kind: str
    source: str
    source_sha256: str
    source_phash: int
    face: int
    shape: int | None
    expression: str | None
    yaw: float
    pitch: float
    roll: float
    light: int
    effects: str
    landmarks: np.ndarray
    visible: np.ndarray
    size: int
    seed: int
    bytes: int


def table_of(rows: Iterable[ManifestRow]) -> pa.Table:
    """Return the rows as a table of `SCHEMA`, in the given order."""
    listed = list(rows)
    columns: dict[str, object] = {
        name: [getattr(row, name) for row in listed]
        for name in SCHEMA.names
        if name not in ("landmarks", "visible")
    }
    # These two become arrays at once, because converting them value by value would take longer than rendering.
    landmarks = np.array([row.landmarks for row in listed], np.float32).reshape(-1)
    visible = np.array([row.visible for row in listed], bool).reshape(-1)
    columns["landmarks"] = pa.FixedSizeListArray.from_arrays(pa.array(landmarks), 136)
    columns["visible"] = pa.FixedSizeListArray.from_arrays(pa.array(visible), 68)
    return pa.table(columns, schema=SCHEMA)


def sorted_table(tables: Iterable[pa.Table]) -> pa.Table:
    """Return all rows sorted by file and in one chunk, so that what is written depends on the rows alone."""
    joined = pa.concat_tables([SCHEMA.empty_table(), *(table.cast(SCHEMA) for table in tables)])
    return joined.sort_by([("file", "ascending")]).combine_chunks()


def schema_noting(detector: str) -> pa.Schema:
    """Return `SCHEMA` with a note of the face source by whose points the images were cut out.

    Args:
        detector: a key of `augmentor.faces.face_source.SOURCES`.
    """
    return SCHEMA.with_metadata({_DETECTOR: detector.encode()})


def detector_of(table: pa.Table) -> str | None:
    """Return the name of the face source that a manifest notes; None if it was made before there were notes."""
    noted = (table.schema.metadata or {}).get(_DETECTOR)
    return None if noted is None else noted.decode(errors="replace")


def write_manifest(
    path: Path, rows: pa.Table | Iterable[ManifestRow], detector: str | None = DEFAULT
) -> None:
    """Write the manifest whole or not at all.

    Args:
        path: the file.
        rows: the rows, in any order.
        detector: the name of the face source, see `schema_noting`; None for no note.

    Raises:
        InputError: the file cannot be written.
    """
    table = sorted_table([rows if isinstance(rows, pa.Table) else table_of(rows)])
    table = table.cast(SCHEMA if detector is None else schema_noting(detector))
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=16384)
    write_whole(path, buffer.getvalue())


def read_manifest(path: Path) -> pa.Table:
    """Read a manifest.

    Raises:
        InputError: the file is missing or damaged, or lacks a column.
    """
    if not path.is_file():
        raise InputError(f"{path}: no manifest; make the set with jobs/augment.py")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({error}); run jobs/augment.py again"
        ) from error
    if missing := [name for name in SCHEMA.names if name not in table.schema.names]:
        raise InputError(
            f"{path}: not a manifest of jobs/augment.py, it lacks the columns {', '.join(missing)}; run the job again"
        )
    detector = detector_of(table)
    return table.select(SCHEMA.names).cast(SCHEMA if detector is None else schema_noting(detector))

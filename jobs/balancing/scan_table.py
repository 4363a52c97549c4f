"""The table of what a scan found in every photo, kept in `OUT/.work/parts` so that no photo is searched twice."""

from collections.abc import Iterable
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.balancing.plan import PhotoRecord

SCHEMA = pa.schema(
    [
        ("identity", pa.string()),
        ("photo", pa.string()),
        ("face", pa.int16()),
        ("sha256", pa.string()),
        ("phash", pa.uint64()),
        ("yaw", pa.float64()),
        ("pitch", pa.float64()),
        ("roll", pa.float64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("landmarks", pa.list_(pa.float32(), 136)),
        ("points", pa.list_(pa.float32(), 10)),
        ("visible", pa.list_(pa.bool_(), 68)),
    ]
)
_PLACES = ("landmarks", "points")


def scan_bytes(faces: Iterable[PhotoRecord]) -> bytes:
    """Return the table as a Parquet file, sorted, so that the same faces give the same bytes."""
    rows = sorted(faces, key=lambda f: (f.photo, f.face))
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    for name in _PLACES:
        columns[name] = [None if places is None else places.ravel() for places in columns[name]]
    columns["visible"] = [None if row is None else row.tolist() for row in columns["visible"]]
    buffer = BytesIO()
    pq.write_table(pa.table(columns, schema=SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def read_scan(content: bytes) -> list[PhotoRecord]:
    """Return the faces of a table.

    Raises:
        pyarrow.ArrowException: the table is damaged.
    """
    rows = pq.read_table(pa.BufferReader(content), schema=SCHEMA).to_pylist()
    for row in rows:
        for name in _PLACES:
            if row[name] is not None:
                row[name] = np.array(row[name], np.float32).reshape(-1, 2)
        if row["visible"] is not None:
            row["visible"] = np.array(row["visible"], bool)
    return [PhotoRecord(**row) for row in rows]

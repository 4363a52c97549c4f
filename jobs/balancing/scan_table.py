"""What the scan found out about every photo, kept in `OUT/.work/parts` so that no photo is searched for faces twice."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
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
    ]
)


@dataclass(frozen=True)
class ScannedFace:
    """One face of one photo, or the reason why the photo has none that can be used.

    `photo` is relative to the data folder, with slashes; `landmarks` (68, 2) float32 in pixels of the upright photo,
    None with a `reason`; `sha256` is empty and `phash` 0 where the file could not be read that far.
    """

    identity: str
    photo: str
    face: int
    sha256: str
    phash: int
    yaw: float
    pitch: float
    roll: float
    reason: str | None
    detail: str
    landmarks: np.ndarray | None

    @property
    def record(self) -> PhotoRecord:
        """What the planner needs of it."""
        return PhotoRecord(
            self.identity, self.photo, self.sha256, self.yaw, self.pitch, self.roll, self.reason, self.face
        )


def scan_bytes(faces: Iterable[ScannedFace]) -> bytes:
    """The table as a Parquet file, sorted: same faces, same bytes."""
    rows = sorted(faces, key=lambda f: (f.photo, f.face))
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(ScannedFace)}
    columns["landmarks"] = [None if p is None else p.reshape(136) for p in columns["landmarks"]]
    buffer = BytesIO()
    pq.write_table(pa.table(columns, schema=SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def read_scan(content: bytes) -> list[ScannedFace]:
    """Read a table.

    Raises:
        pyarrow.ArrowException: it is damaged.
    """
    rows = pq.read_table(pa.BufferReader(content), schema=SCHEMA).to_pylist()
    for row in rows:
        if row["landmarks"] is not None:
            row["landmarks"] = np.array(row["landmarks"], np.float32).reshape(68, 2)
    return [ScannedFace(**row) for row in rows]

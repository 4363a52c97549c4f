"""A cache of the faces that were detected in photo files, so that a photo is searched once.

Detecting takes some 0.1 s a photo. What was found (not the chips) is kept under a key of three parts: the content of
the photo (its SHA-256), the version of the face source, and the settings of the search. The last two name a Parquet
file, the first is a column of it; so a changed photo is searched again, and so are all photos if another source or
another version of it is used.

Contract:
    Forgetting a person deletes these files, or rows of them; `FILES` matches their names.
"""

import io
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.faces.face_source import FaceSource
from augmentor.photos.images import write_whole
from identity.chips.photo_faces import FaceChip, PhotoFaces, PhotoReader

FILES = "faces-*.parquet"
_SCHEMA = pa.schema(
    [
        ("sha256", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("phash", pa.uint64()),
        ("points", pa.list_(pa.float32())),
        ("landmarks", pa.list_(pa.float32())),
        ("visible", pa.list_(pa.bool_())),
        ("box", pa.list_(pa.float64())),
    ]
)


def cache_file_name(source: FaceSource, policy: str, min_face: int) -> str:
    """Return the name of the file for one way of searching.

    Args:
        source: detects the faces.
        policy: which face counts, see `augmentor.faces.face_search`, or `whole` for photos that are used whole.
        min_face: smallest usable face, pixels.
    """
    return f"faces-{policy}-{min_face}-{source.version}.parquet"


class DetectionCache:
    """The faces that a reader found in photo files, at most one a photo, by the SHA-256 of the files.

    Args:
        folder: where the file lies; None keeps nothing on disk.
        reader: detects the faces.
    """

    def __init__(self, folder: Path | None, reader: PhotoReader) -> None:
        policy = "whole" if reader.align == "whole" else reader.policy
        self.file = folder / cache_file_name(reader.source, policy, reader.min_face) if folder else None
        self._known: dict[str, PhotoFaces] = self._read()

    def get(self, sha256: str) -> PhotoFaces | None:
        """Return what is known of a file, without chips, or None."""
        return self._known.get(sha256)

    def add(self, photo: PhotoFaces) -> None:
        """Remember a photo; it is on disk only after `save`."""
        self._known[photo.sha256] = photo.without_chips()

    def save(self) -> None:
        """Write everything, together with what another process has written in the meantime.

        Raises:
            InputError: the folder cannot be written.
        """
        if self.file is None:
            return
        self._known = {**self._read(), **self._known}
        rows = [_row(sha256, photo) for sha256, photo in sorted(self._known.items())]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), buffer)
        write_whole(self.file, buffer.getvalue(), private=True)

    def _read(self) -> dict[str, PhotoFaces]:
        if self.file is None or not self.file.is_file():
            return {}
        try:
            rows = pq.read_table(io.BytesIO(self.file.read_bytes()), schema=_SCHEMA).to_pylist()
        except (OSError, pa.ArrowException) as error:
            print(f"{self.file}: cannot be used ({error}); the photos are searched again", file=sys.stderr)
            return {}
        return {row["sha256"]: _from_row(row) for row in rows}


def _row(sha256: str, photo: PhotoFaces) -> dict[str, Any]:
    points, landmarks = photo.points, photo.landmarks
    return {
        "sha256": sha256,
        "reason": photo.reason,
        "detail": photo.detail,
        "phash": photo.phash,
        "points": None if points is None else points.ravel().tolist(),
        "landmarks": None if landmarks is None else landmarks.ravel().tolist(),
        "visible": None if photo.visible is None else photo.visible.tolist(),
        "box": None if points is None or photo.box is None else list(photo.box),
    }


def _from_row(row: dict[str, Any]) -> PhotoFaces:
    faces: tuple[FaceChip, ...] = ()
    if row["points"] is not None:
        x, y, width, height = row["box"]
        points = np.array(row["points"], np.float32).reshape(5, 2)
        landmarks = np.array(row["landmarks"] or (), np.float32).reshape(-1, 2)
        visible = np.array(row["visible"] or (), bool)
        faces = (FaceChip((x, y, width, height), landmarks, math.nan, points, visible),)
    return PhotoFaces("", Path(), row["reason"], row["detail"], faces, row["sha256"], row["phash"])

"""The table of who is in which photo: its columns, and what its Parquet files record about themselves.

There is one row for each face, and one for each photo without a face or that cannot be read. The columns are `SCHEMA`;
the metadata of each field explains it (`about`). The metadata of a file's schema says what the file was made from,
under `ABOUT`, as JSON. The same rows give the same bytes.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# The descriptions are stored in every table as metadata of its columns.
_DESCRIBED: list[tuple[str, pa.DataType, str]] = [
    ("photo", pa.string(), "path relative to the folder of photos, with slashes"),
    ("sha256", pa.string(), "of the photo's file, hexadecimal; null where nothing could be read"),
    ("status", pa.string(), "ok (a face was found), no_face or error (not readable)"),
    (
        "reason",
        pa.string(),
        "what is wrong with the photo, and after a colon what exactly; for an unknown face that cannot be told, "
        "too_small or blurred; else null",
    ),
    ("face", pa.int32(), "number of the face in its photo, the largest being 0; null without a face"),
    ("name", pa.string(), "who it is, or unknown (in a run of whole photos: other); null without a face"),
    ("score", pa.float64(), "acceptance score of the best name, higher is surer; rounded to 4 digits"),
    (
        "probability",
        pa.float64(),
        "that the best name is right, were every second face a stranger's; 4 digits",
    ),
    ("x", pa.float64(), "left edge of the face's box in pixels of the upright photo; may lie beyond it"),
    ("y", pa.float64(), "upper edge of the face's box, likewise"),
    ("width", pa.float64(), "of the box, pixels"),
    ("height", pa.float64(), "of the box, pixels"),
    ("size", pa.int32(), "side of a square as large as the box, pixels"),
    ("quality", pa.float64(), "cosine of the face and its mirror image; below 0.94 names are less reliable"),
]
SCHEMA = pa.schema([pa.field(name, kind, metadata={"about": about}) for name, kind, about in _DESCRIBED])
ABOUT = b"likeness"
STATUSES = ("ok", "no_face", "error")


@dataclass
class Counts:
    """Counts of the photos and faces in a table, or in a part of one.

    Attributes:
        photos: status → number of photos.
        reasons: reason → number of photos without a face or that cannot be read; reasons are without details.
        faces: number of faces in all photos.
        named: number of faces with a name.
    """

    photos: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faces: int = 0
    named: int = 0

    @classmethod
    def of(cls, rows: pa.Table, nobody: str) -> "Counts":
        """Count the rows of a table.

        Args:
            rows: a table of `SCHEMA`.
            nobody: the name that strangers have in the table.
        """
        photos = Counter(
            dict(zip(rows["photo"].to_pylist(), rows["status"].to_pylist(), strict=True)).values()
        )
        without_face = rows.filter(pc.is_null(rows["face"]))
        reasons = Counter(reason.split(":")[0] for reason in without_face["reason"].to_pylist() if reason)
        names = [name for name in rows["name"].to_pylist() if name is not None]
        return cls(photos, reasons, len(names), sum(name != nobody for name in names))

    def add(self, other: "Counts") -> None:
        """Add the counts of another part."""
        self.photos += other.photos
        self.reasons += other.reasons
        self.faces += other.faces
        self.named += other.named

    @property
    def total(self) -> int:
        """The number of all photos."""
        return sum(self.photos.values())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values in a fixed order, for JSON."""
        return {
            "photos": self.total,
            "photos_by_status": {status: self.photos[status] for status in STATUSES},
            "reasons": dict(sorted(self.reasons.items())),
            "faces": self.faces,
            "named": self.named,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Counts":
        """Rebuild counts from the result of `as_dict`.

        Raises:
            KeyError: the values are something else.
        """
        photos, reasons = Counter(values["photos_by_status"]), Counter(values["reasons"])
        return cls(photos, reasons, values["faces"], values["named"])


def rows_of(answer: Mapping[str, Any], sha256: str | None) -> list[dict[str, Any]]:
    """Return the rows of a photo.

    Args:
        answer: what `identity.runs.recogniser.Recognition.as_json` returned.
        sha256: SHA-256 of the photo's file, hexadecimal; None if nothing could be read.
    """
    photo = {
        "photo": answer["photo"],
        "sha256": sha256,
        "status": answer["status"],
        "reason": answer["reason"],
    }
    rows = []
    for number, face in enumerate(answer["faces"]):
        x, y, width, height = face["box"]
        values = {name: face[name] for name in ("name", "reason", "score", "probability", "size", "quality")}
        rows.append(photo | {"face": number, "x": x, "y": y, "width": width, "height": height} | values)
    return rows or [photo]


def part_bytes(rows: Iterable[Mapping[str, Any]], about: Mapping[str, Any]) -> tuple[bytes, pa.Table]:
    """Return a part of the table as a file's content, and its rows."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema_about(about))
    packed = io.BytesIO()
    pq.write_table(table, packed, compression="zstd")
    return packed.getvalue(), table


def schema_about(about: Mapping[str, Any]) -> pa.Schema:
    """Return `SCHEMA` with metadata that records `about`."""
    return SCHEMA.with_metadata({ABOUT: json.dumps(about, sort_keys=True, ensure_ascii=False).encode()})


def about_of(schema: pa.Schema) -> dict[str, Any]:
    """Return what `schema_about` was given; empty for a file that another program made."""
    try:
        about = json.loads((schema.metadata or {})[ABOUT])
    except (KeyError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}

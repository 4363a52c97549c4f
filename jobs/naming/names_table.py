"""The table of who is on which photo: its columns, and what its Parquet files say of themselves.

One row for each face, and one for each photo without a face or that cannot be read. The columns are `SCHEMA`, each
with its meaning in the metadata of its field (`about`). What a file was made of is in the metadata of its schema,
under `ABOUT`, as JSON. Same rows, same bytes.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_DESCRIBED: list[tuple[str, pa.DataType, str]] = [
    ("photo", pa.string(), "path relative to the folder of photos, with slashes"),
    ("sha256", pa.string(), "of the photo's file, hexadecimal; null where nothing could be read"),
    ("status", pa.string(), "ok (a face was found), no_face or error (not readable)"),
    ("reason", pa.string(), "null for ok; else what is wrong, and after a colon what exactly"),
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
    """What a table, or a part of one, holds.

    Attributes:
        photos: by status.
        reasons: of photos without a face or that cannot be read, without what exactly is wrong.
        faces: of all photos.
        named: faces with a name.
    """

    photos: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faces: int = 0
    named: int = 0

    @classmethod
    def of(cls, rows: pa.Table, nobody: str) -> "Counts":
        """Count.

        Args:
            rows: of `SCHEMA`.
            nobody: the name of strangers.
        """
        photos = Counter(
            dict(zip(rows["photo"].to_pylist(), rows["status"].to_pylist(), strict=True)).values()
        )
        reasons = Counter(reason.split(":")[0] for reason in rows["reason"].to_pylist() if reason)
        names = [name for name in rows["name"].to_pylist() if name is not None]
        return cls(photos, reasons, len(names), sum(name != nobody for name in names))

    def add(self, other: "Counts") -> None:
        """Count those of another part, too."""
        self.photos += other.photos
        self.reasons += other.reasons
        self.faces += other.faces
        self.named += other.named

    @property
    def total(self) -> int:
        """All photos."""
        return sum(self.photos.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values in a fixed order, for JSON."""
        return {
            "photos": self.total,
            "photos_by_status": {status: self.photos[status] for status in STATUSES},
            "reasons": dict(sorted(self.reasons.items())),
            "faces": self.faces,
            "named": self.named,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Counts":
        """What `as_dict` gave.

        Raises:
            KeyError: something else.
        """
        photos, reasons = Counter(values["photos_by_status"]), Counter(values["reasons"])
        return cls(photos, reasons, values["faces"], values["named"])


def rows_of(answer: Mapping[str, Any], sha256: str | None) -> list[dict[str, Any]]:
    """The rows of a photo.

    Args:
        answer: `identity.runs.recogniser.Recognition.as_json`.
        sha256: of its file.
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
        told = {name: face[name] for name in ("name", "score", "probability", "size", "quality")}
        rows.append(photo | {"face": number, "x": x, "y": y, "width": width, "height": height} | told)
    return rows or [photo]


def part_bytes(rows: Iterable[Mapping[str, Any]], about: Mapping[str, Any]) -> tuple[bytes, pa.Table]:
    """A part of the table as a file, and the rows themselves."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema_about(about))
    packed = io.BytesIO()
    pq.write_table(table, packed, compression="zstd")
    return packed.getvalue(), table


def schema_about(about: Mapping[str, Any]) -> pa.Schema:
    """`SCHEMA` of a file that says this of itself."""
    return SCHEMA.with_metadata({ABOUT: json.dumps(about, sort_keys=True, ensure_ascii=False).encode()})


def about_of(schema: pa.Schema) -> dict[str, Any]:
    """What `schema_about` was given; nothing for files that others made."""
    try:
        told = json.loads((schema.metadata or {})[ABOUT])
    except (KeyError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}

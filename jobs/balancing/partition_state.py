"""What earlier runs left of a partition in `OUT/.work/parts`: enough to leave it alone when nothing has changed.

`augmentor.balanced_set.part_records` describes the files. A worker that is killed before the last of them is written
leaves a partition that is made again.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.balanced_set.layout import PARTS
from augmentor.balanced_set.manifest import SCHEMA
from augmentor.balanced_set.part_records import (
    MAKING,
    RECORD,
    ROWS,
    SCAN,
    Account,
    PartRecord,
    making_from_bytes,
    making_to_bytes,
    part_file,
)
from augmentor.photos.place import FileStamp, Place
from jobs.balancing.scan_table import ScannedFace, read_scan, scan_bytes


@dataclass(frozen=True)
class Known:
    """What earlier runs left.

    Attributes:
        stamps: of each photo when it was scanned.
        labels: of the people.
        digest: of the images (`jobs.balancing.image_sink`).
        account: None if the partition was another one, of which this holds a part.
        scans: by photo.
        rows: of the manifest.
    """

    stamps: dict[str, FileStamp] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)
    digest: str = ""
    account: Account | None = None
    scans: dict[str, list[ScannedFace]] = field(default_factory=dict)
    rows: pa.Table = field(default_factory=SCHEMA.empty_table)


def read_account(out: Place, name: str) -> Known | None:
    """Return what the record of a partition says, without scans and rows; None if it is missing or damaged."""
    try:
        record = PartRecord.from_bytes(out.read(part_file(name, RECORD)))
    except (OSError, ValueError):
        return None
    return Known(record.stamps, record.labels, record.digest, record.account)


def read_known(out: Place, names: Iterable[str]) -> Known:
    """All that partitions of these names left, together; what is damaged counts as unknown."""
    stamps: dict[str, FileStamp] = {}
    scans: dict[str, list[ScannedFace]] = {}
    tables = []
    for name in names:
        known = read_account(out, name)
        if known is None:
            continue
        try:
            faces = read_scan(out.read(part_file(name, SCAN)))
            tables.append(read_rows(out, name))
        except (OSError, pa.ArrowException):
            continue
        stamps |= known.stamps
        for face in faces:
            scans.setdefault(face.photo, []).append(face)
    return Known(stamps=stamps, scans=scans, rows=pa.concat_tables([SCHEMA.empty_table(), *tables]))


def read_rows(out: Place, name: str) -> pa.Table:
    """The rows of the manifest that a partition left.

    Raises:
        OSError, pyarrow.ArrowException: they are missing or damaged.
    """
    return pq.read_table(pa.BufferReader(out.read(part_file(name, ROWS))), schema=SCHEMA)


def write_state(out: Place, name: str, known: Known) -> None:
    """Remember a partition that is done.

    Raises:
        InputError: it cannot be written.
    """
    assert known.account is not None
    record = PartRecord(known.stamps, known.labels, known.digest, known.account)
    out.write(part_file(name, SCAN), scan_bytes(face for faces in known.scans.values() for face in faces))
    packed = io.BytesIO()
    pq.write_table(known.rows, packed, compression="zstd")
    out.write(part_file(name, ROWS), packed.getvalue())
    out.write(part_file(name, RECORD), record.to_bytes())


def read_making(out: Place, name: str) -> set[str]:
    """Return the files that a worker which was killed may have written for a partition, relative to the output."""
    try:
        return set(making_from_bytes(out.read(part_file(name, MAKING))))
    except (OSError, ValueError):
        return set()


def write_making(out: Place, name: str, files: Iterable[str]) -> None:
    """Remember the files that are about to be written for a partition, with those that were before.

    Raises:
        InputError: it cannot be written.
    """
    out.write(part_file(name, MAKING), making_to_bytes(files))


def end_making(out: Place, name: str) -> None:
    """Forget what was being written: the other files tell of it now."""
    out.remove(part_file(name, MAKING))


def remove_state(out: Place, name: str) -> None:
    """Forget a partition."""
    for kind in (RECORD, ROWS, SCAN, MAKING):
        out.remove(part_file(name, kind))


def known_parts(out: Place) -> set[str]:
    """Names of the partitions that are remembered."""
    return {name.removesuffix(RECORD) for name in out.entries(PARTS)[1] if name.endswith(RECORD)}

"""Read and write what is remembered of a partition in `OUT/.work/parts`, so that an unchanged one is left alone.

`augmentor.balanced_set.part_records` describes the files. If a worker is killed before the last of them is written, the
partition is made again.
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
from augmentor.balancing.plan import PhotoRecord
from augmentor.photos.place import FileStamp, Place
from jobs.balancing.scan_table import read_scan, scan_bytes


@dataclass(frozen=True)
class Known:
    """The memory of earlier runs about a partition.

    Attributes:
        stamps: photo → its stamp when it was scanned.
        labels: labels of the people.
        digest: digest of the images (`jobs.balancing.image_sink`).
        account: None if the memory is of other partitions that had some of the people.
        scans: photo → its faces.
        rows: rows of the manifest.
    """

    stamps: dict[str, FileStamp] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)
    digest: str = ""
    account: Account | None = None
    scans: dict[str, list[PhotoRecord]] = field(default_factory=dict)
    rows: pa.Table = field(default_factory=SCHEMA.empty_table)


def read_account(out: Place, name: str) -> Known | None:
    """Read only the record of a partition; None if it is missing or damaged."""
    try:
        record = PartRecord.from_bytes(out.read(part_file(name, RECORD)))
    except (OSError, ValueError):
        return None
    return Known(record.stamps, record.labels, record.digest, record.account)


def read_known(out: Place, names: Iterable[str]) -> Known:
    """Read all that is remembered of partitions, together; damaged files count as unknown."""
    stamps: dict[str, FileStamp] = {}
    scans: dict[str, list[PhotoRecord]] = {}
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
    """Read a partition's rows of the manifest.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing or damaged.
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
    """Return the files that a killed worker may have written for a partition, relative to the output."""
    try:
        return set(making_from_bytes(out.read(part_file(name, MAKING))))
    except (OSError, ValueError):
        return set()


def write_making(out: Place, name: str, files: Iterable[str]) -> None:
    """Remember the files that may be written for a partition.

    Args:
        out: the output.
        name: name of the partition.
        files: all files that are about to be written or were written since the work began, relative to the output.

    Raises:
        InputError: the memory cannot be written.
    """
    out.write(part_file(name, MAKING), making_to_bytes(files))


def end_making(out: Place, name: str) -> None:
    """Forget which files were being written, because the other files record them now."""
    out.remove(part_file(name, MAKING))


def remove_state(out: Place, name: str) -> None:
    """Forget a partition."""
    for kind in (RECORD, ROWS, SCAN, MAKING):
        out.remove(part_file(name, kind))


def known_parts(out: Place) -> set[str]:
    """Return the names of the partitions that are remembered."""
    return {name.removesuffix(RECORD) for name in out.entries(PARTS)[1] if name.endswith(RECORD)}

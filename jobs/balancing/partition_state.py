"""What is remembered of a partition, in `OUT/.work/parts`: enough to leave it alone when nothing has changed.

    <partition>.scan.parquet    what the scan found out about each photo (`jobs.balancing.scan_table`)
    <partition>.rows.parquet    its rows of the manifest
    <partition>.json            written last: stamps of the photos, a digest of the images, and the account
    <partition>.making          only while it is worked on: the files that may have been written since, so that what
                                a killed worker wrote is known to be the job's own

Who is killed before the last of them leaves a partition that is done again.
"""

import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.balancing.manifest import SCHEMA
from augmentor.balancing.plan import PhotoRecord
from augmentor.photos.place import FileStamp, Place
from jobs.balancing.failures import Failure
from jobs.balancing.scan_table import read_scan, scan_bytes

PARTS = ".work/parts"
_KINDS = (".scan.parquet", ".rows.parquet", ".json")
_MAKING = ".making"


@dataclass(frozen=True)
class Account:
    """What became of the photos of a partition; the same however it came about.

    Attributes:
        photos: of each identity, those set aside included.
        images: of each identity.
        held_out: photos set aside.
        rejected: photos without a usable face.
        renders: images that are renders.
        lacking: identities with fewer images than asked for.
        failures: photos that were rejected, and why.
        more_pages: photos that were used and have pages after the first.
    """

    photos: dict[str, int]
    images: dict[str, int]
    held_out: int
    rejected: int
    renders: int
    lacking: list[str]
    failures: list[Failure]
    more_pages: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Account":
        """What `dataclasses.asdict` gave.

        Raises:
            KeyError, TypeError: something else.
        """
        failures = [Failure(**one) for one in values["failures"]]
        return cls(**values | {"failures": failures})


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
    scans: dict[str, list[PhotoRecord]] = field(default_factory=dict)
    rows: pa.Table = field(default_factory=SCHEMA.empty_table)


def read_account(out: Place, name: str) -> Known | None:
    """The last of the files alone; None if it is not there or damaged."""
    try:
        told = json.loads(out.read(f"{PARTS}/{name}.json"))
        stamps = {photo: FileStamp(*stamp) for photo, stamp in told["stamps"].items()}
        return Known(stamps, told["labels"], told["digest"], Account.from_dict(told["account"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_known(out: Place, names: Iterable[str]) -> Known:
    """All that partitions of these names left, together; what is damaged counts as unknown."""
    stamps: dict[str, FileStamp] = {}
    scans: dict[str, list[PhotoRecord]] = {}
    tables = []
    for name in names:
        known = read_account(out, name)
        if known is None:
            continue
        try:
            faces = read_scan(out.read(f"{PARTS}/{name}.scan.parquet"))
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
    return pq.read_table(pa.BufferReader(out.read(f"{PARTS}/{name}.rows.parquet")), schema=SCHEMA)


def write_state(out: Place, name: str, known: Known) -> None:
    """Remember a partition that is done.

    Raises:
        InputError: it cannot be written.
    """
    scan, rows, told = (f"{PARTS}/{name}{kind}" for kind in _KINDS)
    out.write(scan, scan_bytes(face for faces in known.scans.values() for face in faces))
    packed = io.BytesIO()
    pq.write_table(known.rows, packed, compression="zstd")
    out.write(rows, packed.getvalue())
    assert known.account is not None
    content = {
        "stamps": {photo: [stamp.size, stamp.changed] for photo, stamp in sorted(known.stamps.items())},
        "labels": known.labels,
        "digest": known.digest,
        "account": asdict(known.account),
    }
    out.write(told, json.dumps(content, ensure_ascii=False, sort_keys=True).encode())


def read_making(out: Place, name: str) -> set[str]:
    """Return the files that a worker which was killed may have written for a partition, relative to the output."""
    try:
        return set(json.loads(out.read(f"{PARTS}/{name}{_MAKING}")))
    except (OSError, ValueError, TypeError):
        return set()


def write_making(out: Place, name: str, files: Iterable[str]) -> None:
    """Remember the files that are about to be written for a partition, with those that were before.

    Raises:
        InputError: it cannot be written.
    """
    out.write(f"{PARTS}/{name}{_MAKING}", json.dumps(sorted(files), ensure_ascii=False).encode())


def end_making(out: Place, name: str) -> None:
    """Forget what was being written: the other files tell of it now."""
    out.remove(f"{PARTS}/{name}{_MAKING}")


def remove_state(out: Place, name: str) -> None:
    """Forget a partition."""
    for kind in (*reversed(_KINDS), _MAKING):
        out.remove(f"{PARTS}/{name}{kind}")


def known_parts(out: Place) -> set[str]:
    """Names of the partitions that are remembered."""
    return {name.removesuffix(".json") for name in out.entries(PARTS)[1] if name.endswith(".json")}

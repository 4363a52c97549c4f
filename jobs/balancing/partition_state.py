"""What is remembered of a partition, in `OUT/.work/parts`: enough to leave it alone when nothing has changed.

    <partition>.scan.parquet    the result of scanning each photo (`jobs.balancing.scan_table`)
    <partition>.rows.parquet    its rows of the manifest
    <partition>.json            written last: stamps of the photos, a digest of the images, and the account
    <partition>.making          only while it is worked on: the files that may have been written since, so that files
                                of a killed worker are known to be the job's own

If a worker is killed before the .json file is written, the partition is done again.
"""

import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.balancing.manifest import SCHEMA
from augmentor.photos.place import FileStamp, Place
from jobs.balancing.failures import Failure
from jobs.balancing.scan_table import ScannedFace, read_scan, scan_bytes

PARTS = ".work/parts"
_KINDS = (".scan.parquet", ".rows.parquet", ".json")
_MAKING = ".making"


@dataclass(frozen=True)
class Account:
    """What became of the photos of a partition; it does not depend on how the work was done.

    Attributes:
        photos: number of photos of each identity, including those set aside.
        images: number of images of each identity.
        held_out: number of photos set aside.
        rejected: number of photos without a usable face.
        renders: number of images that are renders.
        lacking: identities with too few images.
        failures: rejected photos with their reasons.
        more_pages: number of photos that were used and have pages after the first.
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
        """Rebuild an account from the result of `dataclasses.asdict`.

        Raises:
            KeyError, TypeError: the values are something else.
        """
        failures = [Failure(**one) for one in values["failures"]]
        return cls(**values | {"failures": failures})


@dataclass(frozen=True)
class Known:
    """What earlier runs remembered.

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
    scans: dict[str, list[ScannedFace]] = field(default_factory=dict)
    rows: pa.Table = field(default_factory=SCHEMA.empty_table)


def read_account(out: Place, name: str) -> Known | None:
    """Read only the .json file of a partition; None if it is missing or damaged."""
    try:
        content = json.loads(out.read(f"{PARTS}/{name}.json"))
        stamps = {photo: FileStamp(*stamp) for photo, stamp in content["stamps"].items()}
        return Known(stamps, content["labels"], content["digest"], Account.from_dict(content["account"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_known(out: Place, names: Iterable[str]) -> Known:
    """Read all that is remembered of partitions, together; damaged files count as unknown."""
    stamps: dict[str, FileStamp] = {}
    scans: dict[str, list[ScannedFace]] = {}
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
    """Read a partition's rows of the manifest.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing or damaged.
    """
    return pq.read_table(pa.BufferReader(out.read(f"{PARTS}/{name}.rows.parquet")), schema=SCHEMA)


def write_state(out: Place, name: str, known: Known) -> None:
    """Remember a partition that is done.

    Raises:
        InputError: it cannot be written.
    """
    scan, rows, account = (f"{PARTS}/{name}{kind}" for kind in _KINDS)
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
    out.write(account, json.dumps(content, ensure_ascii=False, sort_keys=True).encode())


def read_making(out: Place, name: str) -> set[str]:
    """Return the files that a killed worker may have written for a partition, relative to the output."""
    try:
        return set(json.loads(out.read(f"{PARTS}/{name}{_MAKING}")))
    except (OSError, ValueError, TypeError):
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
    out.write(f"{PARTS}/{name}{_MAKING}", json.dumps(sorted(files), ensure_ascii=False).encode())


def end_making(out: Place, name: str) -> None:
    """Forget which files were being written, because the other files record them now."""
    out.remove(f"{PARTS}/{name}{_MAKING}")


def remove_state(out: Place, name: str) -> None:
    """Forget a partition."""
    for kind in (*reversed(_KINDS), _MAKING):
        out.remove(f"{PARTS}/{name}{kind}")


def known_parts(out: Place) -> set[str]:
    """Return the names of the partitions that are remembered."""
    return {name.removesuffix(".json") for name in out.entries(PARTS)[1] if name.endswith(".json")}

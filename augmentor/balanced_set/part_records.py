"""The records of a balanced set: for each part, which photos went into it and what became of them.

The people of a set are dealt to parts (`jobs.balancing.partition`). `OUT/.work/parts` holds for each part

    <part>.scan.parquet    the faces that were detected in each photo (`jobs.balancing.scan_table`)
    <part>.rows.parquet    its rows of the manifest
    <part>.json            a `PartRecord`; written last, so that a part without it is made again
    <part>.making          only while a worker is busy with it: the files that the worker may have written

Whoever deletes files of a set asks these records which files the set wrote.
"""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.balanced_set.failures import Failure
from augmentor.balanced_set.layout import PARTS
from augmentor.photos.place import FileStamp

SCAN, ROWS, RECORD, MAKING = ".scan.parquet", ".rows.parquet", ".json", ".making"


def part_file(part: str, kind: str) -> str:
    """Return the path of a record, relative to OUT.

    Args:
        part: the part's name.
        kind: one of `SCAN`, `ROWS`, `RECORD`, `MAKING`.
    """
    return f"{PARTS}/{part}{kind}"


@dataclass(frozen=True)
class Account:
    """The results for the photos of a part. The same photos give the same account.

    Attributes:
        photos: how many photos each person has, those set aside included.
        images: how many images each person has.
        held_out: how many photos were set aside.
        rejected: how many photos have no usable face.
        renders: how many images are renders.
        lacking: people with fewer images than were asked for.
        failures: the photos that were rejected, and why.
        more_pages: how many of the photos used have pages after the first, which are ignored.
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
            KeyError, TypeError, AttributeError: `values` is something else.
        """
        failures = [Failure(**one) for one in values["failures"]]
        account = cls(**values | {"failures": failures})
        account.photos.items(), account.images.items()
        return account

    def without(self, is_gone: Callable[[str], bool]) -> "Account":
        """Return the account without the people for whose names `is_gone` is true. The totals stay as they are."""
        return replace(
            self,
            photos={name: count for name, count in self.photos.items() if not is_gone(name)},
            images={name: count for name, count in self.images.items() if not is_gone(name)},
            lacking=[name for name in self.lacking if not is_gone(name)],
            failures=[failure for failure in self.failures if not is_gone(failure.identity)],
        )


@dataclass(frozen=True)
class PartRecord:
    """The content of `<part>.json`.

    Attributes:
        stamps: size and time of each photo when it was scanned; the photo's path begins with the person's folder.
        labels: the place of each person of the part among all people.
        digest: a digest of the images that were written (`jobs.balancing.image_sink`); empty if some of them are gone.
        account: what became of the photos.
    """

    stamps: dict[str, FileStamp]
    labels: list[int]
    digest: str
    account: Account

    @classmethod
    def from_bytes(cls, content: bytes) -> "PartRecord":
        """Read a record that `to_bytes` wrote.

        Raises:
            ValueError: the record is damaged.
        """
        try:
            values = json.loads(content)
            stamps = {photo: FileStamp(*stamp) for photo, stamp in values["stamps"].items()}
            return cls(stamps, values["labels"], str(values["digest"]), Account.from_dict(values["account"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"damaged ({error})") from error

    def to_bytes(self) -> bytes:
        """Return the record as JSON. The same record gives the same bytes."""
        content = {
            "stamps": {photo: [stamp.size, stamp.changed] for photo, stamp in sorted(self.stamps.items())},
            "labels": self.labels,
            "digest": self.digest,
            "account": asdict(self.account),
        }
        return json.dumps(content, ensure_ascii=False, sort_keys=True).encode()

    def without(self, is_gone: Callable[[str], bool]) -> "PartRecord":
        """Return the record without the people for whose names `is_gone` is true.

        Its digest is empty, so that the next run of the job makes the images again that went with them.
        """
        stamps = {photo: stamp for photo, stamp in self.stamps.items() if not is_gone(photo.split("/")[0])}
        return replace(self, stamps=stamps, digest="", account=self.account.without(is_gone))


def table_without(content: bytes, is_gone: Callable[[str], bool]) -> bytes:
    """Return a scan or rows table without the rows of some people.

    Args:
        content: the Parquet file; it has a column `identity`.
        is_gone: true for the names of those people.

    Raises:
        ValueError: the table is damaged.
    """
    try:
        table = pq.read_table(pa.BufferReader(content))
        kept = pa.array([not is_gone(name) for name in table["identity"].to_pylist()], pa.bool_())
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(f"damaged ({error})") from error
    packed = io.BytesIO()
    pq.write_table(table.filter(kept), packed, compression="zstd")
    return packed.getvalue()


def making_from_bytes(content: bytes) -> list[str]:
    """Return the files that a worker may have written, relative to OUT.

    Raises:
        ValueError: the list is damaged.
    """
    try:
        return [str(file) for file in json.loads(content)]
    except (ValueError, TypeError) as error:
        raise ValueError(f"damaged ({error})") from error


def making_to_bytes(files: Iterable[str]) -> bytes:
    """Return a list of files as JSON, sorted."""
    return json.dumps(sorted(files), ensure_ascii=False).encode()

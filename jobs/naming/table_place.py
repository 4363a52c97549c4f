"""Where a table goes, and what lies beside it while it is made and after.

TABLE.parquet                       appears whole, at the end
TABLE.parquet.summary.json          what the last run that made something did
TABLE.parquet.parts/00000000.parquet ...    the rows of each batch, as long as the table is not there
TABLE.parquet.parts/.work/          `jobs.cluster.work_folder`: what the parts were made with, and a lock
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from augmentor.errors import InputError
from augmentor.photos.place import FolderPlace, place_of
from jobs.naming.names_table import SCHEMA, about_of

_PART = ".parquet"
_SOME_ROWS = 256


class TablePlace:
    """A table by its path or URI.

    Args:
        uri: of the table; a path must be absolute where workers are to find it.

    Raises:
        InputError: it names no file.
    """

    def __init__(self, uri: str) -> None:
        place = place_of(uri)
        if isinstance(place, FolderPlace):
            folder, self.file, settings = str(place.folder.parent), place.folder.name, ""
            if not self.file or uri.endswith("/") or place.folder.is_dir():
                raise InputError(f"--out {uri}: a folder; name the file that is to hold the table")
        else:
            path, mark, query = uri.partition("?")
            folder, _, self.file = path.rpartition("/")
            settings = mark + query
            if not self.file or folder.endswith("/"):
                raise InputError(
                    f"--out {place.name()}: no file; name one in the bucket, as s3://bucket/table.parquet"
                )
        self.place = place_of(folder + settings)
        self.parts = place_of(f"{folder}/{self.file}.parts{settings}")
        self.summary = f"{self.file}.summary.json"

    def name(self) -> str:
        """What messages call the table."""
        return self.place.name(self.file)

    def about(self) -> dict[str, Any] | None:
        """What the table says of itself; None if there is no table, nothing if somebody else made it.

        Raises:
            InputError: it cannot be read.
        """
        if self.place.stamp(self.file) is None:
            return None
        try:
            with self.place.open(self.file) as file:
                return about_of(pq.read_schema(file))
        except pa.ArrowInvalid:  # no Parquet
            return {}
        except OSError as error:
            raise InputError(f"{self.name()}: cannot be read ({error.strerror or error})") from error

    def some_photos(self) -> list[str]:
        """Return the names of some photos in the table: enough to tell whether it is of the same archive.

        Raises:
            InputError: it cannot be read.
        """
        try:
            with self.place.open(self.file) as file:
                first = next(pq.ParquetFile(file).iter_batches(_SOME_ROWS, columns=["photo"]), None)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.name()}: cannot be read ({error}); delete it") from error
        return [] if first is None else list(dict.fromkeys(first["photo"].to_pylist()))

    def rows_of(self, photos: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of photos that are in the table; none if there is no table.

        Raises:
            InputError: it cannot be read.
        """
        if self.place.stamp(self.file) is None:
            return {}
        found: dict[str, list[dict[str, Any]]] = {}
        try:
            with self.place.open(self.file) as file:
                rows = pq.read_table(file, filters=pc.field("photo").isin(list(photos)))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.name()}: cannot be read ({error}); delete it") from error
        for row in rows.to_pylist():
            found.setdefault(row["photo"], []).append(row)
        return found

    def read_part(self, number: int) -> pa.Table:
        """The rows of a batch.

        Raises:
            OSError, pyarrow.ArrowException: they are missing or damaged.
        """
        return pq.read_table(pa.BufferReader(self.parts.read(_part(number))))

    def part_if_of(self, number: int, fingerprint: str) -> pa.Table | None:
        """The rows of a batch, if they are there, whole and made of just that."""
        try:
            rows = self.read_part(number)
        except (OSError, pa.ArrowException):
            return None
        same = about_of(rows.schema).get("fingerprint") == fingerprint and rows.schema.equals(SCHEMA)
        return rows if same else None

    def write_part(self, number: int, content: bytes) -> None:
        """Write the rows of a batch whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        self.parts.write(_part(number), content)

    def remove_parts(self) -> None:
        """Remove the parts, and what else a run leaves while it works."""
        self.place.remove_folder(f"{self.file}.parts")

    def has_parts(self) -> bool:
        """Whether any batch was done."""
        return any(name.endswith(_PART) for name in self.parts.entries()[1])

    def write_table(self, file: Path) -> None:
        """Put the table where it belongs.

        Raises:
            InputError: it cannot be written.
        """
        self.place.write_file(self.file, file)


def _part(number: int) -> str:
    return f"{number:08d}{_PART}"

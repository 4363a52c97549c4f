"""The place of a table, and of the files beside it.

TABLE.parquet                               appears whole, at the end
TABLE.parquet.summary.json                  what the last run did that made something
TABLE.parquet.parts/00000000.parquet ...    the rows of each batch, until the table exists
TABLE.parquet.parts/.work/                  what the parts were made with, and a lock (`jobs.cluster.work_folder`)
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
    """A table at a path or URI.

    Args:
        uri: path or URI of the table; a path must be absolute if workers have to find it.

    Raises:
        InputError: it does not name a file.
    """

    def __init__(self, uri: str) -> None:
        place = place_of(uri)
        if isinstance(place, FolderPlace):
            folder, self.file, settings = str(place.folder.parent), place.folder.name, ""
            if not self.file or uri.endswith("/") or place.folder.is_dir():
                raise InputError(f"--out {uri}: this is a folder; name the file to write the table to")
        else:
            path, mark, query = uri.partition("?")
            folder, _, self.file = path.rpartition("/")
            settings = mark + query
            if not self.file or folder.endswith("/"):
                raise InputError(
                    f"--out {place.name()}: not a file; name one in the bucket, such as s3://bucket/table.parquet"
                )
        self.place = place_of(folder + settings)
        self.parts = place_of(f"{folder}/{self.file}.parts{settings}")
        self.summary = f"{self.file}.summary.json"

    def name(self) -> str:
        """Return what messages call the table."""
        return self.place.name(self.file)

    def about(self) -> dict[str, Any] | None:
        """Return what the table records about itself.

        Returns:
            None if there is no table; empty if another program made it.

        Raises:
            InputError: the table cannot be read.
        """
        if self.place.stamp(self.file) is None:
            return None
        try:
            with self.place.open(self.file) as file:
                return about_of(pq.read_schema(file))
        except pa.ArrowInvalid:  # not a Parquet file
            return {}
        except OSError as error:
            raise InputError(f"{self.name()}: cannot be read ({error.strerror or error})") from error

    def some_photos(self) -> list[str]:
        """Return the paths of some photos in the table, enough to see whether it is of the same archive.

        Raises:
            InputError: the table cannot be read.
        """
        try:
            with self.place.open(self.file) as file:
                first = next(pq.ParquetFile(file).iter_batches(_SOME_ROWS, columns=["photo"]), None)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.name()}: cannot be read ({error}); delete it and start again") from error
        return [] if first is None else list(dict.fromkeys(first["photo"].to_pylist()))

    def rows_of(self, photos: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return photo → rows for those photos that are in the table; empty if there is no table.

        Raises:
            InputError: the table cannot be read.
        """
        if self.place.stamp(self.file) is None:
            return {}
        rows_of_photo: dict[str, list[dict[str, Any]]] = {}
        try:
            with self.place.open(self.file) as file:
                rows = pq.read_table(file, filters=pc.field("photo").isin(list(photos)))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.name()}: cannot be read ({error}); delete it and start again") from error
        for row in rows.to_pylist():
            rows_of_photo.setdefault(row["photo"], []).append(row)
        return rows_of_photo

    def read_part(self, number: int) -> pa.Table:
        """Read the rows of a batch.

        Raises:
            OSError, pyarrow.ArrowException: the part is missing or damaged.
        """
        return pq.read_table(pa.BufferReader(self.parts.read(_part(number))))

    def part_if_of(self, number: int, fingerprint: str) -> pa.Table | None:
        """Return the rows of a batch if they exist, are undamaged and have this fingerprint, else None."""
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
        """Remove the parts, and everything else that a run keeps while it works."""
        self.place.remove_folder(f"{self.file}.parts")

    def has_parts(self) -> bool:
        """Return whether any batch was done."""
        return any(name.endswith(_PART) for name in self.parts.entries()[1])

    def write_table(self, file: Path) -> None:
        """Copy a finished table to its place.

        Raises:
            InputError: it cannot be written.
        """
        self.place.write_file(self.file, file)


def _part(number: int) -> str:
    return f"{number:08d}{_PART}"

"""Join the parts of a table, row group by row group, holding the rows of only one in memory."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augmentor.errors import InputError
from augmentor.photos.in_order import read_in_order
from jobs.naming.names_table import about_of, schema_about
from jobs.naming.photo_batches import whole_fingerprint
from jobs.naming.table_place import TablePlace

ROW_GROUP = 1 << 15  # least number of rows


def join_parts(table: TablePlace, parts: int, about: Mapping[str, Any]) -> None:
    """Join the parts into the table; the parts stay.

    Args:
        table: where to write it.
        parts: number of parts.
        about: what the table records about itself; its `fingerprint` is that of all parts.

    Raises:
        InputError: a part is missing or was changed, or the table cannot be written.
    """
    fingerprints: list[str] = []
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        schema = schema_about(about)
        with pq.ParquetWriter(file.name, schema, compression="zstd") as writer:
            for group in _groups(_parts(table, parts, fingerprints)):
                joined = pa.concat_tables([rows.cast(schema) for rows in group]).combine_chunks()
                writer.write_table(joined, row_group_size=joined.num_rows)
        if whole_fingerprint(fingerprints) != about["fingerprint"]:
            raise InputError(f"{table.parts.name()}: changed while the job ran; run the same command again")
        table.write_table(Path(file.name))


def _parts(table: TablePlace, parts: int, fingerprints: list[str]) -> Iterator[pa.Table]:
    try:
        for rows in read_in_order(table.read_part, range(parts)):
            fingerprints.append(about_of(rows.schema).get("fingerprint", ""))
            yield rows
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{table.parts.name()}: a part cannot be read ({error}); run the same command again"
        ) from error


def _groups(parts: Iterator[pa.Table]) -> Iterator[list[pa.Table]]:
    """Group parts so that each group except the last has at least `ROW_GROUP` rows."""
    group: list[pa.Table] = []
    rows = 0
    for part in parts:
        group.append(part)
        rows += part.num_rows
        if rows >= ROW_GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group

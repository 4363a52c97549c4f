"""Tests of the manifest: it records the origin of every image, and the same rows give the same bytes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augmentor.balanced_set.manifest import (
    SCHEMA,
    ManifestRow,
    detector_of,
    read_manifest,
    sorted_table,
    table_of,
    write_manifest,
)
from augmentor.errors import InputError


def row(file: str, kind: str = "render") -> ManifestRow:
    rendered = kind == "render"
    landmarks = np.arange(136, dtype=np.float32).reshape(68, 2) / 2
    visible = np.arange(68) % 2 == 0
    return ManifestRow(
        file=file,
        identity="Zoë 😀",
        kind=kind,
        source="Zoë 😀/a.jpg",
        source_sha256="0" * 64,
        source_phash=2**64 - 1,
        face=0,
        shape=3 if rendered else None,
        expression="neutral" if rendered else None,
        yaw=-30.5,
        pitch=10.0,
        roll=0.0,
        light=0,
        effects="",
        landmarks=landmarks,
        visible=visible,
        size=150,
        seed=0,
        bytes=4321,
    )


def test_rows_come_back_as_written_and_sorted(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", [row("b.jpg"), row("a.jpg", "photo")])
    table = read_manifest(tmp_path / "m.parquet")
    assert table.schema.equals(SCHEMA)
    first, second = table.to_pylist()
    assert (first["file"], first["kind"], first["shape"]) == ("a.jpg", "photo", None)
    assert (second["file"], second["shape"], second["source_phash"]) == ("b.jpg", 3, 2**64 - 1)
    assert second["landmarks"][2:4] == [1.0, 1.5]  # the second point is (1.0, 1.5): x before y
    assert second["visible"][:3] == [True, False, True]


def test_bytes_depend_on_the_rows_alone(tmp_path: Path) -> None:
    rows = [row(f"{i:03d}.jpg") for i in range(50)]
    write_manifest(tmp_path / "a.parquet", rows)
    pieces = sorted_table([table_of(rows[30:]), table_of(rows[:7]), table_of(rows[7:30])])
    write_manifest(tmp_path / "b.parquet", pieces)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_empty_manifest_has_all_columns(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", [])
    assert read_manifest(tmp_path / "m.parquet").num_rows == 0


def test_missing_damaged_or_foreign_file_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.parquet: no manifest"):
        read_manifest(tmp_path / "m.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_manifest(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="lacks the columns identity"):
        read_manifest(tmp_path / "other.parquet")


def test_a_damaged_note_of_the_detector_is_an_unknown_detector() -> None:
    table = SCHEMA.with_metadata({b"detector": b"h\xff"}).empty_table()
    assert detector_of(table) == "h\ufffd"
    assert detector_of(SCHEMA.empty_table()) is None

"""The records of a part: what is written is read again, and a person can be taken out."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augmentor.balanced_set.failures import Failure
from augmentor.balanced_set.part_records import (
    Account,
    PartRecord,
    making_from_bytes,
    making_to_bytes,
    table_without,
)
from augmentor.photos.place import FileStamp

ACCOUNT = Account(
    photos={"Anna": 2, "Bo": 1},
    images={"Anna": 8, "Bo": 8},
    held_out=1,
    rejected=1,
    renders=13,
    lacking=["Bo"],
    failures=[
        Failure("Bo/x.jpg", "Bo", "no_face", ""),
        Failure("Anna/y.jpg", "Anna", "unreadable", "damaged"),
    ],
)
RECORD = PartRecord({"Anna/a.jpg": FileStamp(10, 1), "Bo/b.jpg": FileStamp(20, 2)}, [0, 1], "digest", ACCOUNT)


def test_a_record_is_read_as_it_was_written_and_the_same_record_gives_the_same_bytes() -> None:
    assert PartRecord.from_bytes(RECORD.to_bytes()) == RECORD
    assert PartRecord.from_bytes(RECORD.to_bytes()).to_bytes() == RECORD.to_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        RECORD.to_bytes()[:-5],
        RECORD.to_bytes().replace(b'"photos": {', b'"photoz": {'),
    ],
)
def test_a_damaged_record_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        PartRecord.from_bytes(content)


def test_a_record_without_a_person_names_the_person_nowhere_and_asks_for_the_images_again() -> None:
    others = RECORD.without(lambda name: name == "Bo")
    assert b"Bo" not in others.to_bytes() and others.digest == ""
    assert others.account.photos == {"Anna": 2} and list(others.stamps) == ["Anna/a.jpg"]
    assert [failure.identity for failure in others.account.failures] == ["Anna"]


def test_a_table_without_a_person_keeps_the_rows_of_the_others() -> None:
    packed = io.BytesIO()
    pq.write_table(pa.table({"identity": ["Anna", "Bo", "Anna"], "n": [1, 2, 3]}), packed)
    rows = pq.read_table(pa.BufferReader(table_without(packed.getvalue(), lambda name: name == "Bo")))
    assert rows.to_pydict() == {"identity": ["Anna", "Anna"], "n": [1, 3]}
    with pytest.raises(ValueError, match="damaged"):
        table_without(b"no table", lambda name: False)


def test_the_files_of_an_unfinished_part_are_listed_in_order() -> None:
    assert making_from_bytes(making_to_bytes({"b", "a"})) == ["a", "b"]
    for damaged in (b"", b"3", b"\xff"):
        with pytest.raises(ValueError, match="damaged"):
            making_from_bytes(damaged)

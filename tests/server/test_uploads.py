"""Uploads: photos, zips of photos, and files that only look like them."""

import io
import random
import struct
import zipfile
from pathlib import PurePosixPath
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmentor.errors import PhotoError
from identity.server.problems import Problem
from identity.server.source import Source
from identity.server.uploads import safe_path, shown, sources_of


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def sources(*files: tuple[str, bytes], most: int = 10, unzipped: int = 1000, one: int = 500) -> list[Source]:
    opened: list[tuple[str, IO[bytes]]] = [(name, io.BytesIO(content)) for name, content in files]
    return sources_of(opened, most, unzipped, one)


def refused(source: Source) -> str:
    with pytest.raises(PhotoError) as error:
        source.read()
    return str(error.value)


def test_photos_and_those_in_zips_keep_their_order_and_names() -> None:
    opened = sources(("a.jpg", b"A"), ("b.zip", zipped(("c.jpg", b"C"), ("in/d.jpg", b"D"))), ("e", b"E"))
    assert [s.name for s in opened] == ["a.jpg", "b.zip/c.jpg", "b.zip/in/d.jpg", "e"]
    assert [s.read() for s in opened] == [b"A", b"C", b"D", b"E"]


def test_a_zip_is_recognised_by_its_content_and_not_by_its_name() -> None:
    assert [s.name for s in sources(("a.jpg", zipped(("b", b"B"))))] == ["a.jpg/b"]
    assert [s.name for s in sources(("a.zip", b"no zip"))] == ["a.zip"]


def test_files_that_systems_add_to_zips_are_ignored() -> None:
    names = ["__MACOSX/._a.jpg", ".DS_Store", "x/Thumbs.db", "a.jpg", "folder/"]
    assert [s.name for s in sources(("z", zipped(*[(n, b"") for n in names])))] == ["z/a.jpg"]


class SpooledIn310:
    """A file like `tempfile.SpooledTemporaryFile` up to Python 3.10, without `seekable` and its like."""

    def __init__(self, content: bytes) -> None:
        file = io.BytesIO(content)
        self.read, self.seek, self.tell, self.close = file.read, file.seek, file.tell, file.close


def test_a_zip_is_read_from_a_file_without_the_method_seekable() -> None:
    file: Any = SpooledIn310(zipped(("a.jpg", b"A"), ("b.jpg", b"B")))
    opened = sources_of([("z.zip", file)], 10, 1000, 500)
    assert [(s.name, s.read()) for s in opened] == [("z.zip/a.jpg", b"A"), ("z.zip/b.jpg", b"B")]


def test_a_damaged_zip_counts_as_one_unreadable_photo() -> None:
    whole = zipped(("a.jpg", bytes(300)))
    (source,) = sources(("z.zip", whole[: len(whole) // 2]))
    assert "z.zip: unreadable (damaged zip" in refused(source)


def test_a_member_that_cannot_be_unpacked_does_not_affect_the_others() -> None:
    content = bytearray(zipped(("a", b"first" * 9), ("b", b"second"), method=zipfile.ZIP_STORED))
    content[content.index(b"first")] ^= 1  # now its checksum is wrong
    damaged, whole = sources(("z", bytes(content)))
    assert "z/a: unreadable (cannot be unpacked" in refused(damaged) and whole.read() == b"second"


def test_an_encrypted_member_is_reported_as_encrypted() -> None:
    content = bytearray(zipped(("a", b"first")))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(sources(("z", bytes(content)))[0])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(f"{k}.jpg", b"") for k in range(11)], "11 files in this zip; at most 10"),
        ([(f"{k}", bytes(499)) for k in range(3)], "at most 0"),
    ],
)
def test_a_zip_that_would_grow_too_large_is_refused_before_it_is_unpacked(
    members: list[tuple[str, bytes]], message: str
) -> None:
    (source,) = sources(("z", zipped(*members)))
    assert "too_large" in refused(source) and message in refused(source)


def test_all_zips_of_a_request_share_one_budget_and_all_their_files_count() -> None:
    one = zipped(("a.jpg", bytes(200)), ("film.mp4", bytes(300)), ("__MACOSX/._a.jpg", bytes(100)))
    first, film, second = sources(("1", one), ("2", one), unzipped=1000)
    assert first.read() == bytes(200) and "film.mp4: unreadable" in refused(film)
    assert "2: too_large" in refused(second)


def test_files_without_the_suffix_of_a_photo_are_not_unpacked() -> None:
    content = bytearray(zipped(("notes.txt", b"words"), ("Mr. Smith", b"S"), ("b.JPG", b"B")))
    content[content.index(b"notes.txt") + 9] ^= 255  # unpacking it would fail
    notes, smith, photo = sources(("z", bytes(content)))
    assert "z/notes.txt: unreadable (.txt is not the suffix of a photo)" in refused(notes)
    assert (smith.read(), photo.read()) == (b"S", b"B")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_would_be_unpacked_without_bounds_is_refused(method: int) -> None:
    (source,) = sources(("z", zipped(("a.jpg", bytes(400)), method=method)))
    assert "unusual method" in refused(source)


@pytest.mark.parametrize("entries", [3 * 10 + 1001, 40_000])
def test_a_zip_with_far_too_many_entries_is_refused_before_objects_are_made(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped(*[(f"{k}", b"") for k in range(entries)])
    made: list[zipfile.ZipInfo] = []
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda *_a: made.append(_a[0]))
    (source,) = sources(("z", content))
    assert "too_large (too many files in this zip; at most 10 are allowed)" in refused(source) and not made


def test_uploads_are_read_from_a_file_whose_seek_returns_nothing() -> None:
    """`SpooledTemporaryFile` of Python 3.10 has no `seekable`, and its `seek` returns nothing."""

    class Spooled:
        def __init__(self, content: bytes) -> None:
            self._file = io.BytesIO(content)
            self.read, self.tell = self._file.read, self._file.tell

        def seek(self, *where: int) -> None:
            self._file.seek(*where)

    files: list[tuple[str, Any]] = [("z.zip", Spooled(zipped(("a", b"A")))), ("b.jpg", Spooled(b"B"))]
    opened = sources_of(files, 10, 1000, 500)
    assert [(s.name, s.size, s.read()) for s in opened] == [("z.zip/a", 1, b"A"), ("b.jpg", 1, b"B")]


def test_a_photo_is_read_in_blocks_so_that_it_need_not_be_in_memory() -> None:
    (source,) = sources(("z", zipped(("a", bytes(3_000_000)))), unzipped=10**7, one=10**7)
    assert [len(block) for block in source.blocks()] == [1 << 20, 1 << 20, 3_000_000 - (2 << 20)]


def test_a_member_larger_than_a_photo_may_be_is_not_unpacked() -> None:
    (source,) = sources(("z", zipped(("a", bytes(501)))))
    assert "z/a: too_large" in refused(source)


def test_a_zip_that_lies_about_sizes_gives_no_more_than_it_says() -> None:
    content = bytearray(zipped(("a", bytes(100_000))))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", 100)
    (source,) = sources(("z", bytes(content)))
    try:
        assert len(source.read()) <= 100
    except PhotoError as error:
        assert "cannot be unpacked" in str(error)


def test_a_zip_in_a_zip_is_not_opened() -> None:
    (source,) = sources(("z", zipped(("inner.jpg", zipped(("a", b"A"))))))
    assert "a zip inside a zip" in refused(source)


def test_a_photo_with_too_many_bytes_is_refused() -> None:
    assert "a.jpg: too_large" in refused(sources(("a.jpg", bytes(501)))[0])


def test_too_many_photos_are_a_problem_of_the_request() -> None:
    with pytest.raises(Problem) as problem:
        sources(*[(f"{k}", b"x") for k in range(11)])
    assert problem.value.status_code == 413


@given(st.text(max_size=600))
def test_a_shown_name_can_be_written_anywhere(name: str) -> None:
    text = shown(name)
    text.encode()
    assert 0 < len(text) <= 400 and text.isprintable()


@given(
    st.one_of(
        st.text(max_size=300),
        st.lists(st.sampled_from(["..", ".", "/", "\\", "C:", "~", "a", " ", "\0", "con"]), max_size=30).map(
            "".join
        ),
    )
)
def test_a_safe_path_stays_below_its_folder(name: str) -> None:
    path = safe_path(name)
    assert not path.is_absolute() and path.parts and ".." not in path.parts
    assert PurePosixPath("/root/photos", path).is_relative_to("/root/photos")
    assert all(part.strip(" .") and len(part.encode()) <= 180 for part in path.parts)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("写" * 90 + ".jpg", "写" * 58 + ".jpg"),
        ("./a.jpg", "a.jpg"),
        ("a//b.jpg", "a/b.jpg"),
        ("x/.", "x"),
        (".", "photo"),
    ],
)
def test_a_name_that_is_invalid_for_a_file_becomes_a_valid_one(name: str, path: str) -> None:
    assert safe_path(name) == PurePosixPath(path)


def test_random_bytes_after_a_zip_header_are_at_most_unreadable() -> None:
    rng = random.Random(0)
    whole = zipped(*[(f"{k}.jpg", rng.randbytes(50)) for k in range(5)])
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 20)):
            content[rng.randrange(4, len(content))] = rng.randrange(256)
        for source in sources(("z", bytes(content[: rng.randint(10, len(content))]))):
            try:
                source.read()
            except PhotoError as error:
                assert error.reason in ("unreadable", "too_large")

"""`identity.chips.shared_photos`: a photo that two people have."""

import pyarrow as pa

from identity.chips.shared_photos import SharedPhoto, shared_line, shared_photos


def table(*rows: tuple[str, str, int | None]) -> pa.Table:
    """Photos as person/file, with their content and perceptual hash."""
    return pa.table(
        {
            "photo": [photo for photo, _, _ in rows],
            "sha256": [sha256 for _, sha256, _ in rows],
            "phash": pa.array([phash for _, _, phash in rows], pa.uint64()),
            "identity": [photo.split("/")[0] for photo, _, _ in rows],
        }
    )


def test_an_equal_file_and_the_same_picture_are_found_only_between_people() -> None:
    photos = table(
        ("Ann/1.jpg", "a", 0xF0F0),
        ("Ann/again.jpg", "a", 0xF0F0),
        ("Bob/1.jpg", "b", 0x0FFF00000),
        ("Bob/2.jpg", "c", 0xF0F1),
        ("Cy/1.jpg", "b", 0x0FFF00000),
        ("Cy/2.jpg", "d", 0xAAAA_AAAA),
    )
    assert shared_photos(photos) == [
        SharedPhoto("Ann/1.jpg", "Bob/2.jpg"),
        SharedPhoto("Bob/1.jpg", "Cy/1.jpg"),
    ]


def test_photos_without_a_hash_are_no_copies_of_each_other() -> None:
    assert shared_photos(table(("Ann/1.jpg", "a", None), ("Bob/1.jpg", "b", 0))) == []
    assert shared_photos(table()) == [] and shared_line([]) == ""


def test_the_line_names_the_first_and_counts_all() -> None:
    one = SharedPhoto("Ann/1.jpg", "Bob/1.jpg")
    assert shared_line([one]).startswith(
        "1 photo is in the folders of two people; remove it from one of them: Ann/1.jpg and Bob/"
    )
    assert shared_line([one] * 5).startswith("5 photos are") and shared_line([one] * 5).endswith("; ...")

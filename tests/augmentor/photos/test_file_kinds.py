"""Tests of `augmentor.photos.file_kinds`: telling by its name what a file is."""

import os

import pytest

from augmentor.path_text import as_on_disk, is_utf8, shown
from augmentor.photos.file_kinds import (
    METADATA_FOLDERS,
    NOT_PHOTO_SUFFIXES,
    PHOTO_SUFFIXES,
    is_no_photo,
    is_system_folder,
    is_system_path,
)


def test_no_suffix_is_of_both_kinds() -> None:
    assert not NOT_PHOTO_SUFFIXES & PHOTO_SUFFIXES
    assert all(name == name.lower() for name in (*NOT_PHOTO_SUFFIXES, *PHOTO_SUFFIXES, *METADATA_FOLDERS))


@pytest.mark.parametrize(
    "name", ["IMG_1.jpg.supplemental-metadata.json", "a.AAE", "a.MP", "a.MP~2", "a.b.mp4", "x.DB"]
)
def test_files_beside_photos_are_no_photos(name: str) -> None:
    assert is_no_photo(name)


@pytest.mark.parametrize(
    "name", ["IMG_1", "IMG_1.", ".json", "a.jpg", "a.json.jpg", "a.CR2", "a.jpg~2", "a.unknown"]
)
def test_anything_else_may_be_a_photo(name: str) -> None:
    assert not is_no_photo(name)


def test_folders_of_systems() -> None:
    assert all(map(is_system_folder, ("@eaDir", "#RECYCLE", "Lost+Found", ".x", ".Trash-501", "__MACOSX")))
    assert not any(map(is_system_folder, ("@anna", "#1", "Anna", "lost", "~anna")))
    assert (
        is_system_path("a/@eaDir/b.jpg") and is_system_path("a/.DS_Store") and not is_system_path("a/b.jpg")
    )


@pytest.mark.parametrize(
    "name", [b"caf\xe9.jpg", b"\xff/\xfe/a.jpg", "Zoë/ä.jpg".encode(), b"a\\xe9.jpg", b"a\\b"]
)
def test_a_shown_path_is_utf8_and_leads_back(name: bytes) -> None:
    path = os.fsdecode(name)
    shown(path).encode("utf-8")
    assert is_utf8(shown(path)) and is_utf8(path) == (shown(path) == path)
    if not is_utf8(path):
        assert os.fsencode(as_on_disk(shown(path))) == name

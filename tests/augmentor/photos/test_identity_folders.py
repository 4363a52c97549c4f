"""Tests of `augmentor.photos.identity_folders`: which folder belongs to whom, on a disk and in a bucket."""

import unicodedata
from pathlib import Path

import pyarrow.fs
import pytest

from augmentor.errors import InputError
from augmentor.photos.identity_folders import identity_folders
from augmentor.photos.images import list_identities
from augmentor.photos.names import RESERVED_NAMES
from augmentor.photos.people_folder import people_of, photos_of
from augmentor.photos.place import BucketPlace, Place, place_of

EMILIE = "Émilie Müller"
OF_A_MAC = unicodedata.normalize("NFD", EMILIE)


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def both_places(folder: Path) -> list[Place]:
    """Return the folder and a bucket with the same content."""
    bucket = BucketPlace("s3://bucket/photos")
    bucket.__dict__["_opened"] = (pyarrow.fs.LocalFileSystem(), str(folder))
    return [place_of(folder), bucket]


def test_a_folder_from_a_mac_belongs_to_the_composed_name(tmp_path: Path) -> None:
    make(tmp_path, f"{OF_A_MAC}/1.jpg", "Anna/2.jpg")
    assert list(list_identities(tmp_path)) == ["Anna", EMILIE]
    assert list_identities(tmp_path)[EMILIE] == [tmp_path / OF_A_MAC / "1.jpg"]
    for place in both_places(tmp_path):
        assert people_of(place) == ["Anna", EMILIE]
        (photo,) = photos_of(place, EMILIE)
        assert photo == f"{OF_A_MAC}/1.jpg" and place.read(photo) == b"x"


def refused(folder: Path) -> str:
    """Return the line with which the folders are refused; it must be the same on a disk and in a bucket."""
    lines = set()
    for ask in (list_identities, *(lambda _, place=place: people_of(place) for place in both_places(folder))):
        with pytest.raises(InputError) as caught:
            ask(folder)
        lines.add(str(caught.value).replace("s3://bucket/photos", str(folder)))
    (line,) = lines
    assert "\n" not in line
    return line


def test_the_same_name_composed_and_decomposed_is_refused(tmp_path: Path) -> None:
    make(tmp_path, f"{OF_A_MAC}/1.jpg", f"{EMILIE}/2.jpg")
    line = refused(tmp_path)
    assert "merge them" in line and ascii(EMILIE) in line and ascii(OF_A_MAC) in line


def test_a_name_in_neither_form_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "É" + unicodedata.normalize("NFD", "milie Müller") + "/1.jpg")
    assert f"rename the folder to {EMILIE}" in refused(tmp_path)


@pytest.mark.parametrize("other", ["anna", "ANNA", "Anna\u3000"])  # the last: an ideographic blank
def test_names_that_are_hard_to_tell_apart_are_refused(other: str, tmp_path: Path) -> None:
    make(tmp_path, "Anna/1.jpg", f"{other}/1.jpg")
    line = refused(tmp_path)
    assert "merge" in line or "rename the folder" in line


@pytest.mark.parametrize("name", [*sorted(RESERVED_NAMES), "Unknown", "HoldOut"])
def test_names_of_other_things_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="rename the folder"):
        identity_folders("photos", [name, "Anna"], [])


@pytest.mark.parametrize("name", ["Anna ", " Anna", "Anna.", "a\tb", "con", "x" * 201, "\u202eanna"])
def test_names_that_nobody_can_have_are_refused_with_the_folder(name: str) -> None:
    with pytest.raises(InputError, match=r"^photos: rename the folder '"):
        identity_folders("photos", [name, "Bob"], [])


def test_a_name_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"photos/caf\\xe9: a name that is not valid UTF-8; rename the folder"
    ):
        identity_folders("photos", ["caf\udce9"], [])


def test_probes_go_by_the_same_rules(tmp_path: Path) -> None:
    from identity.evaluation.material import read_material

    make(tmp_path, f"{OF_A_MAC}/1.jpg", ".ipynb_checkpoints/1.jpg", f"{OF_A_MAC}/1.json")
    material = read_material(tmp_path, None, None, None, None)
    assert material.probes == {EMILIE: [tmp_path / OF_A_MAC / "1.jpg"]}
    make(tmp_path, "unknown/1.jpg")
    with pytest.raises(InputError, match="unknown"):
        read_material(tmp_path, None, None, None, None)
